/** The memory held by clients that do not read, on a gateway process, against its configured limit. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect, test, vi } from "vitest";
import { startCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { postMessages } from "../harness/otlp.ts";
import { ask } from "../harness/http-server.ts";

const COLLECT = new URL("../bench/collect-on-signal.ts", import.meta.url).href;
const LISTENING = /^tailgate: listening on (http:\/\/127\.0\.0\.1:\d+) \(dashboard/m;

const MIB = 1 << 20;
const CLIENTS = 60;
const REQUESTS_EACH = 4;
const ANSWER_BYTES_MAX = 16 * MIB;

/** Per client: the socket buffers and its requests. */
const CLIENT_BYTES_MAX = 256 << 10;

/** Fluctuations: the young generation, and garbage since the collection before each reading. */
const SLACK_BYTES = 32 * MIB;

interface Numbers {
  readonly heap: number;
  readonly external: number;
  readonly answers: number;
  readonly searches: number;
}

async function numbersOf(url: string): Promise<Numbers> {
  const { body } = await ask(`${url}/metrics`);
  const read = (name: string): number => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(body)![1]);
  return {
    heap: read("nodejs_heap_size_used_bytes"),
    external: read("nodejs_external_memory_bytes"),
    answers: read("tailgate_http_answer_bytes"),
    searches: read("tailgate_http_searches") + read("tailgate_http_searches_queued"),
  };
}

test(`${CLIENTS} clients that never read are limited to max_answer_bytes and disconnected`, async () => {
  await using workspace = await Workspace.create({
    "tailgate.yaml": `{ port: 0, log_dir: logs, journal: { engine: memory }, receivers: { otlp: { port: null } },
      http: { max_answer_bytes: ${ANSWER_BYTES_MAX}, write_timeout_seconds: 1 }, exporters: {} }`,
  });
  const env = { NODE_OPTIONS: `--expose-gc --import=${COLLECT}` };
  await using cli = startCli([], { cwd: workspace.directory, env });
  const collectedNumbers = (): Promise<Numbers> => {
    cli.process.kill("SIGUSR2");
    return numbersOf(url);
  };
  const url = (await cli.untilStderr(LISTENING))[1]!;
  const messages = Array.from({ length: 300 }, () => "x".repeat(10_000));
  for (let count = 0; count < 4; count++) await postMessages(url, messages);
  const before = await collectedNumbers();
  const clients: Socket[] = [];
  for (let index = 0; index < CLIENTS; index++) {
    const socket = connect({ port: Number(new URL(url).port), host: "127.0.0.1" });
    socket.on("error", () => {});
    clients.push(socket.pause());
    await once(socket, "connect");
    socket.write(
      "GET /api/logs?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(REQUESTS_EACH),
    );
  }
  // Garbage of the searches that run makes single readings exceed what is retained.
  const held: number[] = [];
  let highestAnswers = 0;
  await vi.waitFor(
    async () => {
      const now = await collectedNumbers();
      highestAnswers = Math.max(highestAnswers, now.answers);
      if (now.answers > MIB) {
        held.push(now.heap + now.external - before.heap - before.external);
      }
      // All are disconnected and nothing remains of them.
      expect(now.searches).toBe(0);
      expect(now.answers).toBeLessThan(MIB);
      expect(highestAnswers).toBeGreaterThan(MIB);
    },
    { timeout: 25_000, interval: 50 },
  );
  expect(highestAnswers).toBeLessThanOrEqual(ANSWER_BYTES_MAX);
  const median = held.sort((one, other) => one - other)[held.length >> 1];
  expect(median).toBeLessThan(ANSWER_BYTES_MAX + CLIENTS * CLIENT_BYTES_MAX + SLACK_BYTES);
  expect((await ask(`${url}/api/logs`)).status).toBe(200);
  expect((await ask(`${url}/metrics`)).body).toMatch(
    /^tailgate_http_connections_stalled_total [1-9]/m,
  );
  for (const socket of clients) socket.destroy();
});
