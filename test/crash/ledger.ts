import { createHash } from "node:crypto";

/** A record as its producer knows it. */
export interface SentRecord {
  readonly producer: string;
  /** Increases by one with each record of the producer. */
  readonly seq: number;
  readonly isAudit: boolean;
  readonly body: string;
  readonly sha256: string;
}

/** Tracks what was sent, noted before sending, and what was acknowledged, noted afterwards. */
export class Ledger {
  readonly #sent = new Map<string, SentRecord>();
  readonly #acknowledged = new Set<string>();

  /** Notes a new record. */
  send(producer: string, seq: number, isAudit: boolean, filler: string): SentRecord {
    const body = `${producer} ${seq} ${filler}`;
    const record = { producer, seq, isAudit, body, sha256: sha256Of(body) };
    this.#sent.set(keyOf(record), record);
    return record;
  }

  acknowledge(records: readonly SentRecord[]): void {
    for (const record of records) this.#acknowledged.add(keyOf(record));
  }

  sent(key: string): SentRecord | undefined {
    return this.#sent.get(key);
  }

  get acknowledged(): ReadonlySet<string> {
    return this.#acknowledged;
  }
}

export function keyOf({ producer, seq }: Pick<SentRecord, "producer" | "seq">): string {
  return `${producer}/${seq}`;
}

export function sha256Of(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
