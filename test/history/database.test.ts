import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, expect, test } from "vitest";
import type { EncodedBlock } from "../../src/blocks/encoded-block.ts";
import { openForReading, openHistory, type HistoryDatabase } from "../../src/history/database.ts";
import { historyPath } from "../../src/history/files.ts";
import { HistoryRows } from "../../src/history/rows.ts";

const directories: string[] = [];
const open: HistoryDatabase[] = [];

afterEach(() => {
  for (const database of open.splice(0)) database.close();
  for (const path of directories.splice(0)) rmSync(path, { recursive: true });
});

function newDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "tailgate-history-"));
  directories.push(path);
  return path;
}

function opened(directory: string): HistoryDatabase {
  const { database } = openHistory(directory);
  open.push(database);
  return database;
}

function block(first: number, last: number, text = "some"): EncodedBlock {
  return {
    length: last - first + 1,
    firstSequence: first,
    lastSequence: last,
    timeMin: 1_000 * first,
    timeMax: 1_000 * last,
    appendedMin: 1_000 * first,
    appendedMax: 1_000 * last,
    levels: [0, last - first + 1],
    rules: '{"version":1}',
    directory: Buffer.from(`directory ${text}`),
    chunks: [Buffer.from(`chunk 0 ${text}`), Buffer.from(`chunk 1 ${text}`)],
    filter: Array.from({ length: 16 }, (_, part) => Buffer.from(`part ${part} ${text}`)),
  };
}

function store(database: HistoryDatabase, ...ranges: [first: number, last: number][]): number[] {
  return database.commit({
    blocks: ranges.map(([first, last]) => ({ type: "system_log", block: block(first, last) })),
    replaced: [],
    gaps: [],
    merged: ranges.at(-1)![1],
  });
}

test("a second connection reads what was stored", () => {
  const directory = newDirectory();
  const database = opened(directory);
  const [id, second] = store(database, [1, 10], [11, 30]);
  const reader = openForReading(directory);
  const rows = new HistoryRows(reader);
  expect(rows.merged).toBe(30);
  expect(
    [...rows.places("system_log", { from: 5, to: 12 }, "desc")].map((found) => found.id),
  ).toEqual([second, id]);
  expect(rows.nearest("audit_log", 1, "asc")).toBeUndefined();
  expect(rows.block(id!)).toMatchObject({ from: 1, to: 10, records: 10, rules: '{"version":1}' });
  expect(Buffer.from(rows.chunk(second!, 1)).toString()).toBe("chunk 1 some");
  expect(Buffer.from(rows.filterPart(15, id!)!).toString()).toBe("part 15 some");
  expect(statSync(historyPath(directory)).mode & 0o777).toBe(0o600);
  reader.close();
});

test("what was replaced or has expired is gone, also from the file", () => {
  const directory = newDirectory();
  const database = opened(directory);
  const secret = (first: number, last: number) => ({
    type: "system_log" as const,
    block: block(first, last, "hunter2".repeat(3_000)),
  });
  const commit = { replaced: [], gaps: [], merged: 20 };
  const [small, other] = database.commit({ ...commit, blocks: [secret(1, 5), secret(6, 20)] });
  const merged = { type: "system_log" as const, block: block(1, 5) };
  const [id] = database.commit({ ...commit, blocks: [merged], replaced: [small!] });
  expect(() => database.rows.block(small!)).toThrow(/missing/);
  expect(database.rows.block(id!).from).toBe(1);
  database.expire("system_log", [id!, other!], 21);
  database.checkpoint("TRUNCATE");
  expect(database.rows.gaps({ from: 3, to: 40 })).toEqual([
    { from: 3, to: 20, type: "system_log", reason: "retention" },
  ]);
  for (const suffix of ["", "-wal"]) {
    expect(readFileSync(historyPath(directory) + suffix).includes("hunter2")).toBe(false);
  }
});

test("a damaged row is not returned", () => {
  const directory = newDirectory();
  const database = opened(directory);
  const [id] = store(database, [1, 10]);
  const writer = new DatabaseSync(historyPath(directory));
  writer.exec("UPDATE chunk SET bytes = X'00' WHERE id = (SELECT min(id) FROM chunk)");
  writer.exec("UPDATE filter SET bytes = X'00' WHERE part = 3");
  expect(() => database.rows.chunk(id!, 0)).toThrow(
    `chunk 0 of block ${id} of the history is damaged`,
  );
  expect(database.rows.filterPart(3, id!)).toBeUndefined();
  expect(database.rows.filterPart(4, id!)).toBeDefined();
  writer.exec("UPDATE block SET last = 9");
  expect(() => database.rows.block(id!)).toThrow(`block ${id} of the history is damaged`);
  writer.close();
});

test.for([
  ["no database", (path: string) => writeFileSync(path, "no database at all ".repeat(1_000))],
  ["of a newer format", (path: string) => edit(path, "PRAGMA user_version = 99")],
  ["without its state", (path: string) => edit(path, "DELETE FROM state")],
] as const)("a file that is %s is put aside", ([, damage]) => {
  const directory = newDirectory();
  const first = openHistory(directory);
  store(first.database, [1, 10]);
  first.database.close();
  damage(historyPath(directory));
  const { database, damage: found } = openHistory(directory);
  open.push(database);
  expect(database.rows.merged).toBe(0);
  expect(statSync(found!.aside).size).toBeGreaterThan(0);
});

function edit(path: string, sql: string): void {
  const db = new DatabaseSync(path);
  db.exec(sql);
  db.close();
}
