import { expect, test } from "vitest";
import { runCli, startCli } from "../../harness/program.ts";
import { Workspace } from "../../harness/workspace.ts";
import { LoggingManager } from "tailgate";
import { postMessages } from "../../harness/otlp.ts";
import { Peer } from "./peer.ts";

const LISTENING = /listening on (http:\/\/127\.0\.0\.1:\d+) \(dashboard/;

/** Returns a port that no one listens on. */
async function closedPort(): Promise<number> {
  await using peer = await Peer.open();
  return peer.port;
}

/** Returns the result of starting such a gateway, which is stopped if it succeeds. */
async function endOfStart(config: object): Promise<unknown> {
  await using workspace = await Workspace.create();
  try {
    const manager = await LoggingManager.start({
      ...{ host: "127.0.0.1", port: 0, logDir: workspace.path("logs"), exporters: {} },
      ...config,
      ...{ registerGlobally: false, write: () => {} },
    });
    await manager.stop();
    return undefined;
  } catch (error) {
    return error;
  }
}

test.each([
  ["the OTLP port", "localhost", (port: number) => ({ receivers: { otlp: { port } } })],
  ["the OTLP port by no name", "0.0.0.0", (port: number) => ({ receivers: { otlp: { port } } })],
  [
    "the gRPC port",
    "127.0.0.1",
    (port: number) => ({ receivers: { otlp: { port: 0, grpc_port: port } } }),
  ],
  ["the main port", "127.0.0.1", (port: number) => ({ port })],
])("an exporter to %s of its own gateway ends the start", async (_, host, places) => {
  const port = await closedPort();
  const otlp = { endpoint: `http://user:secret@${host}:${port}/v1/logs` };
  const error = await endOfStart({ ...places(port), exporters: { otlp } });
  expect(error).toMatchObject({ code: "SENDS_TO_ITSELF", exitCode: 78 });
  const text = `exporters.otlp sends to http://${host}:${port}, where this gateway itself`;
  expect((error as Error).message).toContain(text);
});

test("a receiver that would pass traces on to itself fails the start", async () => {
  const port = await closedPort();
  const otlp = { port, pass_on_to: `http://127.0.0.1:${port}` };
  const error = await endOfStart({ receivers: { otlp } });
  expect(String(error)).toContain("receivers.otlp sends to http://127.0.0.1");
});

test("the same port on another address is another destination", async () => {
  await using peer = await Peer.open();
  const { port, url } = peer;
  const exporters = { otlp: { endpoint: url } };
  const error = await endOfStart({
    host: "127.0.0.2",
    receivers: { otlp: { port } },
    exporters,
  });
  expect(error).toBe(undefined);
});

function configOf(otlpPort: number | null, endpoint: string): string {
  return `{ port: 0, log_dir: logs, receivers: { otlp: { port: ${otlpPort} } }, exporters: { otlp: { endpoint: "${endpoint}" } } }`;
}

test("queued records are not sent in a loop before the start fails", async () => {
  const port = await closedPort();
  const endpoint = `http://127.0.0.1:${port}`;
  await using workspace = await Workspace.create({ "tailgate.yaml": configOf(null, endpoint) });
  const options = { cwd: workspace.directory };
  {
    await using gateway = startCli([], options);
    const [, url] = await gateway.untilStderr(LISTENING);
    expect(await postMessages(url!, ["a", "b"])).toBe(200);
  }
  await workspace.write("tailgate.yaml", configOf(port, endpoint));
  const refused = await runCli([], options);
  expect(await refused.ended).toBe(78);
  expect(refused.stderr).toContain("tailgate: SENDS_TO_ITSELF: exporters.otlp sends to ");
  await using peer = await Peer.open({ port });
  await workspace.write("tailgate.yaml", configOf(null, endpoint));
  await using gateway = startCli([], options);
  await gateway.untilStderr(LISTENING);
  expect(await gateway.end()).toBe(0);
  expect(peer.messages).toEqual(["a", "b"]);
});
