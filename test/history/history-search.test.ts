import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeBlocks } from "../../src/batch/block.ts";
import { compileFilter } from "../../src/filter/filter.ts";
import { openHistory, type HistoryDatabase } from "../../src/history/database.ts";
import { historyPath } from "../../src/history/files.ts";
import { HistorySearches } from "../../src/history/history-search.ts";
import type { HistoryMatches, HistorySearch } from "../../src/history/history.ts";
import type { Gap } from "../../src/plugin/index.ts";
import { FieldPath, fieldValues } from "../../src/filter/fields.ts";
import { parseQuery } from "../../src/wire/query/parse.ts";
import {
  encodeRecords,
  realisticRecords,
  storeRecords,
  type StoredRecord,
} from "./history-file.ts";

const RECORDS = 2_000;
const BLOCK_RECORDS = 200;
const NEVER = new AbortController().signal;

let directory: string;
let database: HistoryDatabase;
let searches: HistorySearches;
let records: StoredRecord[];
let ids: number[];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "tailgate-search-"));
  database = openHistory(directory).database;
  records = realisticRecords(RECORDS);
  ids = storeRecords(database, records, BLOCK_RECORDS);
  searches = new HistorySearches(directory);
});

afterAll(async () => {
  await searches.close();
  database.close();
  rmSync(directory, { recursive: true });
});

function search(query: string, given: Partial<HistorySearch> = {}): HistorySearch {
  return {
    from: 1,
    to: RECORDS,
    order: "desc",
    type: undefined,
    sinceMicros: undefined,
    untilMicros: undefined,
    ...given,
    filters: [parseQuery(query), ...(given.filters ?? [])],
  };
}

/** The sequences of the records that match by their envelopes, in the order of the search. */
function expected({ filters, from, to, order, ...rest }: HistorySearch): number[] {
  const { type, sinceMicros = -Infinity, untilMicros = Infinity } = rest;
  const exact = filters.map((node) => compileFilter(node));
  const matching = records
    .filter(({ sequence }) => sequence >= from && sequence <= to)
    .filter((record) => type === undefined || record.type === type)
    .filter(({ timeMicros }) => timeMicros >= sinceMicros && timeMicros < untilMicros)
    .filter(({ batch, index }) => exact.every((filter) => filter.matches(batch, index)))
    .map(({ sequence }) => sequence);
  return order === "asc" ? matching : matching.toReversed();
}

/** Searches, and checks what is true of all results. */
async function found(
  given: HistorySearch,
  limit = Infinity,
): Promise<{ sequences: number[]; parts: HistoryMatches[] }> {
  const sequences: number[] = [];
  const parts: HistoryMatches[] = [];
  let next = given.order === "asc" ? given.from : given.to;
  for await (const part of searches.find(given, limit, NEVER)) {
    expect(given.order === "asc" ? part.from : part.to).toBe(next);
    next = given.order === "asc" ? part.to + 1 : part.from - 1;
    parts.push(part);
    if (part.blocks.length === 0) continue;
    const batch = decodeBlocks(part.blocks);
    const own = Array.from({ length: batch.length }, (_, index) => batch.sequence(index));
    expect(own.every((sequence) => sequence >= part.from && sequence <= part.to)).toBe(true);
    expect(part.matches).toBe(batch.length);
    sequences.push(...(given.order === "asc" ? own : own.toReversed()));
    const isSame = own.map((sequence, index) => {
      const { batch: source, index: at } = records[sequence - 1]!;
      return Buffer.compare(batch.bytes(index), source.bytes(at)) === 0;
    });
    expect(isSame).not.toContain(false);
  }
  if (limit === Infinity) expect(next).toBe(given.order === "asc" ? given.to + 1 : given.from - 1);
  return { sequences, parts };
}

const QUERIES = ["", "retry OR type:audit", "absent-text"];

