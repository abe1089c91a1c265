/** Damage to any part of history.db: what is returned is right, and what is missing is in a gap. */

import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeBlocks } from "../../src/batch/block.ts";
import { DamagedChunkError } from "../../src/blocks/block-view.ts";
import { compileFilter } from "../../src/filter/filter.ts";
import { BlockSearcher } from "../../src/history/block-searcher.ts";
import { openForReading, openHistory } from "../../src/history/database.ts";
import { historyPath } from "../../src/history/files.ts";
import type { HistorySearch } from "../../src/history/history.ts";
import type { Gap } from "../../src/plugin/index.ts";
import { parseQuery } from "../../src/wire/query/parse.ts";
import { realisticRecords, storeRecords, type StoredRecord } from "./history-file.ts";

/** More of them find more: `DAMAGE_RUNS=2000`. */
const RUNS = Number(process.env["DAMAGE_RUNS"] ?? 12);
const RECORDS = 400;
const QUERIES = ["", "retry", "-retry", "level:WARNING", "role:*"];

let directory: string;
let sound: string;
let records: StoredRecord[];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "tailgate-damage-"));
  const { database } = openHistory(directory);
  records = realisticRecords(RECORDS);
  storeRecords(database, records, 130);
  database.close();
  sound = join(directory, "sound.db");
  copyFileSync(historyPath(directory), sound);
});

afterAll(() => rmSync(directory, { recursive: true }));

function searchOf(q: string): HistorySearch {
  return {
    ...{ from: 1, to: RECORDS, order: "asc", type: undefined, filters: [parseQuery(q)] },
    ...{ sinceMicros: undefined, untilMicros: undefined },
  };
}

/** Searches the file as it is now; checks what is found against the records. Returns the gaps. */
function expectTruth(q: string): Gap[] {
  const db = openForReading(directory);
  try {
    const search = searchOf(q);
    const searcher = new BlockSearcher(db);
    const { blocks, gaps: known } = searcher.plan(search);
    const result = searcher.find({
      kind: "find",
      search,
      range: search,
      blocks,
      limit: RECORDS + 1,
    });
    if (result === undefined) throw new DamagedChunkError("a block that is listed is missing");
    const gaps = [...known, ...result.gaps];
    const found = new Set<number>();
    const filter = compileFilter(parseQuery(q));
    for (const block of result.blocks) {
      const batch = decodeBlocks([block]);
      for (let index = 0; index < batch.length; index++) {
        const { batch: own, index: at } = records[batch.sequence(index) - 1]!;
        expect(Buffer.compare(batch.bytes(index), own.bytes(at))).toBe(0);
        expect(filter.matches(own, at)).toBe(true);
        found.add(batch.sequence(index));
      }
    }
    const missing = records.filter(
      ({ sequence, batch, index, type }) =>
        filter.matches(batch, index) &&
        !found.has(sequence) &&
        !gaps.some(
          (gap) => gap.from <= sequence && sequence <= gap.to && (gap.type ?? type) === type,
        ),
    );
    expect([q, missing.map(({ sequence }) => sequence)]).toEqual([q, []]);
    return gaps;
  } finally {
    db.close();
  }
}

function restore(): void {
  for (const suffix of ["-wal", "-shm"]) rmSync(historyPath(directory) + suffix, { force: true });
  copyFileSync(sound, historyPath(directory));
}

/** Changes rows as a disk would: their checksums stay. */
function edit(sql: string): void {
  const db = new DatabaseSync(historyPath(directory));
  db.exec(sql);
  db.close();
}

function rowsOf(sql: string): number[] {
  using db = new DatabaseSync(sound, { readOnly: true });
  return db
    .prepare(sql)
    .all()
    .map((row) => Object.values(row)[0] as number);
}

const FLIPPED = (column: string): string =>
  `CAST(substr(${column}, 1, length(${column}) / 2) || X'5A' || substr(${column}, length(${column}) / 2 + 2) AS BLOB)`;
const CHANGES = [FLIPPED, (column: string) => `substr(${column}, 1, length(${column}) - 1)`];

describe("a search finds the right records, and reports all others as gaps, if it is damaged:", () => {
  test("each chunk", () => {
    for (const id of rowsOf("SELECT id FROM chunk WHERE id < 512")) {
      for (const change of CHANGES) {
        restore();
        edit(`UPDATE chunk SET bytes = ${change("bytes")} WHERE id = ${id}`);
        const [first] = rowsOf(`SELECT first FROM block WHERE id = ${id >> 8}`);
        const [last] = rowsOf(`SELECT last FROM block WHERE id = ${id >> 8}`);
        const gaps = QUERIES.flatMap(expectTruth);
        // Exact: of this block only.
        expect(gaps.filter((gap) => gap.from < first! || gap.to > last!)).toEqual([]);
      }
    }
  });

  test("the directory, the row and the filter", () => {
    const columns = ["records", "time_min", "appended_max", "levels", "rules", "stored", "crc"];
    const ids = rowsOf("SELECT id FROM block");
    const last = ids.at(-1)!;
    for (const change of CHANGES) {
      restore();
      edit(`UPDATE block SET directory = ${change("directory")} WHERE id = ${last}`);
      expect(QUERIES.flatMap(expectTruth).length).toBeGreaterThan(0);
      restore();
      edit(`UPDATE filter SET bytes = ${change("bytes")}`);
      expect(QUERIES.flatMap(expectTruth)).toEqual([]);
    }
    for (const column of columns) {
      restore();
      edit(`UPDATE block SET ${column} = 1 WHERE id = ${last}`);
      QUERIES.flatMap(expectTruth);
    }
    restore();
    edit(`DELETE FROM chunk WHERE id >= ${256 * last}`);
    expect(expectTruth("").length).toBeGreaterThan(0);
  });

  test("any byte of the file", () => {
    const bytes = readFileSync(sound);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        restore();
        const damaged = Buffer.from(bytes);
        damaged[at]! ^= mask;
        writeFileSync(historyPath(directory), damaged);
        try {
          QUERIES.flatMap(expectTruth);
        } catch (error) {
          // SQLite or a checksum of the state has found it: then the search fails as a whole.
          const isFound = error instanceof DamagedChunkError || "errcode" in (error as object);
          if (!isFound) throw error;
        }
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
  });
});
