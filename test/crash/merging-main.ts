/** Appends records and merges them all the time, until it is killed. Prints the newest durable sequence after each. */

import { writeSync } from "node:fs";
import { SqliteJournal } from "../../src/journal/sqlite.ts";
import { batch } from "../journal/journal-directory.ts";

const KEPT = { bytes: 2 ** 40, ms: 1e12 };

const [directory] = process.argv.slice(2) as [string];
const retention = { system_log: KEPT, audit_log: KEPT };
const journal = await SqliteJournal.open({ directory, retention, alarm: console.error });

async function append(): Promise<never> {
  for (;;) {
    const next = journal.newest + 1;
    const bodies = Array.from({ length: 40 }, (_, index) =>
      index % 8 === 0 ? `audit ${next + index}` : `record ${next + index}`,
    );
    await journal.append(batch(...bodies));
    writeSync(1, `${journal.durable}\n`);
  }
}

async function merge(): Promise<never> {
  for (;;) {
    await journal.merge();
    // For the parent process, which waits until there is something to be interrupted.
    if (journal.mergedUpTo > 0) writeSync(1, "merged\n");
  }
}

await Promise.all([append(), merge()]);
