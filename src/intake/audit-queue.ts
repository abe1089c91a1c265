import type { RecordBatch } from "../batch/record-batch.ts";
import { TailgateError } from "../wire/errors.ts";

/** How long an audit event waits for room before it is given up (reliability.md, rule 14). */
const PATIENCE_MS = 2_000;

/** What may wait, in bytes of memory; what comes beyond it is given up at once. */
const WAITING_BYTES_MAX = 16 << 20;

interface Waiting {
  readonly batch: RecordBatch;
  readonly safe: PromiseWithResolvers<void>;
  readonly timer: NodeJS.Timeout;
}

/** Audit events for which there is no room in front of the journal, in their order. */
export class AuditQueue {
  #waiting: Waiting[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Resolves when the batch is safe; rejects with OVERLOADED when it has waited too long, and as the journal does. */
  add(batch: RecordBatch): Promise<void> {
    if (this.#bytes + batch.memoryBytes > WAITING_BYTES_MAX) return Promise.reject(overloaded());
    const safe = Promise.withResolvers<void>();
    const timer = setTimeout(() => this.#giveUp(batch), PATIENCE_MS);
    this.#waiting.push({ batch, safe, timer });
    this.#bytes += batch.memoryBytes;
    return safe.promise;
  }

  #giveUp(batch: RecordBatch): void {
    const index = this.#waiting.findIndex((waiting) => waiting.batch === batch);
    const [waiting] = this.#waiting.splice(index, 1);
    this.#bytes -= batch.memoryBytes;
    waiting!.safe.reject(overloaded());
  }

  /** Hands batches on, the oldest first, as long as there is room. */
  release(hasRoom: () => boolean, append: (batch: RecordBatch) => Promise<void>): void {
    while (this.#waiting.length > 0 && hasRoom()) {
      const { batch, safe, timer } = this.#waiting.shift()!;
      clearTimeout(timer);
      this.#bytes -= batch.memoryBytes;
      append(batch).then(safe.resolve, safe.reject);
    }
  }
}

function overloaded(): TailgateError {
  return new TailgateError("OVERLOADED", "Too much waits for the journal.");
}
