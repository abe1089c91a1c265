import type { SqliteJournal } from "../../src/journal/sqlite.ts";
import { printFigures } from "./figure.ts";
import { batchMaker, BenchDirectory, openJournal, RowTable } from "./journal-directory.ts";
import { measured, wallMicros, type Scale } from "./rounds.ts";

const BATCH_RECORDS = 512;
const BATCHES = 80;

/** A page of the journal has about this many. */
const PAGE_ROWS = 1_000;

/** How fast all records are read back from disk, in megabytes of envelopes. */
export async function benchJournalReplay({ rounds, share }: Scale): Promise<void> {
  await using directory = await BenchDirectory.make();
  const makeBatch = await batchMaker(BATCH_RECORDS);
  const writing = await openJournal(directory.path);
  const rows = new RowTable(directory.path);
  for (let count = Math.ceil(BATCHES * share); count > 0; count--) {
    await writing.append(makeBatch());
    rows.commit([makeBatch()]);
  }
  await writing.close();
  // With nothing cached in memory.
  const journal = await openJournal(directory.path);
  const samples = await measured(
    [
      { name: "replay.tailgate", run: () => replay(journal) },
      { name: "replay.sqlite_rows", run: () => rows.replay(PAGE_ROWS) },
    ],
    rounds,
    wallMicros,
  );
  const [ours, theirs] = [await replay(journal), rows.replay(PAGE_ROWS)];
  await journal.close();
  rows.close();
  if (ours !== theirs) throw new Error(`The journal has ${ours} bytes, the rows ${theirs}.`);
  printFigures("MB/s", samples, [
    { name: "replay.ratio", of: "replay.tailgate", to: "replay.sqlite_rows", target: ">= 5" },
  ]);
}

/** Returns the size of all envelopes in bytes. */
async function replay(journal: SqliteJournal): Promise<number> {
  let bytes = 0;
  for (let from = 1; from <= journal.newest;) {
    const page = await journal.read({ from });
    const { records } = page;
    for (let index = 0; index < (records?.length ?? 0); index++) bytes += records!.size(index);
    from = page.to + 1;
  }
  return bytes;
}
