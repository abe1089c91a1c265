import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import type { JournalDatabase, RecordRange } from "../../src/journal/database.ts";
import { openDatabase } from "../../src/journal/recovery.ts";
import type { PageQuery } from "../../src/journal/page-reader.ts";
import { temporaryDirectory } from "../harness/workspace.ts";

const KEPT = { bytes: 1e12, ms: 1e15 };
const RETENTION = { system_log: KEPT, audit_log: KEPT };

const PAGE_BYTES = 4096;

async function directory(): Promise<string> {
  const cleanUps: (() => Promise<unknown> | void)[] = [];
  onTestFinished(async () => {
    for (const cleanUp of cleanUps) await cleanUp();
  });
  return temporaryDirectory(cleanUps);
}

/** A commit of one record for each type named. */
interface Commit {
  readonly audit?: boolean;
  readonly system?: boolean;
  readonly min: number;
  readonly max: number;
}

/** As the journal would pass it; the contents of the rows do not matter here. */
function rangesOf(commits: readonly Commit[], first: number, bytes: number): RecordRange[] {
  return commits.map(({ audit = false, system = true, min, max }, index) => ({
    first: first + index,
    last: first + index,
    appendedAtMs: 0,
    blocks: [
      ...(system ? ["system_log" as const] : []),
      ...(audit ? ["audit_log" as const] : []),
    ].map((type) => ({
      type,
      records: 1,
      timeMin: min,
      timeMax: max,
      bytes: new Uint8Array(bytes),
    })),
  }));
}

const NOTHING_ELSE = { cursors: [], chain: undefined, events: [] };

/** The sequences of the rows that a query finds, page by page. */
function pagesOf(database: JournalDatabase, query: PageQuery, newest: number): number[][] {
  const pages: number[][] = [];
  let from = query.from;
  while (from >= 1 && from <= newest) {
    const page = database.read({ ...query, from });
    pages.push(page.blocks.map(({ firstSequence }) => firstSequence));
    const next = query.order === "asc" ? page.to + 1 : page.from - 1;
    expect(query.order === "asc" ? next > from : next < from).toBe(true);
    from = next;
  }
  return pages;
}

/** Pages read by this process so far, from any file. */
function pagesRead(): number {
  const [, bytes] = /^rchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))!;
  return Number(bytes) / PAGE_BYTES;
}

