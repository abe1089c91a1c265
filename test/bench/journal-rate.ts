import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { printFigures } from "./figure.ts";
import { batchMaker, BenchDirectory, openJournal, RowTable } from "./journal-directory.ts";
import { measured, wallMicros, type Scale } from "./rounds.ts";

/** An exporter's usual request. */
const BATCH_RECORDS = 512;
const SLICE_BATCHES = 24;

/** The journal's commit size under load (src/journal/sqlite.ts). */
const COMMIT_BYTES_MAX = 1 << 20;

/** Records made durable per second at the disk's maximum rate, in commits of the same size. */
export async function benchJournalRate({ rounds, share }: Scale): Promise<void> {
  await using directory = await BenchDirectory.make();
  const makeBatch = await batchMaker(BATCH_RECORDS);
  const journal = await openJournal(directory.path);
  const rows = new RowTable(directory.path);
  const batches = Math.ceil(SLICE_BATCHES * share);
  let ready: RecordBatch[] = [];
  const prepare = (): void => {
    ready = Array.from({ length: batches }, makeBatch);
  };
  const samples = await measured(
    [
      {
        name: "durable.tailgate",
        prepare,
        async run() {
          await Promise.all(ready.map((batch) => journal.append(batch)));
          return batches * BATCH_RECORDS;
        },
      },
      {
        name: "durable.sqlite_rows",
        prepare,
        run() {
          for (const commit of commitsOf(ready)) rows.commit(commit);
          return batches * BATCH_RECORDS;
        },
      },
    ],
    rounds,
    wallMicros,
  );
  await journal.close();
  rows.close();
  printFigures("records/s", samples, [
    {
      name: "durable.ratio",
      of: "durable.tailgate",
      to: "durable.sqlite_rows",
      target: undefined,
    },
  ]);
}

function commitsOf(batches: readonly RecordBatch[]): RecordBatch[][] {
  const size = Math.max(1, Math.floor(COMMIT_BYTES_MAX / batches[0]!.memoryBytes));
  const commits: RecordBatch[][] = [];
  for (let first = 0; first < batches.length; first += size) {
    commits.push(batches.slice(first, first + size));
  }
  return commits;
}
