import { z, textOf, type Host } from "tailgate/plugin";
import type { InstanceBook } from "./instance-book.ts";

/** What a crash makes come again is what was told in about this time. */
const KEEP_MS = 1000;

/** A large book is kept less often, so that keeping it stays a small part of the work. */
const KEPT_CHARS_PER_MS = 64;

const keptSchema = z.object({ version: z.literal(1), sequence: z.number(), book: z.unknown() });

/** Keeps the book in the journal, so that open instances outlive the process. */
export class BookKeeper {
  readonly #host: Host;
  #keepAtMs = -Infinity;
  #isKeeping = false;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Fills the book; answers the sequence up to which all is in it, undefined where nothing was kept. */
  restore(book: InstanceBook): number | undefined {
    const text = this.#host.memory.recall();
    if (text === undefined) return undefined;
    try {
      const kept = keptSchema.parse(JSON.parse(text));
      book.restore(kept.book);
      return kept.sequence;
    } catch (error) {
      const said = "What was kept of open instances cannot be read; they begin anew";
      this.#host.log.warning(`${said}: ${textOf(error)}`);
      return undefined;
    }
  }

  /** Everything up to `sequence` is in the book, and its spans are sent. Nobody waits for what follows of it. */
  settled(book: InstanceBook, sequence: number): void {
    if (this.#isKeeping || performance.now() < this.#keepAtMs) return;
    const text = book.toText();
    this.#isKeeping = true;
    // What was kept before is as true as this; a journal that cannot store says so itself.
    this.keep(text, sequence)
      .catch(() => {})
      .finally(() => (this.#isKeeping = false));
    const pauseMs = Math.max(KEEP_MS, text.length / KEPT_CHARS_PER_MS);
    this.#keepAtMs = performance.now() + pauseMs;
  }

  /** `text`: the book as JSON. */
  async keep(text: string, sequence: number): Promise<void> {
    await this.#host.memory.keep(`{"version":1,"sequence":${sequence},"book":${text}}`);
  }
}
