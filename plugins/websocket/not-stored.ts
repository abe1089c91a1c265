/** Live records are sent before they are durable. These find out which of them could not be stored. */

import type { Gap, GapMessage, HostJournal } from "tailgate/plugin";
import type { ReadPage } from "./history.ts";
import type { ResumePosition } from "./subscription.ts";

/** Watches the journal and reports records that it failed to store: they are neither in memory nor on the disk. */
export class NotStoredWatch {
  readonly #journal: HostJournal;
  readonly #readPage: ReadPage;
  /** The sequence up to which records have been checked. */
  #checked: number;
  #isChecking = false;

  constructor(journal: HostJournal, readPage: ReadPage) {
    this.#journal = journal;
    this.#readPage = readPage;
    this.#checked = journal.durable;
  }

  /** Skips what was committed so far, because there is no client to report it to. */
  skip(): void {
    this.#checked = this.#journal.durable;
  }

  /** Reports what was not stored since the last check. After an error, the next check starts at the same record. */
  async check(report: (gap: Gap) => void): Promise<void> {
    if (this.#isChecking) return;
    this.#isChecking = true;
    try {
      while (this.#checked < this.#journal.durable) {
        if (this.#passMemory()) continue;
        const page = await this.#readPage({ from: this.#checked + 1 });
        if (page.to < page.from) return;
        for (const gap of page.gaps) if (gap.reason === "not_stored") report(gap);
        this.#checked = Math.max(this.#checked, page.to);
      }
    } finally {
      this.#isChecking = false;
    }
  }

  /** Passes records that are in memory, which means that they were stored. Returns false if there are none. */
  #passMemory(): boolean {
    const run = this.#journal.readFrom(this.#checked + 1);
    if (run === undefined) return false;
    this.#checked = Math.min(this.#journal.durable, run.sequence(run.length - 1));
    return true;
  }
}

/** How many records back a resuming client is told about records that were not stored. */
const UNCONFIRMED_RECORDS_MAX = 100_000;

/** Returns which records up to `last` a resuming client got before they were durable, and that were then not stored. */
export async function findNotStored(
  readPage: ReadPage,
  { durable, sequence }: ResumePosition,
  last: number,
): Promise<GapMessage[]> {
  const gaps: GapMessage[] = [];
  let next = Math.max(durable ?? sequence, last - UNCONFIRMED_RECORDS_MAX) + 1;
  while (next <= last) {
    const page = await readPage({ from: next });
    if (page.to < page.from) break;
    for (const { from, to, reason } of page.gaps) {
      if (reason === "not_stored" && from <= last) {
        gaps.push({ type: "gap", from, to: Math.min(to, last), reason });
      }
    }
    next = page.to + 1;
  }
  return gaps;
}
