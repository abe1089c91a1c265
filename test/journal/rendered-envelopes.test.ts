/** A record does not change after it was seen, although the journal stores rules instead of most envelopes. */

import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { expect, it } from "vitest";
import { LEVELS, type Envelope } from "tailgate";
import type { Access, LogRecord } from "tailgate/plugin";
import { recordOf } from "tailgate/testing";
import type { RecordBatch } from "../harness/records.ts";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { encodeBlocks, type StoredBlock } from "../../src/batch/block.ts";
import { StoredRecords } from "../../src/batch/stored-records.ts";
import { envelopeRules, renderFrames, type EnvelopeRules } from "../../src/envelope/rules.ts";
import { buildRequest } from "../../src/otlp/encode.ts";
import { textFrameAt } from "../../src/plugin/text-frame.ts";
import { originOfRecords } from "../../src/batch/origin.ts";
import { EnvelopeEncoder, partsOfRecord } from "../../src/envelope/encoder.ts";
import { RecordIntake } from "../../src/intake/intake.ts";
import type { RunningProcessor } from "../../src/intake/processors.ts";
import type { SqliteJournal } from "../../src/journal/sqlite.ts";
import { decompressBlock } from "../../src/journal/schema.ts";
import { Counters } from "../../src/plugin/metrics.ts";
import { decodeOtlpProtobuf } from "../../src/otlp/decode.ts";
import {
  alikeRequest,
  jsonRequest,
  reordered,
  toJson,
  toProtobuf,
  type JsonRequest,
} from "../encode/generated-request.ts";
import { listOf } from "../blocks/block-records.ts";
import { JournalDirectory, pagesOf } from "./journal-directory.ts";

const NAMES = ["a", "b", "é", "label", "host.name", "exception.message"];

/** What a client and an exporter get of a record. */
interface Seen {
  readonly sequence: number;
  readonly appendedAt: number;
  readonly envelope: string;
  readonly logger: string;
  readonly hash: string;
  readonly otlp: string;
}

function seen(batch: RecordBatch): Seen[] {
  return Array.from({ length: batch.length }, (_, index) => ({
    sequence: batch.sequence(index),
    appendedAt: batch.appendedAt(index),
    envelope: Buffer.from(batch.bytes(index)).toString(),
    logger: batch.logger(index),
    hash: batch.hash(index),
    otlp: Buffer.from(batch.select((one) => one === index).otlp()).toString("hex"),
  }));
}

/** Returns what a worker gets that stores the rows of a journal in another form. */
function stored(file: string): Seen[] {
  using db = new DatabaseSync(file);
  return ["system_log", "audit_log"].flatMap((table) =>
    db
      .prepare(`SELECT first, appended, bytes FROM ${table} ORDER BY last`)
      .all()
      .flatMap(({ first, appended, bytes }) =>
        storedRecords({
          firstSequence: first as number,
          appendedAtMs: appended as number,
          bytes: decompressBlock(bytes as Uint8Array<ArrayBuffer>),
        }),
      ),
  );
}

function storedRecords(block: StoredBlock): Seen[] {
  const records = new StoredRecords(block, envelopeRules(NAMES));
  const { rules } = records;
  const list = listOf(records, records.type === "audit_log");
  return list.map(({ sequence, appendedAtMs, envelope, logger, hash = "", otlp, ...one }) => {
    const request = buildRequest(1, () => otlp);
    const text = Buffer.from(envelope ?? envelopeOf(request, rules)).toString();
    const { timestamp, level } = (JSON.parse(text) as Envelope).data;
    const micros = Number(timestamp.slice(-"163Z".length, -1));
    expect(one).toMatchObject({
      rank: LEVELS.indexOf(level),
      timeMicros: 1000 * Date.parse(timestamp) + micros,
    });
    const bytes = Buffer.from(request).toString("hex");
    return { sequence, appendedAt: appendedAtMs, envelope: text, logger, hash, otlp: bytes };
  });
}

function envelopeOf(request: Uint8Array, rules: EnvelopeRules): Uint8Array {
  const { bytes } = renderFrames(request, [0], rules);
  const { start, end } = textFrameAt(bytes, 0);
  return bytes.subarray(start, end);
}

function processor(process: (record: LogRecord) => LogRecord): RunningProcessor {
  return {
    id: "p",
    processor: { process },
    counters: new Counters(),
    lastError: undefined,
    failed() {},
  };
}

/** Changes every second record, and leaves the others as they came. */
function changing(): RunningProcessor {
  let count = 0;
  return processor((record) =>
    count++ % 2 === 0
      ? { ...record, attributes: new Map([...record.attributes, ["a", "by a processor"]]) }
      : record,
  );
}

/** A gateway's intake with one configuration; `batches` gets what it appends. */
function intakeOf(
  journal: SqliteJournal,
  batches: RecordBatch[],
  resourceAttributes: readonly string[],
  processors: readonly RunningProcessor[],
): RecordIntake {
  const ignore = (): void => {};
  return new RecordIntake({
    logLevel: "DEBUG",
    resourceAttributes,
    processors,
    pendingBytesMax: 64 << 20,
    unstoredBytes: () => 0,
    append: (batch) => {
      batches.push(batch);
      return journal.append(batch);
    },
    storedEvents: [],
    log: { info: ignore, warning: ignore, error: ignore },
  });
}

