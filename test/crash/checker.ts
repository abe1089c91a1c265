import { keyOf, sha256Of, type Ledger } from "./ledger.ts";

/** A record as the gateway gives it back. */
export interface StoredRecord {
  readonly sequence: number;
  readonly isAudit: boolean;
  readonly producer: string;
  readonly seq: number;
  readonly body: string;
  readonly sha256: string;
}

/** A range of the gateway's sequences that it says it has no records of. */
export interface StoredGap {
  readonly from: number;
  readonly to: number;
}

/** All that a gateway has stored, in its order. */
export interface Stored {
  readonly records: readonly StoredRecord[];
  readonly gaps: readonly StoredGap[];
  /** Those that come from no producer: the gateway's own, and what a test has sent beside them. */
  readonly others: readonly { readonly sequence: number; readonly body: string }[];
  /** The first and the last sequence that are to be explained. */
  readonly from: number;
  readonly to: number;
}

/** What is wrong with it, a line a flaw; nothing where every acknowledged record is there once, as it was sent, in order. */
export function flawsOf(ledger: Ledger, stored: Stored): string[] {
  return [
    ...missing(ledger, stored),
    ...strange(ledger, stored),
    ...unordered(stored),
    ...holes(stored),
  ];
}

function missing({ acknowledged }: Ledger, { records }: Stored): string[] {
  const found = new Set(records.map(keyOf));
  return [...acknowledged]
    .filter((key) => !found.has(key))
    .map((key) => `${key} was acknowledged and is missing`);
}

function strange(ledger: Ledger, { records }: Stored): string[] {
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

/** A producer sends one request after the other. */
function unordered({ records }: Stored): string[] {
  const last = new Map<string, number>();
  return records.flatMap((record) => {
    const before = last.get(record.producer) ?? 0;
    last.set(record.producer, Math.max(before, record.seq));
    return record.seq < before ? [`${keyOf(record)} comes after ${record.producer}/${before}`] : [];
  });
}

function holes({ records, gaps, others, from, to }: Stored): string[] {
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
