import type { RecordBatch } from "../batch/record-batch.ts";
import { TailgateError } from "../wire/errors.ts";

/** How long an audit event waits for capacity before it is rejected (reliability.md, rule 14). */
const WAIT_MS_MAX = 2_000;

/** The queue's capacity in bytes of memory. */
const QUEUE_BYTES_MAX = 16 << 20;

interface QueuedBatch {
  readonly batch: RecordBatch;
  readonly stored: PromiseWithResolvers<void>;
  readonly timer: NodeJS.Timeout;
}

/** Audit events that wait, in order, for capacity in front of the journal. */
export class AuditQueue {
  #queued: QueuedBatch[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#queued.length === 0;
  }

  /**
   * Resolves when the batch is stored. Rejects with OVERLOADED if the queue is full or the batch has waited too long,
   * else with the journal's error.
   */
  add(batch: RecordBatch): Promise<void> {
    if (this.#bytes + batch.memoryBytes > QUEUE_BYTES_MAX) return Promise.reject(overloaded());
    const stored = Promise.withResolvers<void>();
    const timer = setTimeout(() => this.#expire(batch), WAIT_MS_MAX);
    this.#queued.push({ batch, stored, timer });
    this.#bytes += batch.memoryBytes;
    return stored.promise;
  }

  #expire(batch: RecordBatch): void {
    const index = this.#queued.findIndex((queued) => queued.batch === batch);
    const [expired] = this.#queued.splice(index, 1);
    this.#bytes -= batch.memoryBytes;
    expired!.stored.reject(overloaded());
  }

  /** Appends batches, the oldest first, as long as there is capacity. */
  release(hasCapacity: () => boolean, append: (batch: RecordBatch) => Promise<void>): void {
    while (this.#queued.length > 0 && hasCapacity()) {
      const { batch, stored, timer } = this.#queued.shift()!;
      clearTimeout(timer);
      this.#bytes -= batch.memoryBytes;
      append(batch).then(stored.resolve, stored.reject);
    }
  }
}

/** Returns the error for a record for which there is no capacity. */
export function overloaded(): TailgateError {
  return new TailgateError("OVERLOADED", "Too much waits for the journal.");
}
