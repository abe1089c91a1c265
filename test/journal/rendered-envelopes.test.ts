/** A record does not change after it was seen, although the journal stores rules instead of most envelopes. */

import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { Access, LogRecord } from "tailgate/plugin";
import { recordOf } from "tailgate/testing";
import type { RecordBatch } from "../harness/records.ts";
import { originOfRecords } from "../../src/batch/origin.ts";
import { partsOfRecord } from "../../src/envelope/encoder.ts";
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
      journal = await directory.open();
      const after = (await pagesOf(journal)).map(({ records }) => records as RecordBatch);
      expect(after.flatMap(seen)).toEqual(wanted);
    }),
    { numRuns: 8 },
  );
}, 60_000);

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
