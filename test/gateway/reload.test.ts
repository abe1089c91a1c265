import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { expect, test, vi } from "vitest";
import { ask } from "../harness/http-server.ts";
import { postMessages } from "../harness/otlp.ts";
import { ReloadedGateway } from "../harness/reloaded-gateway.ts";
import { SubprotocolClient } from "../harness/subprotocol-client.ts";

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => String(from + index));
}

const OTLP = "receivers: { otlp: { port: 0 } }";

const ONE = `${OTLP}\nexporters:\n  websocket: {}\n  file: { path: a.log }\n  file/b: { path: b.log }\n`;

test("applies settings and restarts the components that changed, and no others", async () => {
  const gateway = await ReloadedGateway.start(ONE);
  const client = await SubprotocolClient.subscribe(`${gateway.url.replace("http", "ws")}/ws/logs`);
  const [receiver] = gateway.running.gateway.listeners;
  await gateway.send(1, 5);
  expect(await gateway.reload(`x-note: nothing\n${ONE}`)).toMatchObject({
    outcome: "unchanged",
  });

  const result = await gateway.reload(
    `${OTLP}\nlog_level: WARNING\nexporters:\n  websocket: {}\n  file: { path: b.log }\n  file/b: { path: a.log, level: ERROR }\n`,
  );
  expect(result).toEqual({
    outcome: "applied",
    changes: [
      { key: "log_level", from: "INFO", to: "WARNING" },
      { key: "exporters.file.path", from: "a.log", to: "b.log" },
      { key: "exporters.file/b.path", from: "b.log", to: "a.log" },
      { key: "exporters.file/b.level", from: undefined, to: "ERROR" },
    ],
  });
  expect(gateway.running.gateway.listeners).toEqual([receiver]);
  expect(await postMessages(gateway.url, ["info"])).toBe(200);
  expect(await postMessages(gateway.url, ["6"], { severityNumber: 17 })).toBe(200);
  expect(await gateway.messages("a.log", "6")).toEqual(numbers(1, 6));
  expect(await gateway.messages("b.log", "6")).toEqual(numbers(1, 6));
  await client.untilSequence(7);
  expect(client.socket.readyState).toBe(client.socket.OPEN);
  expect(client.fault).toBeUndefined();

  expect(await gateway.status()).toMatchObject({ config: { status: "applied", error: null } });
  const metrics = await gateway.metrics();
  expect(metrics).toContain("tailgate_config_last_reload_successful 1");
  expect(metrics).toContain('tailgate_config_reloads_total{result="applied"} 1');
  expect(metrics).toContain('tailgate_config_reloads_total{result="unchanged"} 1');
  expect(await gateway.events(1)).toMatchObject([
    {
      action: "config_reloaded",
      metadata: {
        details: {
          by: "tailgate reload",
          uid: 7,
          result: "applied",
          changes: [{ key: "log_level", from: '"INFO"', to: '"WARNING"' }, {}, {}, {}],
        },
      },
    },
  ]);
});