describe("a search by time", () => {
  test("finds every commit in the time range once, for any times, types and restarts", async () => {
    const commit = fc.record({
      system: fc.boolean(),
      audit: fc.boolean(),
      min: fc.integer({ min: 0, max: 50 }),
      max: fc.integer({ min: 0, max: 50 }),
    });
    const sorted = commit.map(({ system, audit, min, max }) => ({
      system: system || !audit,
      audit,
      min: Math.min(min, max),
      max: Math.max(min, max),
    }));
    const sessions = fc.array(
      // Mostly equal, so that there are whole spans outside the time range.
      fc.array(fc.tuple(sorted, fc.integer({ min: 1, max: 600 })), { maxLength: 4 }),
      { minLength: 1, maxLength: 3 },
    );
    const query = fc.record({
      order: fc.constantFrom("asc" as const, "desc" as const),
      type: fc.constantFrom("system_log" as const, "audit_log" as const, undefined),
      sinceMs: fc.option(fc.integer({ min: 0, max: 50 }), { nil: undefined }),
      untilMs: fc.option(fc.integer({ min: 0, max: 50 }), { nil: undefined }),
    });
    const property = fc.asyncProperty(
      sessions,
      fc.array(query, { minLength: 1, maxLength: 5 }),
      async (logged, queries) => {
        const path = await directory();
        const all: Commit[] = [];
        for (const session of logged) {
          const { database } = openDatabase(path, RETENTION);
          for (const [given, times] of session) {
            const commits = Array<Commit>(times).fill(given);
            database.commit({ ...NOTHING_ELSE, ranges: rangesOf(commits, all.length + 1, 8) });
            all.push(...commits);
          }
          database.close(true);
        }
        const { database } = openDatabase(path, RETENTION);
        for (const { order, type, sinceMs, untilMs } of queries) {
          const from = order === "asc" ? 1 : all.length;
          const found = pagesOf(database, { from, order, type, sinceMs, untilMs }, all.length);
          const expected = all.flatMap(({ system, audit, min, max }, index) => {
            if (max < (sinceMs ?? -1) || min >= (untilMs ?? 99)) return [];
            const rows = [system && type !== "audit_log", audit && type !== "system_log"];
            return rows.filter(Boolean).map(() => index + 1);
          });
          expect(found.flat()).toEqual(order === "asc" ? expected : expected.toReversed());
        }
        database.close(true);
      },
    );
    await fc.assert(property, { numRuns: 40 });
  });

  test("reads a few pages of a large journal and none in between", async () => {
    const path = await directory();
    const commits = 40_000;
    const first = openDatabase(path, RETENTION);
    const minuteOf = (index: number): number => Math.floor(index / 40) * 60_000;
    const all = Array.from({ length: commits }, (_, index) => ({
      audit: index % 4000 === 47,
      min: minuteOf(index),
      max: minuteOf(index) + 59_999,
    }));
    first.database.commit({ ...NOTHING_ELSE, ranges: rangesOf(all, 1, 400) });
    first.database.checkpoint("TRUNCATE");
    first.database.close(true);
    for (const order of ["asc", "desc"] as const) {
      const from = order === "asc" ? 1 : commits;
      const search = (query: Partial<PageQuery>): { rows: number; pages: number } => {
        const { database } = openDatabase(path, RETENTION);
        const base = { from, order, type: undefined, sinceMs: undefined, untilMs: undefined };
        const before = pagesRead();
        const rows = pagesOf(database, { ...base, ...query }, commits).flat().length;
        const pages = pagesRead() - before;
        database.close(true);
        return { rows, pages };
      };
      const middle = minuteOf(commits / 2);
      const minute = search({ sinceMs: middle, untilMs: middle + 60_000 });
      expect(minute.rows).toBe(40);
      expect(minute.pages).toBeLessThan(30);
      const audit = search({ type: "audit_log" });
      expect(audit.rows).toBe(10);
      expect(audit.pages).toBeLessThan(30);
      expect(search({}).pages).toBeGreaterThan(4000);
    }
  });

  test("returns its progress after a long search without results, with the other type's records up to there", async () => {
    const path = await directory();
    const { database } = openDatabase(path, RETENTION);
    // The times of each span overlap the range, but those of no commit do.
    const all = Array.from({ length: 40_000 }, (_, index) =>
      index % 2 === 0 ? { min: 0, max: 10 } : { min: 90, max: 100 },
    );
    const ranges = rangesOf(all, 1, 8);
    // There is an audit event wherever a search stops or resumes.
    const events = ranges.filter(({ last }) => last % 256 <= 1);
    const event = { type: "audit_log", records: 1, timeMin: 55, timeMax: 55 } as const;
    for (const range of events) {
      (range.blocks as (typeof range.blocks)[number][]).push({
        ...event,
        bytes: new Uint8Array(8),
      });
    }
    database.commit({ ...NOTHING_ELSE, ranges });
    const expected = events.map(({ last }) => last);
    for (const order of ["asc", "desc"] as const) {
      const from = order === "asc" ? 1 : all.length;
      const query = { from, order, type: undefined, sinceMs: 50, untilMs: 60 };
      const pages = pagesOf(database, query, all.length);
      expect(pages.length).toBeGreaterThan(1);
      expect(pages.flat()).toEqual(order === "asc" ? expected : expected.toReversed());
    }
    database.close(true);
  });

  test("ignores a commit that failed", async () => {
    const path = await directory();
    const { database } = openDatabase(path, RETENTION);
    const ranges = (first: number, count: number, at: number): RecordRange[] =>
      rangesOf(
        Array.from({ length: count }, () => ({ min: at, max: at })),
        first,
        8,
      );
    database.commit({ ...NOTHING_ELSE, ranges: ranges(1, 200, 1) });
    // The last sequence exists already, so the span that would precede it is discarded.
    const failing = [...ranges(201, 300, 2), ...ranges(200, 1, 2)];
    expect(() => database.commit({ ...NOTHING_ELSE, ranges: failing })).toThrow(/UNIQUE/);
    database.commit({ ...NOTHING_ELSE, ranges: ranges(201, 300, 3) });
    for (const [time, count] of [
      [1, 200],
      [2, 0],
      [3, 300],
    ] as const) {
      const times = { sinceMs: time, untilMs: time + 1 };
      const query = { from: 1, order: "asc" as const, type: undefined, ...times };
      expect(pagesOf(database, query, 500).flat()).toHaveLength(count);
    }
    database.close(true);
  });
});
