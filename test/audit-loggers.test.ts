/** `audit_loggers`: which records are audit events, on every input. */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { SeverityNumber } from "@opentelemetry/api";
import { afterEach, describe, expect, it } from "vitest";
import { resolveConfig } from "tailgate";
import { LoggingManager } from "tailgate";
import { collect } from "./harness/client.ts";
import { postMessages } from "./harness/otlp.ts";
import { temporaryDirectory } from "./harness/workspace.ts";

const cleanUps: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function start(auditLoggers?: readonly string[]): Promise<LoggingManager> {
  const manager = await LoggingManager.start({
    port: 0,
    logDir: await temporaryDirectory(cleanUps),
    logLevel: "ERROR",
    registerGlobally: false,
    ...(auditLoggers !== undefined && { auditLoggers }),
    receivers: { otlp: { port: null, grpc_port: null } },
    exporters: { websocket: {}, "audit-file": {} },
    journal: { engine: "memory" },
    write: () => {},
  });
  cleanUps.push(() => manager.stop());
  return manager;
}

describe("configured audit loggers", () => {
  it("log audit events, as do their children, in process and over OTLP", async () => {
    const manager = await start(["billing.audit", "security"]);
    const { received, close } = await collect(`${manager.url.replace("http", "ws")}/ws/logs`);
    cleanUps.push(close);
    await manager.audit({ eventType: "invoice" });
    manager.getLogger("security.login").info("in process");
    manager.getLogger("security.login").debug("below INFO");
    manager.getLogger("orchestrator.audit").error("no audit event any more");
    manager.getLogger("securityguard").error("no child");
    manager.provider
      .getLogger("security")
      .emit({ severityNumber: SeverityNumber.INFO, body: "by the provider" });
    for (const [logger, message] of [
      ["billing.audit.x", "over OTLP"],
      ["orchestrator.audit", "filtered by the level"],
      ["", "without a name"],
    ] as const) {
      expect(await postMessages(manager.url, [message], { logger })).toBe(200);
    }
    const scopeLogs = [
      {
        logRecords: [
          {
            severityNumber: 9,
            body: { stringValue: "named by an attribute" },
            attributes: [{ key: "logger", value: { stringValue: "security.otlp" } }],
          },
        ],
      },
    ];
    await fetch(`${manager.url}/v1/logs`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ resourceLogs: [{ scopeLogs }] }),
    });
    await manager.flush();
    const shown = received.map(({ type, data }) => `${type} ${data.logger} ${data.message}`);
    expect(shown.toSorted()).toEqual([
      "audit_log billing.audit invoice",
      "audit_log billing.audit.x over OTLP",
      "audit_log security by the provider",
      "audit_log security.login in process",
      "audit_log security.otlp named by an attribute",
      "system_log orchestrator.audit no audit event any more",
      "system_log securityguard no child",
    ]);
  });

  it("are orchestrator.audit by default", async () => {
    const manager = await start();
    const { received, close } = await collect(`${manager.url.replace("http", "ws")}/ws/logs`);
    cleanUps.push(close);
    await manager.audit({ eventType: "e" });
    await manager.flush();
    expect(received.map(({ type, data }) => [type, data.logger])).toEqual([
      ["audit_log", "orchestrator.audit"],
    ]);
  });

  it("do not affect the gateway's own audit events", async () => {
    const logDir = await temporaryDirectory(cleanUps);
    const manager = await LoggingManager.start({
      port: 0,
      logDir,
      registerGlobally: false,
      auditLoggers: ["billing.audit"],
      exporters: { "audit-file": {} },
      write: () => {},
    });
    cleanUps.push(() => manager.stop());
    const { hash } = await manager.audit({ eventType: "invoice" });
    await manager.stop();
    const directory = join(logDir, "audit");
    const names = (await readdir(directory)).filter((name) => name !== "checkpoints.jsonl");
    const files = names.filter((name) => name.endsWith(".jsonl"));
    const texts = files.map((name) => readFile(join(directory, name), "utf8"));
    const text = (await Promise.all(texts)).join("");
    expect(text).toContain(hash);
    expect(text).toContain('"logger":"orchestrator.audit.checkpoint"');
  });
});

describe("audit_loggers in the configuration", () => {
  const resolved = (auditLoggers: unknown) =>
    resolveConfig({
      document: { audit_loggers: auditLoggers as string[] },
      env: {},
      flags: {},
      cwd: "/",
    });

  it("is a list of names", async () => {
    expect((await resolved(undefined)).auditLoggers).toEqual(["orchestrator.audit"]);
    expect((await resolved(["a", "b.c d"])).auditLoggers).toEqual(["a", "b.c d"]);
  });

  it.each([
    [[], "at least one logger"],
    [[""], "audit_loggers[0]: expected the name of a logger"],
    [["a", " b"], "audit_loggers[1]: expected the name of a logger"],
    [["a."], "expected the name of a logger"],
    [[7], "audit_loggers[0]"],
    [[null], "audit_loggers[0]"],
    ["orchestrator.audit", "audit_loggers"],
  ])("rejects %j", async (given, text) => {
    await expect(resolved(given)).rejects.toThrow(text);
  });
});
