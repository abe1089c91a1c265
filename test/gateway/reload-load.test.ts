import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { setTimeout as wait } from "node:timers/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { GatewayProcess } from "../harness/gateway.ts";
import { Ledger } from "../harness/ledger.ts";
import { postMessages } from "../harness/otlp.ts";
import { SubprotocolClient } from "../harness/subprotocol-client.ts";

/** How often the configuration is reloaded; `npm run test:reload` does it 200 times. */
const RELOADS = Number(process.env["RELOADS"] ?? 5);

/** After so many reloads the gateway is killed during the next one. */
const RELOADS_PER_KILL = 4;

const CONTINUED_TIMEOUT_MS = 20_000 + 2_000 * RELOADS;

/** Marks each record with the processor that it has passed. */
const TAG = `import { defineProcessor, z } from "tailgate/plugin";
export default defineProcessor({
  name: "tag",
  description: "Marks records.",
  options: z.object({ value: z.string() }),
  open: ({ value }) => ({ process: (record) => (record.attributes.set("tag", value), record) }),
});`;

/** Returns the configuration of a reload: each one changes something else, and the WebSocket never. */
function configOf(reload: number, sinkPort: number): string {
  const bit = (digit: number): number => (reload >> digit) & 1;
  return `
receivers: { otlp: { port: 0, max_body_bytes: ${10_000_000 + bit(2)} } }
processors: { tag: { use: ./tag.mjs, value: "${Math.floor(reload / 2)}" } }
exporters:
  websocket: {}
  audit-file: {}
  file: { max_bytes: ${100_000_000 + bit(0)} }
  otlp: { endpoint: "http://127.0.0.1:${sinkPort}", protocol: http/json, timeout_seconds: ${30 + bit(1)} }
`;
}

interface OtlpBody {
  readonly resourceLogs: readonly {
    readonly scopeLogs: readonly {
      readonly logRecords: readonly { readonly body: { readonly stringValue: string } }[];
    }[];
  }[];
}

/** Receives OTLP until the test ends, and collects the messages of senders in the order of their arrival. */
async function openSink(): Promise<{ port: number; messages: string[] }> {
  const messages: string[] = [];
  const server = createServer(async (request, response) => {
    const { resourceLogs } = (await json(request)) as OtlpBody;
    const records = resourceLogs
      .flatMap(({ scopeLogs }) => scopeLogs)
      .flatMap(({ logRecords }) => logRecords);
    const bodies = records.map(({ body }) => body.stringValue);
    messages.push(...bodies.filter((body) => /\d$/.test(body)));
    response.setHeader("Content-Type", "application/json").end("{}");
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, messages };
}

/** Sends numbered messages to where the gateway listens, one request at a time, whatever happens to it. */
class LoadSender {
  /** Messages answered with 200. */
  readonly acknowledged: string[] = [];
  readonly #name: string;
  readonly #url: () => Promise<string>;
  readonly #stopped = new AbortController();
  readonly #running: Promise<void>;
  #next = 0;

  constructor(name: string, url: () => Promise<string>) {
    this.#name = name;
    this.#url = url;
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      const messages = Array.from({ length: 20 }, () => `${this.#name} ${this.#next++}`);
      const status = await this.#url()
        .then((url) => postMessages(url, messages))
        .catch(() => 0);
      if (status === 200) this.acknowledged.push(...messages);
      else await wait(5, undefined, { signal }).catch(() => {});
    }
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }
}

interface Stored {
  readonly sequence: number;
  readonly message: string;
  readonly tag: string;
}

/** Reads all system logs of the journal. */
async function storedIn(url: string): Promise<Stored[]> {
  const stored: Stored[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const response = await fetch(
      `${url}/api/logs?type=system_log&order=asc&limit=1000${cursor && `&cursor=${cursor}`}`,
    );
    const page = (await response.json()) as {
      readonly records: readonly { sequence: number; data: { message: string; tag: string } }[];
      readonly next_cursor: string | null;
    };
    for (const { sequence, data } of page.records) {
      stored.push({ sequence, message: data.message, tag: data.tag });
    }
    cursor = page.next_cursor;
  }
  return stored;
}

async function linesOf(gateway: GatewayProcess): Promise<string[]> {
  const text = await readFile(join(gateway.logDir, "orchestrator.log"), "utf8");
  const lines = text.split("\n").filter(Boolean);
  return lines.map((line) => (JSON.parse(line) as { message: string }).message);
}

function withoutRepeats(messages: readonly string[]): string[] {
  return [...new Set(messages)];
}

test(
  "loses, repeats and reorders nothing while it is reloaded and killed under load",
  { timeout: CONTINUED_TIMEOUT_MS },
  async () => {
    const sink = await openSink();
    await using gateway = await GatewayProcess.start(configOf(0, sink.port), [], {
      "tag.mjs": TAG,
    });
    const ledger = new Ledger();
    let client = await SubprotocolClient.subscribe(gateway.websocketUrl, { replay: 0 }, ledger);
    const senders = [
      new LoadSender("main", async () => gateway.url),
      new LoadSender("otlp", async () => newestOtlpUrl(gateway)),
    ];
    let kills = 0;
    for (let reload = 1; reload <= RELOADS; reload++) {
      await gateway.configure(configOf(reload, sink.port));
      if (reload % RELOADS_PER_KILL !== 0) {
        const { outcome, error } = await gateway.reload();
        expect([outcome, error]).toEqual(["applied", undefined]);
        expect(client.socket.readyState).toBe(client.socket.OPEN);
        continue;
      }
      if (kills++ === 0) expect(withoutRepeats(sink.messages)).toEqual(sink.messages);
      const reloading = gateway.reload().catch(() => {});
      await gateway.kill();
      await reloading;
      await client.closed;
      await gateway.restart();
      client = await SubprotocolClient.subscribe(
        gateway.websocketUrl,
        { resume: ledger.resume },
        ledger,
      );
    }
    for (const sender of senders) await sender.stop();

    const stored = await storedIn(gateway.url);
    const messages = stored.map(({ message }) => message);
    expect(withoutRepeats(messages)).toEqual(messages);
    const known = new Set(messages);
    const acknowledged = senders.flatMap((sender) => sender.acknowledged);
    expect(acknowledged.filter((message) => !known.has(message))).toEqual([]);
    expect(acknowledged.length).toBeGreaterThan(RELOADS);
    expect(stored.filter(({ tag }) => tag === undefined)).toEqual([]);
    await vi.waitFor(
      async () => expect((await linesOf(gateway)).length).toBe(messages.length),
      10_000,
    );
    expect(await linesOf(gateway)).toEqual(messages);
    await vi.waitFor(() => expect(sink.messages.at(-1)).toBe(messages.at(-1)), 10_000);
    expect(withoutRepeats(sink.messages)).toEqual(messages);
    await client.untilSequence(stored.at(-1)!.sequence);
    expect(client.fault).toBeUndefined();
    const seen = [...ledger.envelopes].toSorted(([one], [other]) => one - other);
    const logs = seen.filter(([, { type }]) => type === "system_log");
    expect(logs.map(([, { data }]) => data.message)).toEqual(messages);
    client.socket.close();
  },
);

/** The receiver's port changes when it is restarted, because it is a free one. */
function newestOtlpUrl({ stderr }: GatewayProcess): string {
  const lines = [...stderr.matchAll(/istening on (http:\/\/[^\s/]+)\S* \(OTLP\/HTTP/g)];
  return lines.at(-1)?.[1] ?? "http://127.0.0.1:1";
}
