import type { Batch, HostClock, HostJournal, JournalPage, JournalQuery } from "tailgate/plugin";

/**
 * The journal for many readers: one page is read at a time, whoever asks first. The disk has commits to do in between,
 * and those do not wait for all the viewers that read the past at the same moment.
 */
export class OrderlyJournal implements HostJournal {
  readonly #journal: HostJournal;
  /** Settled when the last page that was asked for has been read. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(journal: HostJournal) {
    this.#journal = journal;
  }

  get epoch(): string {
    return this.#journal.epoch;
  }

  get newest(): number {
    return this.#journal.newest;
  }

  get durable(): number {
    return this.#journal.durable;
  }

  get oldest(): number {
    return this.#journal.oldest;
  }

  get clock(): HostClock {
    return this.#journal.clock;
  }

  readFrom(sequence: number): Batch | undefined {
    return this.#journal.readFrom(sequence);
  }

  read(query: JournalQuery): Promise<JournalPage> {
    const page = this.#last.then(() => this.#journal.read(query));
    this.#last = page.catch(() => {});
    return page;
  }

  sharedUpTo(epoch: string, sequence: number): number | undefined {
    return this.#journal.sharedUpTo(epoch, sequence);
  }

  uidOf(sequence: number): string {
    return this.#journal.uidOf(sequence);
  }
}
