import { stat } from "node:fs/promises";
import { expect, test } from "vitest";
import { denseText } from "../harness/dense-text.ts";
import { allOf, batch, JournalDirectory } from "../journal/journal-directory.ts";

const COMMITS = 44;
const RECORDS = 16;
const RECORD_BYTES = 64 << 10;

/** As after an update from a version without history.db: much is stored, and nothing is merged. */
test("journal.db gives back its space when a large old journal is merged", async () => {
  await using directory = await JournalDirectory.create();
  let journal = await directory.open();
  for (let commit = 0; commit < COMMITS; commit++) {
    const bodies = Array.from({ length: RECORDS }, () => denseText(RECORD_BYTES));
    await journal.append(batch(...bodies));
  }
  await directory.close(journal);
  const bytes = async (): Promise<number> => (await stat(directory.file("journal.db"))).size;
  const before = await bytes();
  expect(before).toBeGreaterThan(32 << 20);
  journal = await directory.open();
  await journal.merge();
  await expect.poll(bytes).toBeLessThan(before / 4);
  expect(await allOf(journal)).toHaveLength(COMMITS * RECORDS);
  expect(directory.alarms).toEqual([]);
}, 120_000);