test("changes nothing if the configuration is invalid, needs a restart, or cannot be opened", async () => {
  const exporters = "exporters: { file: {}, mine: { use: ./mine.mjs, token: first } }";
  const gateway = await ReloadedGateway.start(`${OTLP}\n${exporters}`, { "mine.mjs": HOLDING });
  await gateway.workspace.install("tailgate");
  const hash = /tailgate_config_hash\{hash="\w+"\} 1/.exec(await gateway.metrics())![0];

  const invalid = await gateway.reload(`${OTLP}\nexporters: { file: { max_bites: 1 } }`);
  expect(invalid).toMatchObject({ outcome: "invalid", error: { code: "CONFIG_INVALID" } });
  const { config } = await gateway.status();
  expect(config.status).toBe("rejected");
  expect(config.error).toContain(
    'exporters.file.max_bites: unknown key; did you mean "max_bytes"?',
  );
  expect(gateway.lines.join("\n")).toContain('unknown key; did you mean "max_bytes"?');
  expect(await gateway.metrics()).toContain("tailgate_config_last_reload_successful 0");

  const refused = await gateway.reload(
    `${OTLP}\nlog_level: ERROR\nbase_path: /logs\njournal: { engine: memory }\n${exporters}`,
  );
  expect(refused.outcome).toBe("refused");
  expect(refused.error!.message).toMatch(/^base_path, journal\.engine cannot change while/);

  await using other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const failed = await gateway.reload(
    `receivers: { otlp: { port: ${port} } }\nexporters: { file: { path: b.log }, mine: { use: ./mine.mjs, token: second } }`,
  );
  expect(failed).toMatchObject({ outcome: "failed", error: { code: "PORT_IN_USE" } });
  expect(failed.changes).toContainEqual({
    key: "exporters.mine.token",
    from: "********",
    to: "********",
  });

  await gateway.send(1, 3);
  expect(await gateway.messages("orchestrator.log", "3")).toEqual(numbers(1, 3));
  const [receiver] = gateway.running.gateway.listeners;
  expect(await postMessages(new URL(receiver!.split(" ")[0]!).origin, ["4"])).toBe(200);
  expect(await gateway.metrics()).toContain(hash);
  expect(JSON.stringify(await gateway.events(3))).not.toMatch(/first|second/);
});

/** A live exporter that writes what it gets to a file, and can be opened with another option. */
const HOLDING = `
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { defineExporter, z } from "tailgate/plugin";
export default defineExporter({
  name: "holding",
  description: "Writes messages to a file.",
  live: true,
  type: "system_log",
  options: z.object({ token: z.string().default("") }),
  open: (options, host) => ({
    write(batch) {
      const lines = Array.from({ length: batch.length }, (_, index) => batch.envelope(index).data.message);
      appendFileSync(join(host.logDir, "holding.log"), lines.map((message) => JSON.stringify({ message }) + "\\n").join(""));
    },
    close: () => new Promise((resolve) => setTimeout(resolve, 20)),
  }),
});
`;

/** An exporter that reads from the journal. With `hangs`, its destination never answers. */
const HANGING = `
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { defineExporter, z } from "tailgate/plugin";
export default defineExporter({
  name: "hanging",
  description: "Writes messages to a file, or hangs.",
  type: "system_log",
  options: z.object({ hangs: z.boolean(), file: z.string().optional() }),
  owns: ({ file }) => (file === undefined ? [] : [file]),
  open: ({ hangs }, host) => ({
    async write(batch) {
      if (hangs) return new Promise((resolve) => (globalThis.endWrite = resolve));
      const lines = Array.from({ length: batch.length }, (_, index) => batch.envelope(index).data.message);
      appendFileSync(join(host.logDir, "written.log"), lines.map((message) => JSON.stringify({ message }) + "\\n").join(""));
    },
  }),
});
`;

test("delivers what was written during the restart of an exporter, and what a hanging one has not", async () => {
  const config = (token: number, hanging: string): string =>
    `${OTLP}\nexporters:\n  mine: { use: ./mine.mjs, token: "${token}" }\n  hanging: { use: ./hanging.mjs, timeout_seconds: 0.2, ${hanging} }\n`;
  const files = { "mine.mjs": HOLDING, "hanging.mjs": HANGING };
  const gateway = await ReloadedGateway.start(config(0, "hangs: true"), files);
  let sent = 0;
  const sendSome = async (): Promise<void> => {
    for (let request = 0; request < 10; request++) await gateway.send(++sent, ++sent);
  };
  for (let token = 1; token <= 4; token++) {
    const reloading = gateway.reload(config(token, "hangs: true"));
    await sendSome();
    expect(await reloading).toMatchObject({ outcome: "applied" });
  }
  expect(await gateway.messages("holding.log", String(sent))).toEqual(numbers(1, sent));

  const answering = await gateway.reload(config(4, "hangs: false"));
  expect(answering.outcome).toBe("applied");
  expect(await gateway.messages("written.log", String(sent))).toEqual(numbers(1, sent));
});

