import { existsSync, renameSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { NO_HASH } from "../encode/audit-line.ts";
import { KEYED_EVENTS_MAX, type StoredEvent } from "./journal.ts";
import type { ChainState, EpochStart } from "./messages.ts";
import { LANES } from "./schema.ts";

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
    chain: { count: 0, seq: 0, head: NO_HASH },
    epochs: [],
    cursors: [],
    memories: [],
    events: [],
  };
  const db = attempt(() => new DatabaseSync(aside, { readOnly: true }), undefined);
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
  const stamp = new Date().toISOString().replaceAll(/[-:.]/g, "");
  const aside = `${path}.damaged-${stamp}`;
  for (const suffix of ["-wal", ""]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  return aside;
}

function attempt<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch {
    return otherwise;
  }
}

export function epochsOf(db: DatabaseSync): EpochStart[] {
  const rows = db.prepare("SELECT first, epoch FROM epochs ORDER BY rowid").all();
  return rows.map(({ first, epoch }) => ({ first: first as number, epoch: epoch as string }));
}

export function chainOf(db: DatabaseSync): ChainState {
  const row = db.prepare("SELECT count, seq, head FROM chain").get();
  if (row === undefined) return { count: 0, seq: 0, head: NO_HASH };
  const { count, seq, head } = row as unknown as ChainState;
  return { count, seq, head };
}

export function cursorsOf(db: DatabaseSync): [string, number][] {
  const rows = db.prepare("SELECT consumer, sequence FROM cursors").all();
  return rows.map(({ consumer, sequence }) => [consumer as string, sequence as number]);
}

/** What plugins have kept. */
export function memoriesOf(db: DatabaseSync): [string, string][] {
  const rows = db.prepare("SELECT owner, text FROM memories").all();
  return rows.map(({ owner, text }) => [owner as string, text as string]);
}

/** Those that are remembered, the oldest first. */
export function eventsOf(db: DatabaseSync): StoredEvent[] {
  const newest = "SELECT seq, key, digest, hash FROM events ORDER BY seq DESC LIMIT ?";
  return db.prepare(newest).all(KEYED_EVENTS_MAX).toReversed() as unknown as StoredEvent[];
}

function lastOf(db: DatabaseSync, table: string): number {
  const row = db.prepare(`SELECT max(last) AS last FROM ${table}`).get();
  return (row?.["last"] as number | null) ?? 0;
}
