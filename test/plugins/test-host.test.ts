/** The host of `tailgate/testing`, as the tests of receivers and processors use it. */

import { describe, expect, onTestFinished, test } from "vitest";
import { createRecord, TailgateError, type LogRecord } from "tailgate/plugin";
import { batchOf, recordOf, testHost, type TestHost } from "tailgate/testing";

async function openHost(): Promise<TestHost> {
  const host = await testHost("mine");
  onTestFinished(() => host.close());
  return host;
}

const OTLP = {
  resourceLogs: [
    { scopeLogs: [{ scope: { name: "orchestrator.db" }, logRecords: [{ severityNumber: 5 }] }] },
  ],
};

describe("the intake of a test host", () => {
  test("shows what it has accepted, as records and as envelopes", async () => {
    const { intake } = await openHost();
    const first = createRecord({ logger: "orchestrator.lines", body: "one", timeMs: 0 });
    expect(await intake.records([first, { ...first, body: "two" }])).toEqual({
      accepted: 2,
      rejected: 0,
      reason: "",
    });
    expect(await intake.otlpJson(Buffer.from(JSON.stringify(OTLP)))).toMatchObject({ accepted: 1 });
    expect(intake.accepted.map(({ body, scope }) => [body, scope.name])).toEqual([
      ["one", "orchestrator.lines"],
      ["two", "orchestrator.lines"],
      [null, "orchestrator.db"],
    ]);
    expect(intake.envelopes.map(({ data }) => data.level)).toEqual(["INFO", "INFO", "DEBUG"]);
  });

  test("appends to the journal of the host", async () => {
    const { intake, journal } = await openHost();
    await intake.records([recordOf({ body: "one" })]);
    expect(journal.newest).toBe(1);
    expect(journal.readFrom(1)?.envelope(0).data.message).toBe("one");
  });

  test.each(["OVERLOADED", "STOPPED", "JOURNAL_FULL"] as const)(
    "rejects with %s until it is to accept again",
    async (code) => {
      const { intake } = await openHost();
      intake.rejectWith(code);
      const error: unknown = await intake
        .records([recordOf({})])
        .catch((thrown: unknown) => thrown);
      expect(TailgateError.is(error, code)).toBe(true);
      await expect(intake.otlpProtobuf(new Uint8Array())).rejects.toMatchObject({ code });
      intake.rejectWith(undefined);
      await intake.records([recordOf({ body: "again" })]);
      expect(intake.accepted.map(({ body }) => body)).toEqual(["again"]);
    },
  );

  test("rejects what is not OTLP, and everything after the host was closed", async () => {
    const host = await testHost("mine");
    const broken = host.intake.otlpJson(Buffer.from("{"));
    await expect(broken).rejects.toMatchObject({ code: "OTLP_UNDECODABLE" });
    await host.close();
    await expect(host.intake.records([recordOf({})])).rejects.toMatchObject({ code: "STOPPED" });
  });

  test("runs processors as the gateway does", async () => {
    const { intake, lines } = await openHost();
    intake.process("picky", {
      process(record) {
        if (record.body === "drop") return undefined;
        if (record.body === "fail") throw new Error("no idea");
        return { ...record, body: "PASS" };
      },
    });
    const audit = { name: "orchestrator.audit", version: "", attributes: new Map() };
    const given: Partial<LogRecord>[] = [
      { body: "pass" },
      { body: "drop" },
      { body: "drop", scope: audit },
      { body: "fail" },
      { body: "fail", scope: audit },
    ];
    expect(await intake.records(given.map(recordOf))).toMatchObject({
      accepted: 4,
      rejected: 1,
      reason: "The processor picky failed: no idea.",
    });
    expect(intake.accepted.map(({ body }) => body)).toEqual(["PASS", "drop", "fail"]);
    expect(lines.join("\n")).toContain(
      "A record could not be processed. it dropped an audit event",
    );
  });
});

test("the journal of a test host takes batches of batchOf", async () => {
  const { journal } = await openHost();
  await journal.append(batchOf([{ body: "one" }, { body: "two" }]));
  await journal.append(batchOf([{ body: "three" }]));
  expect([journal.oldest, journal.newest]).toEqual([1, 3]);
  expect(journal.readFrom(3)?.envelope(0).data.message).toBe("three");
});

test("createRecord fills in what is not given", () => {
  const before = BigInt(Date.now()) * 1_000_000n;
  const record = createRecord({ logger: "orchestrator.lines", body: "one" });
  expect(record).toMatchObject({ severityNumber: 9, severityText: "INFO", resource: null });
  expect(record.timestamp).toBeGreaterThanOrEqual(before);
  const full = createRecord({
    logger: "orchestrator.lines",
    body: "two",
    level: "CRITICAL",
    timeMs: 1.5,
    attributes: { port: 514 },
  });
  expect(full).toMatchObject({ timestamp: 2_000_000n, severityNumber: 21 });
  expect([...full.attributes]).toEqual([["port", 514]]);
});
