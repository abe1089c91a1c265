/** `LoggingManager.connect` with a real Collector instead of a gateway. */

import { expect, onTestFinished, test } from "vitest";
import { LoggingManager } from "tailgate";
import { CollectorFile, namedOf } from "./collector-file.ts";
import { TestCollector, toFile } from "./test-collector.ts";

test("records and audit events reach a Collector, including those of an outage", async () => {
  await using collector = await TestCollector.create(toFile);
  const connection = await LoggingManager.connect({
    endpoint: collector.url,
    auditTimeoutMs: 30_000,
    registerGlobally: false,
    handleSignals: false,
    write: () => {},
  });
  onTestFinished(() => connection.stop());
  const logger = connection.getLogger("orchestrator.worker");
  logger.info("before");
  const audited = connection.audit({ eventType: "instance_spawn" }, { key: "k-1" });
  await collector.start();
  expect(await audited).toEqual({ key: "k-1" });
  await connection.flush();
  logger.info("after");
  await connection.flush();
  expect(connection.status).toMatchObject({ pending: 0, sent: 2, sentAuditEvents: 1 });
  const file = new CollectorFile(collector.workspace.path("records.jsonl"), namedOf);
  await file.until(({ length }) => length === 3, 10_000);
  expect(new Set(file.arrivals.map(({ message }) => message))).toEqual(
    new Set(["before", "instance_spawn", "after"]),
  );
  expect(file.arrivals.find(({ message }) => message === "instance_spawn")!.uid).toBe("k-1");
});
