import type { RecordBatch } from "../encode/record-batch.ts";
import type { HostJournal } from "../plugin.ts";

/** Gives every record its sequence and keeps it. Engines: memory. */
export interface Journal extends HostJournal {
  /**
   * Takes a batch. When it returns, the batch has its sequences and can be read; when its promise resolves, the
   * batch is as safe as the engine makes it.
   */
  append(batch: RecordBatch): Promise<void>;
  /** About how much memory the journal holds. */
  readonly memoryBytes: number;
}
