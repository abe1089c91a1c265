import { keyOf, sha256Of, type Ledger } from "./ledger.ts";

/** A record as the gateway returns it. */
export interface StoredRecord {
  readonly sequence: number;
  readonly isAudit: boolean;
  readonly producer: string;
  readonly seq: number;
  readonly body: string;
  readonly sha256: string;
}

/** A range of sequences that the gateway reports as missing. */
export interface StoredGap {
  readonly from: number;
  readonly to: number;
}

/** Everything a gateway has stored, in its order. */
export interface Stored {
  readonly records: readonly StoredRecord[];
  readonly gaps: readonly StoredGap[];
  /** Records of no producer: the gateway's own, and those that a test sent directly. */
  readonly others: readonly { readonly sequence: number; readonly body: string }[];
  /** The first and the last sequence to account for. */
  readonly from: number;
  readonly to: number;
}

/**
 * Returns one line per flaw; nothing if every acknowledged record is stored once, as it was sent,
 * in order.
 */
export function flawsOf(ledger: Ledger, stored: Stored): string[] {
  return [
    ...missing(ledger, stored),
    ...unexpected(ledger, stored),
    ...unordered(stored),
    ...unreportedGaps(stored),
  ];
}

function missing({ acknowledged }: Ledger, { records }: Stored): string[] {
  const found = new Set(records.map(keyOf));
  return [...acknowledged]
    .filter((key) => !found.has(key))
    .map((key) => `${key} was acknowledged and is missing`);
}

function unexpected(ledger: Ledger, { records }: Stored): string[] {
  const seen = new Set<string>();
  return records.flatMap((record) => {
    const key = keyOf(record);
    const sent = ledger.sent(key);
    if (sent === undefined) return [`${key} was never sent`];
    if (seen.has(key)) return [`${key} is stored twice`];
    seen.add(key);
    const isSame =
      record.sha256 === sent.sha256 &&
      sha256Of(record.body) === sent.sha256 &&
      record.isAudit === sent.isAudit;
    return isSame ? [] : [`${key} is another record than the one that was sent`];
  });
}

/** A producer sends one request at a time. */
function unordered({ records }: Stored): string[] {
  const last = new Map<string, number>();
  return records.flatMap((record) => {
    const before = last.get(record.producer) ?? 0;
    last.set(record.producer, Math.max(before, record.seq));
    return record.seq < before ? [`${keyOf(record)} comes after ${record.producer}/${before}`] : [];
  });
}

function unreportedGaps({ records, gaps, others, from, to }: Stored): string[] {
  const known = [
    ...[...records, ...others].map(({ sequence }) => ({ from: sequence, to: sequence })),
    ...gaps,
  ].sort((one, other) => one.from - other.from);
  const flaws: string[] = [];
  let next = from;
  for (const range of known) {
    if (range.from > next) flaws.push(`the sequences ${next} to ${range.from - 1} are not told of`);
    next = Math.max(next, range.to + 1);
  }
  if (next <= to) flaws.push(`the sequences ${next} to ${to} are not told of`);
  return flaws;
}