describe("a search of the history", () => {
  test.for(["asc", "desc"] as const)("finds the records that match, %s", async (order) => {
    for (const query of QUERIES) {
      const given = search(query, { order });
      const { sequences } = await found(given);
      expect(sequences).toEqual(expected(given));
    }
  });

  test("ends with the part that reaches the limit, and continues from there", async () => {
    const given = search("level:WARNING");
    const all = expected(given);
    const first = await found(given, 7);
    const { length } = first.sequences;
    expect(length).toBeGreaterThanOrEqual(7);
    expect(length).toBeLessThan(14);
    expect(first.sequences).toEqual(all.slice(0, length));
    const rest = { ...given, to: first.parts.at(-1)!.from - 1 };
    expect((await found(rest)).sequences).toEqual(all.slice(length));
  });

  test("keeps to a range, a type, times and the filter of what may be read", async () => {
    const middle = records[RECORDS / 2]!.timeMicros;
    const given = search("", {
      from: 345,
      to: 1_678,
      type: "system_log",
      sinceMicros: middle - 7200e6,
      untilMicros: middle + 7200e6,
      filters: [parseQuery("level:WARNING")],
    });
    const { sequences } = await found(given);
    expect(sequences.length).toBeGreaterThan(0);
    expect(sequences).toEqual(expected(given));
  });

  test("counts by time, level and value", async () => {
    for (const query of ["", "retry"]) {
      const given = search(query, { order: "asc" });
      const levels = [0, 0, 0, 0, 0];
      const values = new Map<string, number>();
      let matches = 0;
      let next = 1;
      const options = { fields: ["service"], valuesMax: 100 };
      for await (const part of searches.count(given, options, NEVER)) {
        expect(part.from).toBe(next);
        next = part.to + 1;
        matches += part.matches;
        for (const [, ...counts] of part.times) {
          for (const [rank, count] of counts.entries()) levels[rank]! += count;
        }
        for (const [value, count] of part.values["service"]!) {
          values.set(value, (values.get(value) ?? 0) + count);
        }
      }
      const sequences = expected(given);
      expect(next).toBe(RECORDS + 1);
      expect(matches).toBe(sequences.length);
      const matching = sequences.map((sequence) => records[sequence - 1]!);
      for (const [rank, count] of levels.entries()) {
        expect(count).toBe(
          matching.filter(({ batch, index }) => batch.rank(index) === rank).length,
        );
      }
      const service = new FieldPath("service");
      const services = matching
        .flatMap(({ batch, index }) => fieldValues(batch.envelope(index), service))
        .map(String);
      expect(Object.fromEntries(values)).toEqual(
        Object.fromEntries(
          [...Map.groupBy(services, (name) => name)].map(([k, v]) => [k, v.length]),
        ),
      );
    }
  });

  test("is not affected by a thread that ends; a task that ends two threads fails", async () => {
    const other = new HistorySearches(directory);
    const threads: Worker[] = [];
    let endsAll = false;
    let hasEnded = false;
    const watch = (thread: Worker): void => {
      threads.push(thread);
      if (endsAll) void thread.terminate();
    };
    process.on("worker", watch);
    const given = search("type:system", { order: "asc" });
    const run = async (): Promise<number[]> => {
      const sequences: number[] = [];
      for await (const { blocks } of other.find(given, Infinity, NEVER)) {
        for (const block of blocks) {
          const batch = decodeBlocks([block]);
          for (let index = 0; index < batch.length; index++) sequences.push(batch.sequence(index));
        }
        // The next tasks are under way.
        if (!hasEnded) for (const thread of threads) void thread.terminate();
        hasEnded = true;
      }
      return sequences;
    };
    try {
      expect(await run()).toEqual(expected(given));
      const started = threads.length;
      endsAll = true;
      for (const thread of threads) await thread.terminate();
      await expect(run()).rejects.toThrow("a thread that searches the history has ended");
      expect(threads.length).toBe(started + 2);
      endsAll = false;
      expect(await run()).toEqual(expected(given));
    } finally {
      process.off("worker", watch);
      await other.close();
    }
  });

  test("goes on when its blocks are merged with others meanwhile", async () => {
    const given = search("", { order: "asc" });
    const sequences: number[] = [];
    let isReplaced = false;
    for await (const part of searches.find(given, Infinity, NEVER)) {
      for (const block of part.blocks) {
        const batch = decodeBlocks([block]);
        for (let index = 0; index < batch.length; index++) sequences.push(batch.sequence(index));
      }
      if (isReplaced) continue;
      isReplaced = true;
      const audit = records.filter(({ type }) => type === "audit_log");
      const system = records.filter(({ type }) => type === "system_log");
      const blocks = [encodeRecords("audit_log", audit), encodeRecords("system_log", system)];
      ids = database.commit({ blocks, replaced: ids, gaps: [], merged: RECORDS });
    }
    expect(sequences.toSorted((one, other) => one - other)).toEqual(records.map((r) => r.sequence));
  });

  test("reports what is damaged or has expired, and finds the rest", async () => {
    const writer = new DatabaseSync(historyPath(directory));
    const [audit] = ids;
    writer.exec(`UPDATE chunk SET bytes = X'00' WHERE id / 256 = ${audit}`);
    writer.close();
    const given = search("", { order: "asc" });
    const other = new HistorySearches(directory);
    const gaps: Gap[] = [];
    let matches = 0;
    for await (const part of other.find(given, Infinity, NEVER)) {
      gaps.push(...part.gaps);
      matches += part.matches;
    }
    await other.close();
    expect(matches).toBe(records.filter(({ type }) => type === "system_log").length);
    expect(gaps.every(({ type, reason }) => type === "audit_log" && reason === "damaged")).toBe(
      true,
    );
    const lost = records.filter(({ type }) => type === "audit_log").map(({ sequence }) => sequence);
    expect(lost.every((at) => gaps.some(({ from, to }) => from <= at && at <= to))).toBe(true);
  });

  test("ends when it is cancelled", async () => {
    const abort = new AbortController();
    const run = async (): Promise<void> => {
      for await (const part of searches.find(search(""), Infinity, abort.signal)) {
        if (part.matches > 0) abort.abort(new Error("enough"));
      }
    };
    await expect(run()).rejects.toThrow("enough");
  });
});
