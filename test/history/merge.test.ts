import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { JournalPage } from "tailgate/plugin";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import type { SqliteJournal } from "../../src/journal/sqlite.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { markedRequest } from "../blocks/marked-request.ts";
import {
  alikeRequest,
  jsonRequest,
  lengthDelimited,
  reordered,
  toProtobuf,
} from "../encode/generated-request.ts";
import { recordsOnTheWire } from "../journal/otlp-records.ts";
import { allOf, batch, JournalDirectory, pagesOf } from "../journal/journal-directory.ts";

/** All that readers see of the records. */
async function contentsOf(journal: SqliteJournal): Promise<unknown[]> {
  const pages = await pagesOf(journal);
  return pages.flatMap(({ records }) =>
    Array.from({ length: records?.length ?? 0 }, (_, index) => ({
      sequence: records!.sequence(index),
      appendedAt: records!.appendedAt(index),
      envelope: Buffer.from(records!.bytes(index)).toString(),
      record: records!.record(index),
      line: Buffer.from(records!.auditLine(index)).toString(),
      hash: records!.hash(index),
      otlp: otlpOf(records!, index),
    })),
  );
}

/** The bytes of a record, and of what it shares with others. */
function otlpOf(records: NonNullable<JournalPage["records"]>, index: number): string {
  const [only] = recordsOnTheWire(records.select((at) => at === index).otlp());
  return only!;
}

/** Fields that no encoder writes like this: an unknown one, numbers with more bytes than they need, a short id. */
const ODD_FIELDS = [
  [0xa0, 0x06, 0xff, 0x01],
  [0x10, 0x89, 0x80, 0x00],
  [0x38, 0x81, 0x80, 0x00],
  [0x4a, 0x03, 0x01, 0x02, 0x03],
];

/** Requests with whatever records can have, some of them as no encoder writes them. */
const anyRequest = fc.oneof(
  fc.oneof(jsonRequest, alikeRequest, markedRequest).map(toProtobuf),
  fc.tuple(jsonRequest, fc.nat(12)).map(([json, seed]) => reordered(toProtobuf(json), seed)),
  fc.tuple(fc.string(), fc.constantFrom(...ODD_FIELDS)).map(([text, odd]) => {
    const body = lengthDelimited(5, lengthDelimited(1, Buffer.from(text.toWellFormed())));
    const time = Buffer.from([0x59, 1, 2, 3, 4, 5, 6, 7, 8]);
    const record = lengthDelimited(2, Buffer.concat([body, time, Buffer.from(odd)]));
    return lengthDelimited(1, lengthDelimited(2, record));
  }),
);

async function filled(directory: JournalDirectory, commits = 40): Promise<SqliteJournal> {
  const journal = await directory.open();
  for (let commit = 0; commit < commits; commit++) {
    await journal.append(batch(`a${commit}`, `audit ${commit}`, `b${commit}`));
  }
  return journal;
}

/** Memory has the newest records: only a new process reads them from the disk. */
async function reopened(directory: JournalDirectory, journal: SqliteJournal) {
  await directory.close(journal);
  return directory.open();
}

test("merged records are the same as before", async () => {
  await using directory = await JournalDirectory.create();
  let journal = await reopened(directory, await filled(directory));
  const before = await contentsOf(journal);
  const texts = await allOf(journal);
  await journal.merge();
  expect(journal.mergedUpTo).toBe(120);
  expect(await contentsOf(journal)).toEqual(before);
  await journal.append(batch("later", "audit later"));
  await journal.merge();
  journal = await reopened(directory, journal);
  expect(journal.mergedUpTo).toBe(122);
  expect(journal.oldestRetained).toBe(1);
  expect((await contentsOf(journal)).slice(0, 120)).toEqual(before);
  expect(await allOf(journal, { order: "desc" })).toEqual([
    ...texts,
    "121 later",
    "122 audit later",
  ]);
  expect(await allOf(journal, { type: "audit_log", from: 100 })).toHaveLength(8);
  expect(journal.readSync({ from: 60 }, 1_000).records!.sequence(0)).toBe(60);
  await journal.append(batch("last"));
  expect(journal.newest).toBe(123);
  expect(directory.alarms).toEqual([]);
});

test("whatever a record has, merging changes neither its envelope nor its OTLP bytes", async () => {
  await using directory = await JournalDirectory.create();
  let journal = await directory.open();
  const seed = Number(process.env["MERGE_SEED"] ?? Date.now() % 1e6);
  let batches = 0;
  for (const request of fc.sample(anyRequest, { seed, numRuns: 80 })) {
    const builder = new BatchBuilder();
    encodeOtlpProtobuf(request, builder, 0);
    for (const one of builder.take()) {
      await journal.append(one);
      // The gateway's own records come from no request.
      if (batches++ % 10 === 0) await journal.append(batch(`own ${batches}`, "audit own"));
    }
  }
  journal = await reopened(directory, journal);
  const before = await contentsOf(journal);
  await journal.merge();
  journal = await reopened(directory, journal);
  expect(journal.mergedUpTo).toBe(journal.newest);
  const after = await contentsOf(journal);
  const changed = before.filter((one, index) => !isDeepStrictEqual(one, after[index]));
  expect({ seed, changed, count: after.length }).toEqual({
    seed,
    changed: [],
    count: before.length,
  });
  expect(journal.merging).toMatchObject({ unindexed: 0 });
  expect(directory.alarms).toEqual([]);
});

