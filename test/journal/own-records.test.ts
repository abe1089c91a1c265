import { SeverityNumber } from "@opentelemetry/api";
import { LoggerProvider } from "@opentelemetry/sdk-logs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LoggingManager } from "tailgate";
import { originOfRecords } from "../../src/batch/origin.ts";
import type { LogRecord } from "tailgate/plugin";
import { recordOf } from "tailgate/testing";
import { JournalDirectory, pagesOf } from "./journal-directory.ts";
import { recordsByProtobufjs, type RecordInRequest } from "./otlp-records.ts";

/** What the journal returns, after a restart, for the records logged. */
async function stored(log: (manager: LoggingManager) => void): Promise<RecordInRequest[]> {
  await using directory = await JournalDirectory.create();
  const manager = await LoggingManager.start({
    port: 0,
    logDir: directory.path,
    logLevel: "DEBUG",
    exporters: {},
    registerGlobally: false,
    write: () => {},
  });
  log(manager);
  await manager.stop();
  const pages = await pagesOf(await directory.open());
  return pages.flatMap(({ records }) => recordsByProtobufjs(records!.otlp()));
}

/** Anything that JavaScript code may pass for a number or a text. */
const anything = fc.oneof(
  fc.anything({ withBigInt: true, withDate: true, withMap: true, withTypedArray: true }),
  fc.constantFrom(Number.NaN, 9.5, -1, 2 ** 40, 10n ** 30n, "abc", undefined, () => 1, Symbol("s")),
);

/** The SDK itself filters such severities. */
function isNegative(value: unknown): boolean {
  try {
    return (value as number) < 0;
  } catch {
    return false;
  }
}

describe("a record of this process", () => {
  it("has its types, times to the nanosecond, resource and scope", async () => {
    const [found] = await stored((manager) => {
      const logger = manager.provider.getLogger("orchestrator.server", "1.2.3", {
        schemaUrl: "https://opentelemetry.io/schemas/1.37.0",
      });
      logger.emit({
        timestamp: [1_760_347_644, 339_163_001],
        observedTimestamp: [1_760_347_645, 1],
        severityNumber: SeverityNumber.WARN,
        severityText: "WARN",
        eventName: "instance.spawn",
        body: { list: [1, 0.5, null, true], bytes: Uint8Array.of(1, 2) },
        attributes: {
          small: 7,
          big: 2n ** 62n,
          double: 0.25,
          none: null,
          nested: { deep: ["é"] },
        },
      });
    });
    const { resourceLogs, scopeLogs, record } = found!;
    expect(JSON.stringify(resourceLogs)).toContain('"key":"service.name"');
    expect(scopeLogs).toEqual({
      scope: { name: "orchestrator.server", version: "1.2.3" },
      schemaUrl: "https://opentelemetry.io/schemas/1.37.0",
    });
    expect(record).toEqual({
      timeUnixNano: "1760347644339163001",
      observedTimeUnixNano: "1760347645000000001",
      severityNumber: 13,
      severityText: "WARN",
      eventName: "instance.spawn",
      body: {
        kvlistValue: {
          values: [
            {
              key: "list",
              value: {
                arrayValue: {
                  values: [{ intValue: "1" }, { doubleValue: 0.5 }, {}, { boolValue: true }],
                },
              },
            },
            { key: "bytes", value: { bytesValue: "AQI=" } },
          ],
        },
      },
      attributes: [
        { key: "small", value: { intValue: "7" } },
        { key: "big", value: { intValue: String(2n ** 62n) } },
        { key: "double", value: { doubleValue: 0.25 } },
        { key: "none", value: {} },
        {
          key: "nested",
          value: {
            kvlistValue: {
              values: [{ key: "deep", value: { arrayValue: { values: [{ stringValue: "é" }] } } }],
            },
          },
        },
      ],
    });
  });

  it("is stored whatever it contains, and does not prevent others from being stored", async () => {
    const fields = fc.record(
      {
        timestamp: anything,
        severityNumber: anything.filter((value) => !isNegative(value)),
        severityText: anything,
        eventName: anything,
        body: anything,
        attributes: anything,
      },
      { requiredKeys: [] },
    );
    const emitted = fc.sample(fields, 300) as Record<string, never>[];
    const found = await stored((manager) => {
      const foreign = new LoggerProvider({ processors: [manager.processor] });
      const [safe, sdk] = [manager.provider.getLogger("safe"), foreign.getLogger("sdk")];
      for (const record of emitted) {
        safe.emit(record);
        try {
          sdk.emit(record);
        } catch {
          // The SDK itself throws on this record, so it never arrives.
          sdk.emit({ body: "unreadable" });
        }
      }
      manager.logAuditEvent({ eventType: "end" });
    });
    const names = found.map(
      ({ scopeLogs }) => (scopeLogs as { scope: { name: string } }).scope.name,
    );
    expect(names.filter((name) => name === "safe")).toHaveLength(300);
    expect(names.filter((name) => name === "sdk")).toHaveLength(300);
    // After it the gateway logs its last checkpoint.
    expect(names.slice(-2)).toEqual(["orchestrator.audit", "orchestrator.audit.checkpoint"]);
  });
});

