import { existsSync, renameSync } from "node:fs";
import type { DatabaseSync, SQLOutputValue } from "node:sqlite";
import { NO_EVENTS } from "./audit-files.ts";
import { KEYED_EVENTS_MAX, type StoredEvent, type ChainState, type EpochStart } from "./journal.ts";
import {
  CHECKED_COLUMNS,
  hasChecksums,
  isDamagedRow,
  LANES,
  openFile,
  type CheckedTable,
} from "./schema.ts";

/** What a journal that was put aside still tells. */
export interface Salvaged {
  /** Where it is now. */
  readonly aside: string;
  readonly newest: number;
  readonly chain: ChainState;
  readonly epochs: readonly EpochStart[];
  readonly cursors: readonly (readonly [string, number])[];
  readonly memories: readonly (readonly [string, string])[];
  readonly events: readonly StoredEvent[];
}

/** Puts a journal's files aside under a name of their own, and reads of them what can be read; nothing is deleted. */
export function salvage(path: string): Salvaged {
  const aside = putAside(path);
  const found: Salvaged = {
    aside,
    newest: 0,
    chain: NO_EVENTS,
    epochs: [],
    cursors: [],
    memories: [],
    events: [],
  };
  const db = attempt(() => openFile(aside, { readOnly: true }), undefined);
  if (db === undefined) return found;
  const chain = attempt(() => chainOf(db), found.chain);
  const epochs = attempt(() => epochsOf(db), []);
  const cursors = attempt(() => cursorsOf(db), []);
  const memories = attempt(() => memoriesOf(db), []);
  const events = attempt(() => eventsOf(db), []);
  const lasts = [...LANES, "holes"].map((table) => attempt(() => lastOf(db, table), 0));
  attempt(() => db.close(), undefined);
  const newest = Math.max(chain.seq, ...lasts);
  return { aside, newest, chain, epochs, cursors, memories, events };
}

function putAside(path: string): string {
  const aside = asideName(path);
  for (const suffix of ["-wal", ""]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  return aside;
}

/** The name under which a damaged file is kept. */
export function asideName(path: string): string {
  return `${path}.damaged-${new Date().toISOString().replaceAll(/[-:.]/g, "")}`;
}

function attempt<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch {
    return otherwise;
  }
}

export function epochsOf(db: DatabaseSync): EpochStart[] {
  const rows = soundRows(db, "epochs", "ORDER BY rowid");
  return rows.map(({ first, epoch }) => ({ first: first as number, epoch: epoch as string }));
}

export function chainOf(db: DatabaseSync): ChainState {
  const [row] = soundRows(db, "chain");
  if (row === undefined) return NO_EVENTS;
  const { count, seq, head } = row as unknown as ChainState;
  return { count, seq, head };
}

export function cursorsOf(db: DatabaseSync): [string, number][] {
  const rows = soundRows(db, "cursors");
  return rows.map(({ consumer, sequence }) => [consumer as string, sequence as number]);
}

/** What plugins have kept. */
export function memoriesOf(db: DatabaseSync): [string, string][] {
  const rows = soundRows(db, "memories");
  return rows.map(({ owner, text }) => [owner as string, text as string]);
}

/** Those that are remembered, the oldest first. They are many: they can be checked beforehand. */
export function eventsOf(db: DatabaseSync, { areChecked = false } = {}): StoredEvent[] {
  const order = `ORDER BY seq DESC LIMIT ${KEYED_EVENTS_MAX}`;
  const newest = areChecked
    ? db.prepare(`SELECT * FROM events ${order}`).all()
    : soundRows(db, "events", order);
  return newest
    .toReversed()
    .map(({ seq, key, digest, hash }) => ({ seq, key, digest, hash }) as StoredEvent);
}

/** The rows that are as they were written. */
export function soundRows(
  db: DatabaseSync,
  table: CheckedTable,
  order = "",
): Record<string, SQLOutputValue>[] {
  const condition = hasChecksums(db, table) ? `WHERE NOT (${isDamagedRow(table)})` : "";
  return db.prepare(`SELECT * FROM ${table} ${condition} ${order}`).all();
}

/** The rows that are not as they were written. */
export function damagedRows(
  db: DatabaseSync,
  table: CheckedTable,
): Record<string, SQLOutputValue>[] {
  return db.prepare(`SELECT * FROM ${table} WHERE ${isDamagedRow(table)}`).all();
}

/** Deletes the rows of the small tables that are not as they were written; answers which tables had some. */
export function removeDamagedRows(db: DatabaseSync): CheckedTable[] {
  const tables = Object.keys(CHECKED_COLUMNS) as CheckedTable[];
  return tables.filter((table) => {
    if (damagedRows(db, table).length === 0) return false;
    // Without any span a search looks at each commit; with some of them it would pass over some.
    const rows = table.endsWith("_spans") ? "" : `WHERE ${isDamagedRow(table)}`;
    db.exec(`DELETE FROM ${table} ${rows}`);
    return true;
  });
}

function lastOf(db: DatabaseSync, table: string): number {
  const row = db.prepare(`SELECT max(last) AS last FROM ${table}`).get();
  return (row?.["last"] as number | null) ?? 0;
}
