/** The tables of history.db. */

import { crc32 } from "node:zlib";
import type { EnvelopeType } from "../plugin/index.ts";

/** Changes when an older Tailgate could not read what this one writes. */
export const HISTORY_FORMAT = 1;

/** The number of chunks that a block can have: a chunk's id is `256 * block + index`. */
export const CHUNKS_MAX = 256;

/** The types by their numbers in the tables. */
export const TYPES = ["system_log", "audit_log"] as const satisfies readonly EnvelopeType[];

/**
 * `directory`, `bytes` of chunks and of filters are as encoded (src/blocks), each with its CRC-32, which also covers where
 * it is ({@link checksum}); that of a block covers its other columns, too. `levels`: a JSON list of counts by rank. `stored`:
 * the size of all that is stored of the block. Blocks of a type do not overlap. `state` has the values `merged` (the sequence
 * up to which everything is merged) and `floor.<type>` (what is below has expired). `gap`: records that could not be read
 * when they were merged, or that were in a damaged history.db.
 */
export const HISTORY_SCHEMA = `
  CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE rules (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
  CREATE TABLE block (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    type INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    records INTEGER NOT NULL,
    time_min INTEGER NOT NULL,
    time_max INTEGER NOT NULL,
    appended_min INTEGER NOT NULL,
    appended_max INTEGER NOT NULL,
    levels TEXT NOT NULL,
    rules INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    directory BLOB NOT NULL);
  CREATE INDEX block_type ON block (type, last, first, time_min, time_max);
  CREATE TABLE gap (
    type INTEGER NOT NULL,
    last INTEGER NOT NULL,
    first INTEGER NOT NULL,
    PRIMARY KEY (type, last)) WITHOUT ROWID;
  CREATE TABLE chunk (id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, bytes BLOB NOT NULL);
  CREATE TABLE filter (
    part INTEGER NOT NULL,
    block INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (part, block)) WITHOUT ROWID;`;

/** Returns the checksum of a row: of its bytes, and of what tells which row it is. */
export function checksum(table: string, key: readonly unknown[], bytes?: Uint8Array): number {
  const start = crc32(`${table} ${key.join(" ")}`);
  return bytes === undefined ? start : crc32(bytes, start);
}
