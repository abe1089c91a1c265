import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { toProtobuf } from "../encode/generated-request.ts";
import { checksum } from "../../src/journal/schema.ts";
import { parseQuery } from "../../src/wire/query/parse.ts";
import { allOf, batch, JournalDirectory, textsOf } from "../journal/journal-directory.ts";

/** Changes the OTLP records with these texts so that no reader understands it, as only a bug in the gateway could. */
function poison(path: string, texts: readonly string[]): void {
  const db = new DatabaseSync(path);
  const rows = db.prepare("SELECT first, last, appended, bytes FROM system_log").all();
  for (const row of rows) {
    const { first, last, appended } = row as { first: number; last: number; appended: number };
    const bytes = Buffer.from(row["bytes"] as Uint8Array);
    for (const text of texts) {
      const at = bytes.lastIndexOf(text);
      // The tag of the text: its field gets a wire type that does not exist.
      if (at >= 0) bytes[at - 2] = 0x0f;
    }
    const crc = checksum(bytes, first, last, appended);
    db.prepare("UPDATE system_log SET crc = ?, bytes = ? WHERE last = ?").run(crc, bytes, last);
  }
  db.close();
}

/** Records as the intake receives them: the journal stores no envelopes of them. */
function received(count: number): RecordBatch {
  const logRecords = Array.from({ length: count }, (_, index) => ({
    observedTimeUnixNano: String(1_760_347_644_000_000_000n + BigInt(index)),
    body: { stringValue: `record ${index + 1}` },
  }));
  const builder = new BatchBuilder();
  encodeOtlpProtobuf(toProtobuf({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] }), builder, 0);
  return builder.take()[0]!;
}

async function found(journal: Awaited<ReturnType<JournalDirectory["open"]>>, q: string) {
  const search = {
    ...{ from: 1, to: journal.mergedUpTo, order: "asc" as const, filters: [parseQuery(q)] },
    ...{ type: undefined, sinceMicros: undefined, untilMicros: undefined },
  };
  const texts: string[] = [];
  for await (const page of journal.history.find(search, Infinity, new AbortController().signal)) {
    texts.push(...textsOf(page));
  }
  return texts;
}

test("records of which no index can be made do not keep the others from being merged", async () => {
  await using directory = await JournalDirectory.create();
  let journal = await directory.open();
  await journal.append(received(100));
  await journal.append(batch("audit event", "later"));
  await directory.close(journal);
  poison(directory.file("journal.db"), ["record 20", "record 77", "record 78"]);
  journal = await directory.open();
  await journal.merge();
  expect(journal.merging).toEqual({
    waiting: 0,
    isRunning: false,
    unindexed: 3,
    lastError: undefined,
  });
  await journal.append(batch("record later"));
  await journal.merge();
  expect(journal.merging).toMatchObject({ waiting: 0, unindexed: 3, lastError: undefined });
  await directory.close(journal);
  journal = await directory.open();
  const damaged = ["20-20 damaged system_log", "77-78 damaged system_log"];
  const texts = await allOf(journal);
  expect(texts.filter((text) => text.includes("damaged"))).toEqual(damaged);
  expect(texts).toHaveLength(102);
  const search = await found(journal, "record");
  expect(search.filter((text) => text.includes("damaged"))).toEqual(damaged);
  expect(search).toHaveLength(100);
  expect(directory.alarms).toHaveLength(2);
  expect(directory.alarms[0]).toMatch(/^No index can be made .* the first of which is 20\./);
});
