import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { expect, test } from "vitest";
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
import { defineExporter, z } from "tailgate/plugin";
export default defineExporter({
  name: "holding",
  description: "Writes messages to a file.",
  live: true,
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
