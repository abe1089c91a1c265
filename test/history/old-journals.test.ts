/** Journals of versions that had no history.db, and journals that are older than their history.db. */

import { copyFile, readdir, readFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { auditHash, NO_HASH } from "../../src/envelope/audit-line.ts";
import { checksum, decompressBlock } from "../../src/journal/schema.ts";
import type { SqliteJournal } from "../../src/journal/sqlite.ts";
import { allOf, batch, JournalDirectory, pagesOf } from "../journal/journal-directory.ts";

/** Recomputes the hash chain of all audit events. Returns its head. */
async function verifiedHead(journal: SqliteJournal): Promise<string> {
  let head = NO_HASH;
  for (const { records } of await pagesOf(journal, { type: "audit_log" })) {
    for (let index = 0; index < (records?.length ?? 0); index++) {
      const sequence = records!.sequence(index);
      head = auditHash(head, records!.data(index), sequence);
      expect([sequence, records!.hash(index)]).toEqual([sequence, head]);
    }
  }
  return head;
}

/**
 * Rewrites rows that have all envelopes as older versions wrote them: without the length of the rules; in format 1 with four
 * cells per record, which are in order.
 */
function age(path: string, formatOf: (last: number) => number): void {
  const db = new DatabaseSync(path);
  for (const table of ["system_log", "audit_log"]) {
    for (const row of db.prepare(`SELECT first, last, appended, bytes FROM ${table}`).all()) {
      const { first, last, appended } = row as { first: number; last: number; appended: number };
      const stored = row["bytes"] as Uint8Array<ArrayBuffer>;
      const block = Buffer.from(decompressBlock(stored));
      const [format, records, isAudit] = [
        formatOf(last),
        block.readInt32LE(4),
        table === "audit_log",
      ];
      expect([block.readInt32LE(20), block.readInt32LE(24)]).toEqual([isAudit ? 1 : 0, 0]);
      const head = Buffer.from(block.subarray(0, 24));
      head.writeInt32LE(format);
      const cells = Array.from({ length: records }, (_, index) =>
        block.subarray(28 + 20 * index, 28 + 20 * index + (format === 1 ? 16 : 20)),
      );
      const bytes = Buffer.concat([head, ...cells, block.subarray(28 + 20 * records)]);
      const crc = checksum(bytes, first, last, appended);
      db.prepare(`UPDATE ${table} SET crc = ?, bytes = ? WHERE last = ?`).run(crc, bytes, last);
    }
  }
  db.exec("PRAGMA user_version = 2");
  db.close();
}

async function filesWith(directory: JournalDirectory, text: string): Promise<string[]> {
  const names = await readdir(directory.path);
  const contents = await Promise.all(names.map((name) => readFile(directory.file(name))));
  return names.filter((_, index) => contents[index]!.includes(text));
}

test("the rows of older versions are merged as they are, and read meanwhile", async () => {
  await using directory = await JournalDirectory.create();
  let journal = await directory.open();
  for (let commit = 0; commit < 40; commit++) {
    await journal.append(batch(`password hunter2 ${commit}`, `audit ${commit}`));
  }
  const { chain } = journal;
  await directory.close(journal);
  age(directory.file("journal.db"), (last) => 1 + (last % 4 === 0 ? 1 : 0));
  journal = await directory.open();
  const before = await allOf(journal);
  expect(before).toHaveLength(80);
  expect(journal.merging).toMatchObject({ waiting: 80 });
  const merged = journal.merge();
  expect(await allOf(journal)).toEqual(before);
  await merged;
  expect(journal.merging).toMatchObject({ waiting: 0, unindexed: 0 });
  expect(await allOf(journal)).toEqual(before);
  await expect
    .poll(async () =>
      (await filesWith(directory, "hunter2")).filter((name) => name.startsWith("journal")),
    )
    .toEqual([]);
  await directory.close(journal);
  journal = await directory.open();
  expect(await allOf(journal)).toEqual(before);
  await journal.append(batch("audit later"));
  expect(journal.chain.count).toBe(chain.count + 1);
  expect(await verifiedHead(journal)).toBe(journal.chain.head);
  journal.setRetention({ system_log: { bytes: 1, ms: 0 }, audit_log: { bytes: 1e9, ms: 1e12 } });
  await expect.poll(() => filesWith(directory, "hunter2")).toEqual([]);
  expect(directory.alarms).toEqual([]);
});

test("a journal.db that is older than the history continues the history's hash chain", async () => {
  await using directory = await JournalDirectory.create();
  let journal = await directory.open();
  await journal.append(batch("audit 1", "some", "audit 2"));
  await directory.close(journal);
  await copyFile(directory.file("journal.db"), directory.file("backup"));
  journal = await directory.open();
  await journal.append(batch("audit 3", "later", "audit 4"));
  await journal.merge();
  await directory.close(journal);
  await copyFile(directory.file("backup"), directory.file("journal.db"));
  journal = await directory.open();
  expect(await allOf(journal)).toHaveLength(6);
  await journal.append(batch("audit 5"));
  expect(journal.chain).toMatchObject({ count: 5, seq: 7 });
  expect(await verifiedHead(journal)).toBe(journal.chain.head);
});
