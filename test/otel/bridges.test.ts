import { createRequire } from "node:module";
import { OpenTelemetryTransportV3 } from "@opentelemetry/winston-transport";
import { PinoInstrumentation } from "@opentelemetry/instrumentation-pino";
import type { pino as Pino } from "pino";
import { afterEach, describe, expect, it } from "vitest";
import winston from "winston";
import { LoggingManager } from "tailgate";
import { collect, type Collected } from "../harness/client.ts";
import { temporaryDirectory } from "../harness/workspace.ts";

const cleanUps: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function client(): Promise<Collected> {
  const logDir = await temporaryDirectory(cleanUps);
  const manager = await LoggingManager.start({ port: 0, logDir, exporters: { websocket: {} } });
  cleanUps.push(() => manager.stop());
  const collected = await collect(`${manager.url.replace("http", "ws")}/ws/logs`);
  cleanUps.push(() => collected.close());
  return collected;
}

describe("reads the logger's name from a bridge's attributes", () => {
  it("with winston's transport", async () => {
    const received = await client();
    const logger = winston.createLogger({ transports: [new OpenTelemetryTransportV3()] });
    cleanUps.push(() => void logger.close());
    logger.warn("slow", { label: "orchestrator.server", tries: 2 });
    logger.info("spawned", {
      logger: "orchestrator.audit",
      event_type: "instance_spawn",
      label: "x",
    });
    logger.error("no name");
    const [system, audit, unnamed] = await received.receive(3);
    expect(system).toMatchObject({
      type: "system_log",
      data: { logger: "orchestrator.server", level: "WARNING", message: "slow", tries: 2 },
    });
    expect(system!.data).not.toHaveProperty("label");
    expect(audit).toMatchObject({
      type: "audit_log",
      data: { logger: "orchestrator.audit", action: "instance_spawn", metadata: { label: "x" } },
    });
    expect(unnamed!.data).toMatchObject({
      logger: "@opentelemetry/winston-transport",
      level: "ERROR",
    });
  });

  it("with pino's instrumentation", async () => {
    const received = await client();
    const instrumentation = new PinoInstrumentation();
    cleanUps.push(() => instrumentation.disable());
    // The instrumentation patches modules required after it.
    const { pino } = createRequire(import.meta.url)("pino") as { pino: typeof Pino };
    const root = pino({ name: "orchestrator.server" }, { write: () => {} });
    root.warn({ tries: 2 }, "slow");
    root.child({ logger: "orchestrator.audit" }).info({ event_type: "instance_spawn" }, "spawned");
    const [system, audit] = await received.receive(2);
    expect(system).toMatchObject({
      type: "system_log",
      data: { logger: "orchestrator.server", level: "WARNING", message: "slow", tries: 2 },
    });
    expect(system!.data).not.toHaveProperty("name");
    expect(audit).toMatchObject({
      type: "audit_log",
      data: { action: "instance_spawn", metadata: { name: "orchestrator.server" } },
    });
  });
});