const SOMEBODY: Access = {
  principal: "somebody",
  scopes: new Set(["ingest:system", "ingest:audit"]),
} as never;

/** Each resource has an attribute that some configurations show. */
function withHost({ resourceLogs }: JsonRequest): JsonRequest {
  const host = { key: "host.name", value: { stringValue: "node-1" } };
  return {
    resourceLogs: resourceLogs.map((one) => ({
      ...one,
      resource: { ...one.resource, attributes: [...(one.resource?.attributes ?? []), host] },
    })),
  };
}

const requests = fc.array(
  fc.record({
    request: fc.oneof(jsonRequest, alikeRequest).map(withHost),
    seed: fc.nat(1000),
    way: fc.constantFrom("protobuf", "protobuf", "json", "json", "records", "own"),
    config: fc.nat(3),
    access: fc.constantFrom(undefined, SOMEBODY),
  }),
  { minLength: 12, maxLength: 24 },
);

it("is read as it was seen, by whichever configuration it came", async () => {
  await fc.assert(
    fc.asyncProperty(requests, async (sent) => {
      await using directory = await JournalDirectory.create();
      let journal = await directory.open();
      const batches: RecordBatch[] = [];
      const intakes = [
        intakeOf(journal, batches, [], []),
        intakeOf(journal, batches, NAMES, []),
        intakeOf(journal, batches, NAMES, [changing()]),
        intakeOf(journal, batches, [], [changing()]),
      ];
      // Those of one turn share a commit, with the rules of several configurations.
      await Promise.all(
        sent.map(async ({ request, seed, way, config, access }) => {
          const intake = intakes[config]!;
          const body = reordered(toProtobuf(request), seed);
          const records = way === "protobuf" || way === "json" ? [] : decodeOtlpProtobuf(body);
          if (way === "protobuf") await intake.otlpProtobuf(body, access);
          else if (way === "json") await intake.otlpJson(toJson(request), access);
          else if (way === "records") await intake.records(records.map(recordOf), access);
          else {
            for (const record of records) {
              intake.accept(partsOfRecord(record), originOfRecords([record]));
            }
            await intake.flush();
          }
        }),
      );
      const before = batches.sort((one, other) => one.firstSequence - other.firstSequence);
      const wanted = before.flatMap(seen);
      await directory.close(journal);
      const rows = stored(directory.file("journal.db"));
      expect(rows.sort((one, other) => one.sequence - other.sequence)).toEqual(wanted);
      journal = await directory.open();
      const after = (await pagesOf(journal)).map(({ records }) => records as RecordBatch);
      expect(after.flatMap(seen)).toEqual(wanted);
    }),
    { numRuns: 8 },
  );
}, 60_000);

it("needs no envelope in another form if the rules make it, however it came", () => {
  const records = [recordOf({ body: "as an object", timestamp: 1_760_347_644_339_163_000n })];
  const open = new BatchBuilder();
  const origin = originOfRecords(records);
  new EnvelopeEncoder(open, 0).encode(partsOfRecord(records[0]!), origin, 0);
  const [block] = encodeBlocks(open.take());
  expect(Buffer.from(block!.bytes).includes('"message":"as an object"')).toBe(true);
  const bytes = Uint8Array.from(block!.bytes);
  const row = { firstSequence: 1, appendedAtMs: 0, bytes };
  const [record] = listOf(new StoredRecords(row, envelopeRules()), false);
  expect(record).toMatchObject({ envelope: undefined, timeMicros: 1_760_347_644_339_163 });
});

it("is stored once, unless its envelope cannot be made again", async () => {
  await using directory = await JournalDirectory.create();
  const journal = await directory.open();
  const intake = intakeOf(journal, [], [], []);
  const logRecords = (text: string, hasTime: boolean): object[] => [
    {
      body: { stringValue: text },
      ...(hasTime && { observedTimeUnixNano: "1760347644339163000" }),
    },
  ];
  const scopeLogs = (text: string, hasTime: boolean, name = ""): object => ({
    scope: { name, attributes: [] },
    logRecords: logRecords(text, hasTime),
  });
  const send = (...scopes: object[]): Promise<unknown> =>
    intake.otlpProtobuf(toProtobuf({ resourceLogs: [{ scopeLogs: scopes }] } as never));
  await send(scopeLogs("only once", true));
  await send(scopeLogs("without a time", false));
  await send(scopeLogs("an event", true, "orchestrator.audit"));
  await directory.close(journal);
  using db = new DatabaseSync(directory.file("journal.db"));
  const rows = ["system_log", "audit_log"].flatMap((table) =>
    db.prepare(`SELECT bytes FROM ${table} ORDER BY last`).all(),
  );
  const times = (text: string): number => {
    const blocks = rows.map(({ bytes }) =>
      Buffer.from(decompressBlock(bytes as Uint8Array<ArrayBuffer>)).toString("latin1"),
    );
    return blocks.join("").split(text).length - 1;
  };
  expect(["only once", "without a time", "an event"].map(times)).toEqual([1, 2, 2]);
});
