import { LEVELS, type EnvelopeType, type Level } from "../wire/envelope.ts";
import type { Batch } from "../plugin/index.ts";
import { JoinedBatch } from "../batch/composite.ts";
import { isSameDay } from "./source.ts";

type BytesByType = Record<EnvelopeType, number>;

interface Entry {
  readonly batch: Batch;
  readonly bytes: BytesByType;
}

/** Where a share is exceeded it is emptied to this part, so that the next batches find room without another search. */
const KEPT_PART = 7 / 8;

/**
 * What waits for one exporter, bounded in bytes for each type of record. Where system logs exceed their share, the
 * least severe ones go first; audit events have a share of their own that system logs cannot take.
 */
export class DeliveryQueue {
  readonly #bytesMax: number;
  #entries: Entry[] = [];
  readonly #bytes: BytesByType = { system_log: 0, audit_log: 0 };
  #records = 0;
  #isHeadTaken = false;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return sumOf(this.#bytes);
  }

  get records(): number {
    return this.#records;
  }

  /**
   * What is to be written next: the oldest batches of one UTC day as one, up to `bytesMax`, and the oldest in any
   * case. It stays the same until `shift` or `partHead`.
   */
  head(bytesMax: number): Batch | undefined {
    if (!this.#isHeadTaken) this.#joinHead(bytesMax);
    this.#isHeadTaken = true;
    return this.#entries[0]?.batch;
  }

  #joinHead(bytesMax: number): void {
    const [first, ...others] = this.#entries;
    if (first === undefined) return;
    let room = bytesMax - sumOf(first.bytes);
    let count = 1;
    for (const entry of others) {
      room -= sumOf(entry.bytes);
      if (room < 0 || !isSameDay(entry.batch, first.batch)) break;
      count++;
    }
    if (count > 1) this.#entries.splice(0, count, joined(this.#entries.slice(0, count)));
  }

  /** Parts the head into the batches that it was joined from; answers how many. */
  partHead(): number {
    const head = this.#entries[0]?.batch;
    if (!(head instanceof JoinedBatch)) return 1;
    this.#isHeadTaken = false;
    this.#entries = [...head.parts.map(entryOf), ...this.#entries.slice(1)];
    return head.parts.length;
  }

  push(batch: Batch): void {
    const entry = entryOf(batch);
    this.#entries.push(entry);
    this.#add(entry.bytes, batch.length);
  }

  shift(): void {
    this.#isHeadTaken = false;
    const entry = this.#entries.shift();
    if (entry) this.#add(negative(entry.bytes), -entry.batch.length);
  }

  /** Drops what exceeds the bounds, never of the head, which is being written; answers how many records of each type. */
  shed(): Record<EnvelopeType, number> {
    const shed = { system_log: 0, audit_log: 0 };
    if (this.#bytes.system_log > this.#bytesMax) {
      for (const level of LEVELS) shed.system_log += this.#drop("system_log", [level]);
    }
    if (this.#bytes.audit_log > this.#bytesMax) shed.audit_log = this.#drop("audit_log", LEVELS);
    return shed;
  }

  /** Empties the queue; answers how many records it held. */
  clear(): number {
    const records = this.#records;
    this.#entries = [];
    this.#add(negative(this.#bytes), -records);
    return records;
  }

  #add(bytes: BytesByType, records: number): void {
    this.#bytes.system_log += bytes.system_log;
    this.#bytes.audit_log += bytes.audit_log;
    this.#records += records;
  }

  /** Drops the oldest records of that type and those levels, until its share is kept. */
  #drop(type: EnvelopeType, levels: readonly Level[]): number {
    let excess = this.#bytes[type] - KEPT_PART * this.#bytesMax;
    if (excess <= 0) return 0;
    const before = this.#records;
    const [head, ...waiting] = this.#entries;
    this.clear();
    if (head) this.push(head.batch);
    for (const { batch } of waiting) {
      const kept = batch.select((index) => {
        const isDropped =
          excess > 0 && batch.type(index) === type && levels.includes(batch.level(index));
        if (isDropped) excess -= batch.size(index);
        return !isDropped;
      });
      if (kept.length > 0) this.push(kept);
    }
    return before - this.#records;
  }
}

function entryOf(batch: Batch): Entry {
  return { batch, bytes: bytesByType(batch) };
}

function joined(entries: readonly Entry[]): Entry {
  const bytes = { system_log: 0, audit_log: 0 };
  for (const entry of entries) {
    bytes.system_log += entry.bytes.system_log;
    bytes.audit_log += entry.bytes.audit_log;
  }
  return { batch: new JoinedBatch(entries.map(({ batch }) => batch)), bytes };
}

function sumOf(bytes: BytesByType): number {
  return bytes.system_log + bytes.audit_log;
}

function bytesByType(batch: Batch): BytesByType {
  const bytes = { system_log: 0, audit_log: 0 };
  for (let index = 0; index < batch.length; index++) {
    bytes[batch.type(index)] += batch.size(index);
  }
  return bytes;
}

function negative({ system_log: system, audit_log: audit }: BytesByType): BytesByType {
  return { system_log: -system, audit_log: -audit };
}
