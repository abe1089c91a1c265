import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { built } from "./built.ts";
import { printFigures } from "./figure.ts";
import { batchMaker, BenchDirectory, openJournal } from "./journal-directory.ts";
import { medianWaits, type Scale } from "./rounds.ts";

const SLICE_COMMITS = 40;

/** With one record, as for an audit event, and of a small request. */
const COMMIT_RECORDS = [1, 32];

/** How long a caller waits until an idle journal has made its record durable, compared with the disk's minimum. */
export async function benchJournalCommit({ rounds, share }: Scale): Promise<void> {
  for (const records of COMMIT_RECORDS) await benchCommits(records, rounds, share);
}

async function benchCommits(records: number, rounds: number, share: number): Promise<void> {
  await using directory = await BenchDirectory.make();
  const makeBatch = await batchMaker(records);
  const journal = await openJournal(directory.path);
  const bare = await bareFile(directory.path, makeBatch);
  const names = {
    tailgate: `commit_${records}.tailgate`,
    fdatasync: `commit_${records}.fdatasync`,
  };
  const samples = await medianWaits(
    [
      { name: names.tailgate, run: () => journal.append(makeBatch()) },
      { name: names.fdatasync, run: () => bare.commit() },
    ],
    rounds,
    Math.ceil(SLICE_COMMITS * share),
  );
  bare.close();
  await journal.close();
  printFigures("us/commit", samples, [
    {
      name: `commit_${records}.ratio`,
      of: names.tailgate,
      to: names.fdatasync,
      target: "<= 1.3",
    },
  ]);
}

/** Appends the same bytes to a file, and nothing else. */
async function bareFile(
  directory: string,
  makeBatch: Awaited<ReturnType<typeof batchMaker>>,
): Promise<{ commit(): void; close(): void }> {
  const { encodeBlocks } =
    await built<typeof import("../../src/batch/block.ts")>("src/batch/block.js");
  const [lane] = encodeBlocks([makeBatch()]);
  const descriptor = openSync(join(directory, "bare"), "a");
  return {
    commit() {
      writeSync(descriptor, lane!.bytes);
      fdatasyncSync(descriptor);
    },
    close: () => closeSync(descriptor),
  };
}
