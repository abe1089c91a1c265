import type { Gap, HostJournal } from "tailgate/plugin";

/**
 * Live records are sent before they are durable. This finds out which of them the disk has refused: what the journal
 * has decided about, and is neither in memory nor stored.
 */
export class HoleWatch {
  readonly #journal: HostJournal;
  /** Up to this sequence it is known. */
  #settled: number;
  #checking = false;

  constructor(journal: HostJournal) {
    this.#journal = journal;
    this.#settled = journal.durable;
  }

  /** Nobody needs to be told of what was decided so far. */
  skip(): void {
    this.#settled = this.#journal.durable;
  }

  /** Tells what was refused since the last time. What fails here is found again then. */
  async check(tell: (gap: Gap) => void): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    try {
      while (this.#settled < this.#journal.durable) {
        if (this.#passMemory()) continue;
        const page = await this.#journal.read({ from: this.#settled + 1 });
        if (page.to < page.from) return;
        for (const gap of page.gaps) if (gap.reason === "not_stored") tell(gap);
        this.#settled = Math.max(this.#settled, page.to);
      }
    } finally {
      this.#checking = false;
    }
  }

  /** Whether memory has the next record: then it was stored. */
  #passMemory(): boolean {
    const run = this.#journal.readFrom(this.#settled + 1);
    if (run === undefined) return false;
    this.#settled = Math.min(this.#journal.durable, run.sequence(run.length - 1));
    return true;
  }
}