test("small blocks of a day are merged again", async () => {
  await using directory = await JournalDirectory.create();
  const journal = await directory.open();
  for (let round = 0; round < 12; round++) {
    await journal.append(batch(`${round}`));
    await journal.merge();
  }
  const db = new DatabaseSync(directory.file("history.db"), { readOnly: true });
  expect(db.prepare("SELECT count(*) AS blocks FROM block").get()!["blocks"]).toBeLessThan(5);
  db.close();
  expect(await allOf(await reopened(directory, journal))).toHaveLength(12);
});

test("many records are merged by themselves, in blocks", async () => {
  await using directory = await JournalDirectory.create();
  const journal = await directory.open();
  const bodies = Array.from({ length: 2_000 }, (_, index) => `record ${index}`);
  for (let commit = 0; commit < 10; commit++) await journal.append(batch(...bodies));
  await expect.poll(() => journal.mergedUpTo).toBeGreaterThan(0);
  expect(journal.mergedUpTo % 2_000).toBe(0);
  const after = await reopened(directory, journal);
  const texts = await allOf(after);
  expect(texts).toHaveLength(20_000);
  expect(texts[16_500]).toBe("16501 record 500");
});

test("what is deleted is not readable in any file any more", async () => {
  await using directory = await JournalDirectory.create();
  const journal = await directory.open({ system_log: { bytes: 1 } });
  await journal.append(batch("the password is hunter2"));
  await journal.merge();
  const holds = async (): Promise<string[]> => {
    const names = await readdir(directory.path);
    const contents = names.map((name) => readFile(directory.file(name)));
    const texts = await Promise.all(contents);
    return names.filter((_, index) => texts[index]!.includes("hunter2"));
  };
  const inJournal = async () => (await holds()).filter((name) => name.startsWith("journal"));
  await expect.poll(inJournal).toEqual([]);
  await journal.append(batch("nothing of interest"));
  await journal.merge();
  journal.setRetention({ system_log: { bytes: 1, ms: 0 }, audit_log: { bytes: 1, ms: 0 } });
  await expect.poll(holds).toEqual([]);
});

test.for([
  ["deleted", (path: string) => rmSync(path)],
  ["damaged", (path: string) => writeFileSync(path, "not a database ".repeat(4_000))],
] as const)("a history that was %s is a gap", async ([, damage]) => {
  await using directory = await JournalDirectory.create();
  let journal = await filled(directory, 2);
  await journal.merge();
  await journal.append(batch("kept"));
  await directory.close(journal);
  damage(directory.file("history.db"));
  journal = await directory.open();
  expect(await allOf(journal)).toEqual(["1-6 damaged", "7 kept"]);
  expect(directory.alarms.join()).toContain("Its records up to sequence 6 are lost");
  await journal.merge();
  expect(await allOf(await reopened(directory, journal))).toEqual(["1-6 damaged", "7 kept"]);
  expect(directory.alarms).toHaveLength(1);
});

test("a history that is deleted while it is used is a gap, and merging goes on", async () => {
  await using directory = await JournalDirectory.create();
  const journal = await filled(directory, 2);
  await journal.merge();
  rmSync(directory.file("history.db"));
  await journal.append(batch("kept"));
  await expect(journal.merge()).rejects.toThrow("it was deleted or moved away");
  await journal.merge();
  expect(await allOf(await reopened(directory, journal))).toEqual(["1-6 damaged", "7 kept"]);
  expect(directory.alarms.join()).toContain("The records 1 to 6 are lost");
});

test("after a crash between the two files each record is there once", async () => {
  await using directory = await JournalDirectory.create();
  let journal = await filled(directory, 20);
  await directory.close(journal);
  const rows = readFileSync(directory.file("journal.db"));
  journal = await directory.open();
  const before = await contentsOf(journal);
  await journal.merge();
  await directory.close(journal);
  // The history has the records, and the journal has not deleted them.
  writeFileSync(directory.file("journal.db"), rows);
  journal = await directory.open();
  expect(journal.mergedUpTo).toBe(60);
  expect(await contentsOf(journal)).toEqual(before);
});

test("damage costs only the records that need what is damaged", async () => {
  await using directory = await JournalDirectory.create();
  let journal = await directory.open();
  const bodies = Array.from({ length: 3_000 }, (_, index) => `record ${index}`);
  await journal.append(batch(...bodies, "audit event"));
  await journal.merge();
  await journal.append(batch("later"));
  await directory.close(journal);
  const edit = (sql: string): void => {
    const db = new DatabaseSync(directory.file("history.db"));
    db.exec(sql);
    db.close();
  };
  // A filter only says which blocks need not be searched.
  edit("UPDATE filter SET bytes = X'00'");
  journal = await directory.open();
  const texts = await allOf(journal);
  expect(texts).toHaveLength(3_002);
  await directory.close(journal);
  edit(
    "UPDATE chunk SET bytes = substr(bytes, 2) WHERE id = (SELECT 256 * id FROM block WHERE type = 0)",
  );
  journal = await directory.open();
  const rest = ["1-3000 damaged system_log", "3001 audit event", "3002 later"];
  expect(await allOf(journal)).toEqual(rest);
  expect(await allOf(journal, { order: "desc" })).toEqual(rest);
  await directory.close(journal);
  edit("UPDATE block SET directory = X'00'");
  journal = await directory.open();
  const gaps = ["1-3000 damaged system_log", "3001-3001 damaged audit_log", "3002 later"];
  expect(await allOf(journal)).toEqual(gaps);
});