describe("a plugin's record", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 9 });
  const number = fc.oneof(
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }),
    fc.constantFrom(0.5, -0, Number.NaN),
  );
  const bigint = fc
    .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
    .filter((value) => !Number.isSafeInteger(Number(value)));
  const value = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      text,
      number,
      bigint,
      fc.boolean(),
      fc.constant(null),
      fc.uint8Array({ maxLength: 5 }),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.array(fc.tuple(text, tie("value")), { maxLength: 3 }).map((pairs) => new Map(pairs)),
    ),
  })).value;
  const attributes = fc
    .array(fc.tuple(text, value), { maxLength: 4 })
    .map((pairs) => new Map(pairs));
  const id = (bytes: number): fc.Arbitrary<string> =>
    fc
      .uint8Array({ minLength: bytes, maxLength: bytes })
      .map((given) => (given.some(Boolean) ? Buffer.from(given).toString("hex") : ""));
  const record = fc.record({
    timestamp: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    observedTimestamp: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    severityNumber: fc.integer({ min: 0, max: 24 }),
    severityText: text,
    body: value,
    eventName: text,
    attributes,
    traceId: id(16),
    spanId: id(8),
    flags: fc.nat(255),
    resource: attributes.map((given) => ({ attributes: given })),
    scope: fc.record({ name: text, version: text, attributes }),
  }) as fc.Arbitrary<LogRecord>;

  it("is rebuilt as it was when it was logged", () => {
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 4 }), (records) => {
        const origin = originOfRecords(records);
        const before = structuredClone(records);
        for (const one of records) {
          one.attributes.set("changed", "later");
          one.body = "changed later";
        }
        for (const [index, one] of before.entries()) expect(origin.record(index)).toEqual(one);
        // Every caller gets its own copy.
        origin.record(0).attributes.clear();
        expect(origin.record(0)).toEqual(before[0]);
      }),
    );
  });

  it("is stored whatever a plugin puts into it", () => {
    fc.assert(
      fc.property(fc.record({ ...fieldsOfAnything() }, { requiredKeys: [] }), (fields) => {
        const given = recordOf(fields);
        const origin = originOfRecords([given, recordOf({ body: "next" })]);
        expect(origin.record(1).body).toBe("next");
        origin.record(0);
      }),
    );
  });

  function fieldsOfAnything(): Record<string, fc.Arbitrary<unknown>> {
    const odd = fc.array(fc.tuple(fc.string(), anything)).map((pairs) => new Map(pairs));
    return {
      timestamp: anything,
      observedTimestamp: anything,
      severityNumber: anything,
      severityText: anything,
      body: anything.filter((given) => given !== undefined),
      eventName: anything,
      flags: anything,
      traceId: anything,
      spanId: anything,
      attributes: odd,
    };
  }
});
