/** Envelopes that are made from the columns of a merged block: the same bytes as those of the records. */

import fc from "fast-check";
import { expect, test } from "vitest";
import type { LogRecord, Value } from "tailgate/plugin";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { decodeBlocks } from "../../src/batch/block.ts";
import { BlockEncoder } from "../../src/blocks/block-encoder.ts";
import { openBlock } from "../../src/blocks/merged-block.ts";
import { LoggerNames } from "../../src/envelope/prefix.ts";
import { envelopeRules, rulesText } from "../../src/envelope/rules.ts";
import { buildRequest, encodeLogRecord } from "../../src/otlp/encode.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { asBlockRecords, type BlockRecord } from "./block-records.ts";

const RESOURCE_ATTRIBUTES = ["host.name", "name", "region"];
const RULES = rulesText(envelopeRules(RESOURCE_ATTRIBUTES));
const MS_MICROS = 1_000;

/** Few enough that most names and values occur again, in the same shapes. */
const text = fc.oneof(
  fc.constantFrom(
    "",
    "a",
    "main.py",
    "/app/src/server.py",
    "a.b::c",
    "12",
    "WARN",
    'é "x"\n',
    "30",
  ),
  fc.string({ unit: "grapheme", maxLength: 40 }),
);
const scalar: fc.Arbitrary<Value> = fc.oneof(
  { weight: 4, arbitrary: text },
  fc.constantFrom<Value>(
    null,
    true,
    false,
    0,
    1,
    -1,
    42.5,
    0.001,
    -0,
    NaN,
    Infinity,
    2n ** 53n,
    -(2n ** 62n),
  ),
  fc.integer(),
  fc.double(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.uint8Array({ maxLength: 9 }),
);
const nested: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 2, depthSize: "small" },
    scalar,
    fc.array(tie("value"), { maxLength: 3 }),
    fc
      .array(fc.tuple(fc.constantFrom("type", "message", "stack", "k"), tie("value")), {
        maxLength: 3,
      })
      .map((entries) => new Map(entries)),
  ),
})).value;

const codeName = fc.constantFrom(
  ...["code.file.path", "code.filepath", "code.namespace", "code.function.name", "code.function"],
  ...["code.line.number", "code.lineno", "code.stacktrace", "code.other"],
);
const otherName = fc.constantFrom(
  ...["logger", "logger.name", "name", "label", "message", "id", "extra_id", "line", "type"],
  ...["trace_id", "span_id", "service", "event_name", "event.name", "severity_text", "host.name"],
  ...["err", "exception.type", "user.id", "size", "héé", 'quoted "name"'],
);
const name = fc.oneof(codeName, otherName);
const attributes = fc
  .array(fc.tuple(name, fc.oneof({ weight: 5, arbitrary: scalar }, nested)), { maxLength: 6 })
  .map((entries) => new Map(entries));

const id = (bytes: number): fc.Arbitrary<string> =>
  fc.oneof(
    fc.constantFrom("", "00".repeat(bytes), "ab".repeat(bytes)),
    fc
      .uint8Array({ minLength: bytes, maxLength: bytes })
      .map((all) => Buffer.from(all).toString("hex")),
  );

const record: fc.Arbitrary<LogRecord> = fc.record({
  timestamp: fc.oneof(
    fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }),
    fc.constant(1_760_000_000_123_456_789n),
  ),
  observedTimestamp: fc.constantFrom(0n, 1_760_000_000_000_000_000n),
  severityNumber: fc.constantFrom(0, 0, 1, 9, 13, 17, 24),
  severityText: fc.constantFrom("", "INFO", "Verbose", " odd ", "30", "6"),
  body: fc.oneof({ weight: 6, arbitrary: text }, fc.constant(null), nested),
  eventName: fc.constantFrom("", "", "user.login", "event src/main.rs:12", 'a"b'),
  attributes,
  traceId: id(16),
  spanId: id(8),
  flags: fc.constantFrom(0, 1),
  scope: fc
    .constantFrom(
      "",
      "unknown",
      "app",
      "app.pino",
      "syslogreceiver",
      "@opentelemetry/instrumentation-pino",
    )
    .map((scope) => ({ name: scope, version: "", attributes: new Map() })),
  resource: fc.constantFrom<LogRecord["resource"]>(
    null,
    { attributes: new Map<string, Value>([["service.name", "billing"]]) },
    {
      attributes: new Map<string, Value>([
        ["service.name", "web"],
        ["host.name", "h1"],
        ["name", "n"],
        ["region", ["a", 1n]],
      ]),
    },
  ),
});

test("envelopes made of columns are those of the records, whatever these have", () => {
  fc.assert(
    fc.property(
      fc.array(record, { minLength: 1, maxLength: 5 }),
      fc.array(record, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 12 }),
      (records, values, copies) => {
        // The shapes of some records with the values of others: so that shapes occur with several values.
        const all = Array.from({ length: copies }, (_, copy) =>
          records.map((one, index): LogRecord => {
            const other = values[(index + copy) % values.length]!;
            return {
              ...one,
              severityText: other.severityText,
              resource: other.resource,
              traceId: other.traceId,
              scope: copy % 2 === 0 ? one.scope : other.scope,
              body:
                typeof one.body === "string" && typeof other.body === "string"
                  ? other.body
                  : one.body,
            };
          }),
        ).flat();
        expectSame(all);
      },
    ),
    { numRuns: 150 },
  );
});

function expectSame(records: readonly LogRecord[]): void {
  const builder = new BatchBuilder();
  const loggers = new LoggerNames([], RESOURCE_ATTRIBUTES);
  encodeOtlpProtobuf(
    buildRequest(records.length, (index) => encodeLogRecord(records[index]!)),
    builder,
    0,
    loggers,
  );
  const stored: BlockRecord[] = [];
  const expected: string[] = [];
  for (const batch of builder.take()) {
    for (let index = 0; index < batch.length; index++) {
      const timestamp = batch.timestamp(index);
      const bytes = Buffer.from(batch.bytes(index));
      expected.push(bytes.toString());
      stored.push({
        sequence: expected.length,
        appendedAtMs: 0,
        rank: batch.rank(index),
        logger: batch.logger(index),
        otlp: batch.encodedRecord(index),
        timeMicros: Date.parse(timestamp) * MS_MICROS + Number(timestamp.slice(23, 26)),
        envelope: batch.rules(index) === undefined ? bytes : undefined,
        hash: undefined,
      });
    }
  }
  const encoder = new BlockEncoder("system_log", RULES);
  encoder.add(asBlockRecords(stored));
  const block = encoder.finish();
  const view = openBlock(
    { type: "system_log", rules: block.rules },
    block.directory,
    (chunk) => block.chunks[chunk]!,
  );
  const read = decodeBlocks([view.read([...expected.keys()])]);
  const got = expected.map((_, index) => Buffer.from(read.bytes(index)).toString());
  expect(got).toEqual(expected);
}