test("does not open a second exporter on a file that the first one may still write to", async () => {
  const config = (hangs: boolean): string =>
    `${OTLP}\nexporters: { hanging: { use: ./hanging.mjs, timeout_seconds: 0.1, file: own.log, hangs: ${hangs} } }\n`;
  const gateway = await ReloadedGateway.start(config(true), { "hanging.mjs": HANGING });
  await gateway.send(1, 1);
  await vi.waitFor(async () => {
    expect(await gateway.metrics()).toMatch(
      /tailgate_queue_bytes\{component="hanging"[^}]*\} [1-9]/,
    );
  });
  const failed = await gateway.reload(config(false));
  expect(failed).toMatchObject({ outcome: "failed", error: { code: "RELOAD_FAILED" } });
  expect(failed.error!.message).toContain("has not ended its write to own.log for 0.1 s");
  (globalThis as { endWrite?: () => void }).endWrite!();
  await vi.waitFor(async () => {
    expect(await gateway.metrics()).toMatch(/records_sent_total\{component="hanging"[^}]*\} 1$/m);
  });
});

test("lets go of the routes, metrics and ports of removed components, and applies limits", async () => {
  const gateway = await ReloadedGateway.start(`${OTLP}\nexporters: { websocket: {}, file: {} }`);
  const [listener] = gateway.running.gateway.listeners;
  const origin = new URL(listener!.split(" ")[0]!).origin;
  await gateway.send(1, 2);
  expect(await gateway.metrics()).toMatch(/tailgate_websocket_clients\{/);
  const host = { headers: { Host: "logs.example.com" } };
  expect((await ask(`${gateway.url}/healthz`, host)).status).toBe(403);

  const { outcome } = await gateway.reload(
    "receivers: {}\nallowed_hosts: [logs.example.com]\nhttp: { max_searches: 2 }\njournal: { system_days: 1 }\nexporters: { file: {} }",
  );
  expect(outcome).toBe("applied");
  expect((await ask(`${gateway.url}/healthz`, host)).status).toBe(200);
  expect((await ask(`${gateway.url}/ws/logs`)).status).toBe(404);
  expect((await ask(`${gateway.url}/v1/logs`, { method: "POST" })).status).toBe(404);
  await expect(fetch(origin)).rejects.toThrow("fetch failed");
  const metrics = await gateway.metrics();
  expect(metrics).not.toMatch(/^tailgate_\w+\{.*component="(websocket|otlp)"/m);
  expect(metrics).toMatch(/^tailgate_records_sent_total\{component="file",kind="exporter"\} 2$/m);

  expect((await gateway.reload(`${OTLP}\nexporters: { websocket: {}, file: {} }`)).outcome).toBe(
    "applied",
  );
  expect((await ask(`${gateway.url}/ws/logs`)).status).toBe(426);
  await gateway.send(3, 3);
  expect(await gateway.messages("orchestrator.log", "3")).toEqual(numbers(1, 3));
  expect(gateway.lines.join("\n")).toMatch(/Listening on http:\S+\/v1\/logs \(OTLP\/HTTP\)/);
});

test("stores nothing that a processor has held back without those that now come before it", async () => {
  const dedupe = "dedupe: { interval_seconds: 3600 }";
  const gateway = await ReloadedGateway.start(`${OTLP}\nprocessors: { ${dedupe} }\nexporters: {}`);
  const secret = "for bob@example.com";
  expect(await postMessages(gateway.url, [secret, secret, secret])).toBe(200);
  const result = await gateway.reload(
    `${OTLP}\nprocessors: { redact: {}, ${dedupe} }\nexporters: {}`,
  );
  expect(result).toMatchObject({ outcome: "applied", changes: [{ key: "processors.redact" }] });
  expect(await postMessages(gateway.url, [secret, secret, "other"])).toBe(200);

  const { records } = (await (await fetch(`${gateway.url}/api/logs?q=type:system`)).json()) as {
    records: { data: { message: string; log_count?: number } }[];
  };
  const stored = records.map(({ data }) => [data.message, data.log_count]);
  expect(stored.toReversed()).toEqual([
    [secret, undefined],
    [secret, 2],
    ["for [REDACTED:email]", undefined],
    ["for [REDACTED:email]", 1],
    ["other", undefined],
  ]);
});
