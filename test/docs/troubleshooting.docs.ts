/** Runs every command of docs/operations/troubleshooting.md on a gateway with the trouble, or without any. */

import { expect, onTestFinished, test, vi } from "vitest";
import { GatewayProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { MAIN, Program, runCli, skipTest } from "../harness/program.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/operations/troubleshooting.md");

const DEAD = `log_level: WARNING
exporters: { websocket: { max_connections: 1 }, file: {}, audit-file: {}, otlp: { endpoint: "http://127.0.0.1:9" } }
`;

async function started(config = ""): Promise<GatewayProcess> {
  const gateway = await GatewayProcess.start(config, ["--otlp-port", "0"]);
  onTestFinished(() => gateway[Symbol.asyncDispose]());
  return gateway;
}

/** Runs an example as a user would on the gateway's machine; returns its output. */
async function shown(name: string, gateway: GatewayProcess): Promise<string> {
  const command = page
    .example(name)
    .replaceAll("http://127.0.0.1:8001", gateway.url)
    .replaceAll("http://127.0.0.1:4318", await gateway.endpoint("OTLP/HTTP"))
    .replaceAll("8001", String(gateway.port))
    .replaceAll("./logs", gateway.logDir)
    .replaceAll("npx tailgate tail", `'${process.execPath}' '${MAIN}' tail --url ${gateway.url}`)
    .replaceAll("npx tailgate", `'${process.execPath}' '${MAIN}'`);
  return Program.run("bash", ["-c", command], { cwd: "/" });
}

test("the first commands show readiness, and what was rejected", async () => {
  const gateway = await started();
  await fetch(`${gateway.url}/nothing`);
  await postMessages(gateway.url, ["one"]);
  const output = await shown("ts-first", gateway);
  expect(output).toMatch(/^\{"status":"ready"/);
  expect(output).toContain('tailgate_requests_rejected_total{protocol="http",status="404"} 1\n');
  expect(output).toContain('tailgate_records_received_total{component="intake",kind="intake"} 1\n');
});

test("who listens on a port is shown", async () => {
  const gateway = await started();
  const output = await shown("ts-ports", gateway).catch((error: unknown) =>
    skipTest("ss is missing: npm run setup:docs, or apt-get install iproute2", error),
  );
  expect(output).toContain(`127.0.0.1:${gateway.port}`);
});

test("a record that is sent by hand is read back", async () => {
  const output = await shown("ts-send", await started());
  expect(output).toMatch(/^\{\}.* - probe - INFO - hello\n$/s);
});

test("an unknown host is named with the option that lets it in", async () => {
  const output = await shown("ts-host", await started());
  expect(output).toContain("does not name this gateway");
  expect(output).toContain("allowed_hosts");
});

test("what is filtered, lags or fails is shown", async () => {
  const gateway = await started(DEAD);
  await postMessages(gateway.url, ["below the level"]);
  await postMessages(gateway.url, ["event"], { logger: "orchestrator.audit" });
  const dropped = await shown("ts-dropped", gateway);
  expect(dropped).toContain(
    'tailgate_records_filtered_total{component="intake",kind="intake"} 1\n',
  );
  await vi.waitFor(async () => {
    const lag = await shown("ts-lag", gateway);
    expect(lag).toContain('tailgate_component_up{component="otlp",kind="exporter"} 0\n');
    expect(lag).toContain('tailgate_queue_records{component="otlp",kind="exporter"} 1\n');
  }, 10_000);
  const client = await gateway.client();
  expect(await shown("ts-clients", gateway).catch(() => "")).toBe("");
  client.close();
  await vi.waitFor(
    async () => expect(await shown("ts-clients", gateway)).toContain('reason="closed"} 1'),
    10_000,
  );
  const verified = await shown("ts-audit", gateway);
  expect(verified).toMatch(/exit code 69\n$/);
});

test.each([
  ["ts-whoami", /"authentication":"off","principal":null/],
  ["ts-gaps", /^"gaps":\[\]\n$/],
  ["ts-disk", /"status":"ready"[^]*tailgate_journal_bytes \d+\ntailgate_disk_free_bytes \d+\n$/],
  ["ts-slow", /tailgate_http_searches_queued 0\n[^]*tailgate_otlp_request_duration_seconds_sum/],
  ["ts-memory", /tailgate_queue_bytes\{[^]*process_resident_memory_bytes \d+\n/],
  ["ts-clock", /UTC[^]*\ntailgate_clock_unconfirmed_seconds 0\n$/],
])("the command %s works", async (name, output) => {
  expect(await shown(name, await started())).toMatch(output);
});

test("a start that fails names the code of the table", async () => {
  const gateway = await started();
  const flags = ["--otlp-port", "0", "--log-dir", gateway.logDir];
  const sameDirectory = await runCli(["run", "--port", "0", ...flags]);
  expect(sameDirectory.stderr).toContain("LOG_DIR_IN_USE");
  const samePort = await runCli([
    "run",
    "--port",
    String(gateway.port),
    "--otlp-port",
    "0",
    "--log-dir",
    `${gateway.logDir}/other`,
  ]);
  expect(samePort.stderr).toContain("PORT_IN_USE");
  expect([await sameDirectory.ended, await samePort.ended]).toEqual([69, 69]);
});
