import { cp } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Envelope } from "tailgate";
import { parseFilter } from "tailgate/plugin";
import type { JournalDatabase } from "../../src/journal/database.ts";
import { openDatabase } from "../../src/journal/recovery.ts";
import type { Retention } from "../../src/journal/journal.ts";
import type { LogRecord } from "tailgate/plugin";
import { longestTurnMs } from "../harness/longest-turn.ts";
import { RETAIN_ALL, Sessions } from "./history-disk.ts";
import { ask, HttpHarness } from "../harness/http-server.ts";

interface Page {
  readonly epoch: string;
  readonly records: readonly ({ readonly sequence: number } & Envelope)[];
  readonly gaps: readonly object[];
  readonly next_cursor: string | null;
}

type Query = Record<string, string | number>;

function urlOf(harness: HttpHarness, query: Query): string {
  const text = Object.entries(query).map(([name, value]) => [name, String(value)]);
  return `${harness.url}/api/logs?${new URLSearchParams(text)}`;
}

async function pageOf(harness: HttpHarness, query: Query = {}): Promise<Page> {
  const { status, body } = await ask(urlOf(harness, query));
  expect({ status, body }).toMatchObject({ status: 200 });
  return JSON.parse(body) as Page;
}

async function pagesOf(harness: HttpHarness, query: Query): Promise<Page[]> {
  const pages = [await pageOf(harness, query)];
  for (let cursor; (cursor = pages.at(-1)!.next_cursor);) {
    pages.push(await pageOf(harness, { ...query, cursor }));
  }
  return pages;
}

async function errorOf(
  harness: HttpHarness,
  query: string,
): Promise<{ status: number; code: string; message: string }> {
  const { status, body } = await ask(`${harness.url}/api/logs?${query}`);
  return { status, ...JSON.parse(body).error };
}

function sequencesOf({ records }: Page): number[] {
  return records.map(({ sequence }) => sequence);
}

function numbered(count: number, given: Partial<LogRecord> = {}): Partial<LogRecord>[] {
  return Array.from({ length: count }, (_, index) => ({ body: `message ${index + 1}`, ...given }));
}

function scope(name: string): LogRecord["scope"] {
  return { name, version: "", attributes: new Map() };
}

const audit = { scope: scope("orchestrator.audit") };

/** Returns the nanoseconds of the given microseconds after 2025-10-13T09:27:24Z. */
function at(micros: number): bigint {
  return (1_760_347_644_000_000n + BigInt(micros)) * 1000n;
}

describe("a page", () => {
  test("of an empty journal is empty", async () => {
    const harness = await new HttpHarness().open();
    const empty = { epoch: harness.journal.epoch, records: [], gaps: [], next_cursor: null };
    expect(await pageOf(harness)).toEqual(empty);
    expect(await pageOf(harness, { order: "asc" })).toEqual(empty);
  });

  test("has the newest 100 records first, each with its sequence and the envelope as sent", async () => {
    const harness = await new HttpHarness().open();
    await harness.log(...numbered(150));
    const page = await pageOf(harness);
    expect(sequencesOf(page)).toEqual(Array.from({ length: 100 }, (_, index) => 150 - index));
    expect(page.records[0]).toEqual({
      sequence: 150,
      type: "system_log",
      data: {
        timestamp: "2025-10-13T09:27:24.339163Z",
        level: "INFO",
        logger: "orchestrator.server",
        message: "message 150",
        module: "",
        function: "",
        line: 0,
      },
    });
    expect(page.next_cursor).toBe(`${harness.journal.epoch}:50`);
  });

  test("with order=asc starts at the oldest record in memory", async () => {
    const harness = await new HttpHarness({ tailBytesMax: 10_000 }).open();
    for (let batch = 0; batch < 20; batch++) await harness.log(...numbered(10));
    const { oldest, newest } = harness.journal;
    expect(oldest).toBeGreaterThan(1);
    const page = await pageOf(harness, { order: "asc", limit: 1000 });
    expect(sequencesOf(page)).toEqual(
      Array.from({ length: newest - oldest + 1 }, (_, index) => oldest + index),
    );
    expect(page.gaps).toEqual([{ from: 1, to: oldest - 1, reason: "retention" }]);
    expect(page.next_cursor).toBeNull();
  });

  test("is not cacheable, and is valid UTF-8 JSON", async () => {
    const harness = await new HttpHarness().open();
    const body = 'naïve "quotes"\n\u2028 日本語 😀';
    await harness.log({ body });
    const { headers, body: text } = await ask(`${harness.url}/api/logs`);
    expect(headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(headers["content-length"]).toBe(String(Buffer.byteLength(text)));
    expect(JSON.parse(text).records[0].data.message).toBe(body);
  });

  test("ends at 8 MiB", async () => {
    const harness = await new HttpHarness().open();
    const body = "x".repeat(1 << 20);
    for (let index = 0; index < 12; index++) await harness.log({ body });
    const pages = await pagesOf(harness, {});
    expect(pages.map(sequencesOf)).toEqual([
      [12, 11, 10, 9, 8, 7, 6, 5],
      [4, 3, 2, 1],
    ]);
  });
});

describe("the pages of a query", () => {
  test("contain each match once and in order, for any batches, limits and filters", async () => {
    const harness = await new HttpHarness().open();
    const record = fc.record({
      body: fc.constantFrom("alpha", "beta", "gamma"),
      severityText: fc.constantFrom("INFO", "ERROR"),
      scope: fc.constantFrom("orchestrator.server", "orchestrator.audit").map(scope),
    });
    const queries = fc.record(
      {
        type: fc.constantFrom("audit", "system_log"),
        level: fc.constantFrom("DEBUG", "WARNING"),
        q: fc.constantFrom("beta", "-alpha", "message:gamma"),
      },
      { requiredKeys: [] },
    );
    const batches = fc.array(fc.array(record, { minLength: 1, maxLength: 30 }), { maxLength: 8 });
    const orders = fc.constantFrom("asc", "desc");
    const property = fc.asyncProperty(
      batches,
      queries,
      orders,
      fc.integer({ min: 1, max: 40 }),
      async (logged, query, order, limit) => {
        for (const batch of logged) await harness.log(...batch);
        const pages = await pagesOf(harness, { ...query, order, limit });
        const filter = parseFilter(query);
        const expected: number[] = [];
        for (let sequence = 1; sequence <= harness.journal.newest; sequence++) {
          if (filter.matches(harness.journal.readFrom(sequence)!, 0)) expected.push(sequence);
        }
        expect(pages.flatMap(sequencesOf)).toEqual(
          order === "asc" ? expected : expected.toReversed(),
        );
        for (const page of pages) expect(page.records.length).toBeLessThanOrEqual(limit);
      },
    );
    await fc.assert(property, { numRuns: 25 });
  });

  test("continue from before the first record", async () => {
    const harness = await new HttpHarness().open();
    await harness.log({}, {}, {});
    const cursor = `${harness.journal.epoch}:0`;
    const upwards = await pageOf(harness, { order: "asc", cursor });
    expect([sequencesOf(upwards), upwards.next_cursor]).toEqual([[1, 2, 3], null]);
    const downwards = await pageOf(harness, { cursor });
    expect([sequencesOf(downwards), downwards.next_cursor]).toEqual([[], null]);
  });

  test("in descending order are not affected by new records", async () => {
    const harness = await new HttpHarness().open();
    await harness.log(...numbered(6));
    const first = await pageOf(harness, { limit: 4 });
    await harness.log(...numbered(5));
    const second = await pageOf(harness, { limit: 4, cursor: first.next_cursor! });
    expect([first, second].map(sequencesOf)).toEqual([
      [6, 5, 4, 3],
      [2, 1],
    ]);
    expect(second.next_cursor).toBeNull();
  });

  test("scan a bounded number of records each: rare matches are found by following the cursor", async () => {
    const harness = await new HttpHarness().open();
    await harness.log({ body: "needle" });
    for (let batch = 0; batch < 90; batch++) await harness.log(...numbered(1000));
    // Text that a record must not have is looked for in one record after the other.
    const down = await pagesOf(harness, { q: "-message", order: "desc" });
    expect(down.map(sequencesOf)).toEqual([[], [], [1]]);
    const up = await pagesOf(harness, { q: "-message", order: "asc" });
    expect(up.map(sequencesOf)).toEqual([[1], [], []]);
  });

  test("scan fewer records each if matching is slow, and yield between slow records", async () => {
    const harness = await new HttpHarness({ tailBytesMax: 1e9 }).open();
    const text = "a".repeat(125);
    const attributes = new Map([["text", text.repeat(8000)]]);
    for (let count = 0; count < 30; count++) await harness.log({ attributes });
    // About a millisecond per term and record.
    const terms = Array.from({ length: 16 }, (_, index) => `-${text}b${text}${index}`);
    const query = { q: `${terms.join(" ")} -a`, order: "asc" };
    const longestTurn = longestTurnMs();
    const pages = await pagesOf(harness, query);
    // Takes 900 ms without pauses.
    expect(await longestTurn()).toBeLessThan(250);
    expect(pages.length).toBeGreaterThan(1);
    expect(pages.flatMap(sequencesOf)).toEqual([]);
    const cursors = pages.map((page) => Number(page.next_cursor?.split(":").at(-1) ?? 31));
    expect(cursors).toEqual(cursors.toSorted((one, other) => one - other));
  });

  test("let other requests proceed while they search", async () => {
    const harness = await new HttpHarness().open();
    const attributes = new Map([["text", "haystack ".repeat(100)]]);
    for (let batch = 0; batch < 20; batch++) await harness.log(...numbered(1000, { attributes }));
    const answered: string[] = [];
    const asked = (name: string, url: string): Promise<unknown> =>
      ask(url).then(() => answered.push(name));
    await Promise.all([
      asked("search", urlOf(harness, { q: "needle" })),
      asked("health", `${harness.url}/healthz`),
    ]);
    expect(answered).toEqual(["health", "search"]);
  });
});

describe.each(["memory", "sqlite"] as const)("with the %s engine the pages", (engine) => {
  interface Sample {
    readonly body: string;
    readonly severityText: string;
    readonly isAudit: boolean;
    readonly micros: number;
  }

  interface Search {
    readonly type?: string;
    readonly level?: string;
    readonly q?: string;
    readonly since?: number | undefined;
    readonly until?: number | undefined;
  }

  const LEVELS = ["INFO", "WARNING", "ERROR"];
  const MINUTE = 60_000_000;

  // Client clocks differ: most times are close to one another, and some are far off.
  const micros = fc.oneof(
    { weight: 5, arbitrary: fc.integer({ min: 0, max: 20 }).map((count) => 250 * count) },
    fc.integer({ min: -600 * MINUTE, max: 600 * MINUTE }),
  );
  const sample: fc.Arbitrary<Sample> = fc.record({
    body: fc.constantFrom("alpha", "beta", "gamma"),
    severityText: fc.constantFrom(...LEVELS),
    isAudit: fc.boolean(),
    micros,
  });
  const batches = fc.array(fc.array(sample, { minLength: 1, maxLength: 20 }), { maxLength: 6 });
  const query = fc.record(
    {
      order: fc.constantFrom("asc", "desc"),
      type: fc.constantFrom("audit_log", "system"),
      level: fc.constantFrom("WARNING", "ERROR"),
      q: fc.constantFrom("beta", "-alpha", "type:audit gamma"),
      since: micros,
      until: micros,
    },
    { requiredKeys: ["order"] },
  );
  const step = fc.record({
    limit: fc.integer({ min: 1, max: 30 }),
    meanwhile: fc.constantFrom("nothing", "nothing", "log", "restart"),
  });

  function recordsOf(samples: readonly Sample[]): Partial<LogRecord>[] {
    return samples.map(({ isAudit, micros: offset, ...rest }) => ({
      ...rest,
      ...(isAudit ? audit : {}),
      timestamp: at(offset),
    }));
  }

  /** A second implementation of the query. */
  function isWanted(
    { body, severityText, isAudit, micros: time }: Sample,
    { type, level, q, since, until }: Search,
  ): boolean {
    if (type !== undefined && (type === "audit_log") !== isAudit) return false;
    if (level !== undefined && LEVELS.indexOf(severityText) < LEVELS.indexOf(level)) return false;
    if (q === "beta" && body !== "beta") return false;
    if (q === "-alpha" && body === "alpha") return false;
    if (q === "type:audit gamma" && !(isAudit && body === "gamma")) return false;
    return time >= (since ?? -Infinity) && time < (until ?? Infinity);
  }

  /** Returns the records of all pages. */
  async function walk(
    sessions: Sessions,
    { since, until, ...rest }: Search & { readonly order: string },
    steps: readonly { readonly limit: number; readonly meanwhile: string }[],
    log: () => Promise<void>,
  ): Promise<Page["records"][number][]> {
    const found: Page["records"][number][] = [];
    const times = {
      ...(since === undefined ? {} : { since: timeText(since) }),
      ...(until === undefined ? {} : { until: timeText(until) }),
    };
    let cursor = "";
    for (let turn = 0; ; turn++) {
      const { limit, meanwhile } = steps[turn % steps.length]!;
      const page = await pageOf(sessions.harness, { ...rest, ...times, limit, cursor });
      expect(page.records.length).toBeLessThanOrEqual(limit);
      expect(page.gaps).toEqual([]);
      found.push(...page.records);
      if (page.next_cursor === null) return found;
      cursor = page.next_cursor;
      // Bounded, because an ascending walk would never end.
      if (meanwhile === "log" && turn < 20) await log();
      if (meanwhile === "restart" && turn < 5) await sessions.next();
    }
  }

  test("equal a filter over all records, through restarts and during writes", async () => {
    const property = fc.asyncProperty(
      fc.array(batches, { minLength: 1, maxLength: 3 }),
      fc.array(fc.tuple(query, fc.array(step, { minLength: 1, maxLength: 6 })), {
        minLength: 1,
        maxLength: 3,
      }),
      async (logged, asked) => {
        const sessions = await Sessions.of(engine);
        const all: Sample[] = [];
        const log = async (samples: readonly Sample[]): Promise<void> => {
          await sessions.harness.log(...recordsOf(samples));
          all.push(...samples);
        };
        for (const session of logged) {
          await sessions.next();
          for (const batch of session) await log(batch);
        }
        for (const [search, steps] of asked) {
          const before = all.length;
          const found = await walk(sessions, search, steps, () => log(logged[0]![0] ?? []));
          const isUpwards = search.order === "asc";
          const expected = all
            .slice(0, isUpwards ? all.length : before)
            .map((each, index) => ({ each, sequence: index + 1 }))
            .filter(({ each }) => isWanted(each, search))
            .map(({ each, sequence }) => [sequence, each.body, timeText(each.micros)]);
          expect(
            found.map(({ sequence, data }) => [sequence, data.message, data.timestamp]),
          ).toEqual(isUpwards ? expected : expected.toReversed());
        }
        await sessions.end();
      },
    );
    await fc.assert(property, { numRuns: engine === "sqlite" ? 8 : 30 });
  });
});

/** The time of {@link at} as the envelope shows it. */
function timeText(micros: number): string {
  const total = at(micros) / 1000n;
  const iso = new Date(Number(total / 1000n)).toISOString();
  return `${iso.slice(0, -1)}${String(total % 1000n).padStart(3, "0")}Z`;
}

describe("the pages of a journal on disk", () => {
  /** One commit per record, all of them only on disk. */
  async function stored(count: number): Promise<Sessions> {
    const sessions = await Sessions.of("sqlite");
    const harness = await sessions.next();
    for (let index = 0; index < count; index++) await harness.log(index % 2 === 0 ? {} : audit);
    await sessions.end();
    return sessions;
  }

  /** Modifies the journal while no gateway has it open. */
  function meddle(
    { directory }: Sessions,
    retention: Retention,
    work: (database: JournalDatabase) => void,
  ): void {
    const { database } = openDatabase(directory, retention);
    work(database);
    database.close(true);
  }

  test("select by time with microsecond precision", async () => {
    const sessions = await Sessions.of("sqlite");
    const first = await sessions.next();
    for (let micros = 0; micros < 2000; micros += 400) await first.log({ timestamp: at(micros) });
    const harness = await sessions.next();
    for (const order of ["asc", "desc"]) {
      const times = { since: timeText(801), until: timeText(1601) };
      const found = sequencesOf(await pageOf(harness, { order, ...times }));
      expect(found).toEqual(order === "asc" ? [4, 5] : [5, 4]);
    }
  });

  test("report what retention deleted during a walk, by type", async () => {
    const walkOn = async (order: string): Promise<Page[]> => {
      const sessions = await stored(10);
      const first = await pageOf(await sessions.next(), { order, limit: 2 });
      await sessions.end();
      const retention = { ...RETAIN_ALL, system_log: { bytes: 0, ms: 1e15 } };
      meddle(sessions, retention, (database) => database.trim({ nowMs: Date.now(), steps: [] }));
      const cursor = first.next_cursor!;
      return [first, await pageOf(await sessions.next(), { order, cursor })];
    };
    const system = { type: "system_log", lane: "system_log", reason: "retention" };
    const up = await walkOn("asc");
    expect(up.map(sequencesOf)).toEqual([
      [1, 2],
      // The newest commit of a type is retained.
      [4, 6, 8, 9, 10],
    ]);
    expect(up.map(({ gaps }) => gaps)).toEqual([[], [{ from: 3, to: 7, ...system }]]);
    const down = await walkOn("desc");
    expect(down.map(sequencesOf)).toEqual([
      [10, 9],
      [8, 6, 4, 2],
    ]);
    expect(down.map(({ gaps }) => gaps)).toEqual([[], [{ from: 1, to: 7, ...system }]]);
    expect(down[1]!.next_cursor).toBeNull();
  });

  test("report it once, however small they are", async () => {
    const sessions = await stored(10);
    const retention = { ...RETAIN_ALL, system_log: { bytes: 0, ms: 1e15 } };
    meddle(sessions, retention, (database) => database.trim({ nowMs: Date.now(), steps: [] }));
    const harness = await sessions.next();
    const system = { type: "system_log", lane: "system_log", reason: "retention" };
    const gap = (from: number, to: number): object => ({ from, to, ...system });
    const up = await pagesOf(harness, { order: "asc", limit: 1 });
    expect(up.map(sequencesOf)).toEqual([[2], [4], [6], [8], [9], [10]]);
    expect(up.flatMap(({ gaps }) => gaps)).toEqual([gap(1, 2), gap(3, 4), gap(5, 6), gap(7, 7)]);
    const down = await pagesOf(harness, { limit: 1 });
    expect(down.map(sequencesOf)).toEqual([[10], [9], [8], [6], [4], [2], []]);
    expect(down.flatMap(({ gaps }) => gaps)).toEqual([gap(6, 7), gap(4, 5), gap(2, 3), gap(1, 1)]);
  });

  test("report nothing about a type that was not requested", async () => {
    const sessions = await stored(10);
    const retention = { ...RETAIN_ALL, system_log: { bytes: 0, ms: 1e15 } };
    meddle(sessions, retention, (database) => database.trim({ nowMs: Date.now(), steps: [] }));
    const harness = await sessions.next();
    for (const query of [{ type: "audit" }, { q: "type:audit_log hello" }]) {
      const page = await pageOf(harness, query);
      expect(sequencesOf(page)).toEqual([10, 8, 6, 4, 2]);
      expect(page.gaps).toEqual([]);
    }
  });

  test("report unreadable records and failed writes; for JSON lines in a header", async () => {
    const sessions = await stored(4);
    const db = new DatabaseSync(join(sessions.directory, "journal.db"));
    db.exec("UPDATE system_log SET crc = crc + 1 WHERE last = 3");
    db.close();
    const { database } = openDatabase(sessions.directory, RETAIN_ALL);
    database.close(true, 9);
    const harness = await sessions.next();
    await harness.log({});
    const damaged = { from: 3, to: 3, type: "system_log", lane: "system_log", reason: "damaged" };
    const notStored = { from: 5, to: 9, reason: "not_stored" };
    const up = await pageOf(harness, { order: "asc" });
    expect(sequencesOf(up)).toEqual([1, 2, 4, 10]);
    expect(up.gaps).toEqual([damaged, notStored]);
    const down = await ask(urlOf(harness, { format: "ndjson" }));
    const lines = down.body.trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).sequence)).toEqual([10, 4, 2, 1]);
    expect(JSON.parse(String(down.headers["x-gaps"]))).toEqual([notStored, damaged]);
    expect(down.headers["x-epoch"]).toBe(harness.journal.epoch);
  });

  test("report no more gaps each than fit into a header", async () => {
    const sessions = await stored(200);
    const db = new DatabaseSync(join(sessions.directory, "journal.db"));
    db.exec("UPDATE system_log SET crc = crc + 1");
    db.close();
    const harness = await sessions.next();
    const all = Array.from({ length: 200 }, (_, index) => index + 1);
    for (const order of ["asc", "desc"]) {
      const inOrder = order === "asc" ? all : all.toReversed();
      const pages = await pagesOf(harness, { order });
      expect(pages.map(({ gaps }) => gaps.length)).toEqual([64, 36]);
      expect(pages.flatMap(sequencesOf)).toEqual(inOrder.filter((sequence) => sequence % 2 === 0));
      expect(pages.flatMap(({ gaps }) => gaps)).toEqual(
        inOrder
          .filter((sequence) => sequence % 2 === 1)
          .map((sequence) => ({
            from: sequence,
            to: sequence,
            type: "system_log",
            lane: "system_log",
            reason: "damaged",
          })),
      );
    }
  });

  test("are rejected once the journal is closed while a gateway stops", async () => {
    const harness = await (await stored(3)).next();
    await harness.journal.close();
    const { status, body } = await ask(urlOf(harness, {}));
    expect([status, JSON.parse(body).error.code]).toEqual([503, "STOPPED"]);
    expect(harness.lines).toEqual([]);
  });

  test("continue with the surviving records after an unclean shutdown", async () => {
    const sessions = await Sessions.of("sqlite");
    const harness = await sessions.next();
    await harness.log(...numbered(3));
    const crashed = await Sessions.of("sqlite");
    // What would be on disk if the machine had stopped here.
    await cp(sessions.directory, crashed.directory, { recursive: true });
    await harness.log(...numbered(4));
    const down = await pageOf(harness, { limit: 1 });
    const up = await pageOf(harness, { order: "asc", limit: 6 });
    const after = await crashed.next();
    await after.log(...numbered(3));
    expect(after.journal.epoch).not.toBe(harness.journal.epoch);
    const upwards = await pageOf(after, { order: "asc", cursor: up.next_cursor! });
    expect(sequencesOf(upwards)).toEqual([4, 5, 6]);
    expect(upwards.gaps).toEqual([]);
    const downwards = await pageOf(after, { cursor: down.next_cursor! });
    expect(sequencesOf(downwards)).toEqual([3, 2, 1]);
    expect(downwards.gaps).toEqual([{ from: 4, to: 6, reason: "not_stored" }]);
  });

  test("are searched in bounded steps, between which a commit can run", async () => {
    const sessions = await Sessions.of("sqlite");
    const first = await sessions.next();
    await first.log({ body: "needle" });
    // Large records, and not so many that they are moved into blocks with an index.
    const large = numbered(1000, { attributes: new Map([["padding", "x".repeat(4000)]]) });
    for (let batch = 0; batch < 15; batch++) await first.log(...large);
    const harness = await sessions.next();
    const done: string[] = [];
    const name = (text: string) => (): unknown => done.push(text);
    const search = pagesOf(harness, { q: "needle" });
    await Promise.all([search.then(name("search")), harness.log({}).then(name("commit"))]);
    expect(done).toEqual(["commit", "search"]);
    const pages = await search;
    expect(pages.length).toBeGreaterThan(1);
    expect(pages.flatMap(sequencesOf)).toEqual([1]);
  });
});

describe("since and until", () => {
  test("bound the record's own time: since is inclusive, until exclusive", async () => {
    const harness = await new HttpHarness().open();
    await harness.log(
      ...[0, 1, 500_000, 999_999, 1_000_000].map((micros) => ({ timestamp: at(micros) })),
    );
    const found = async (query: Query): Promise<number[]> =>
      sequencesOf(await pageOf(harness, { order: "asc", ...query }));
    expect(await found({ since: "2025-10-13T09:27:24.000001Z" })).toEqual([2, 3, 4, 5]);
    expect(await found({ until: "2025-10-13T09:27:24.000001Z" })).toEqual([1]);
    expect(await found({ since: "2025-10-13T09:27:24.5Z", until: "2025-10-13T09:27:25Z" })).toEqual(
      [3, 4],
    );
    // Between two microseconds: the first is earlier.
    expect(await found({ until: "2025-10-13T09:27:24.0000001Z" })).toEqual([1]);
    expect(await found({ until: "2025-10-13T09:27:24.0000010Z" })).toEqual([1]);
    expect(await found({ until: "2025-10-13T09:27:24.99999900" })).toEqual([1, 2, 3]);
    expect(await found({ until: "2025-10-13T09:27:24.99999901" })).toEqual([1, 2, 3, 4]);
    expect(await found({ since: 1_760_347_644_500 })).toEqual([3, 4, 5]);
    expect(await found({ since: "2025-10-13T11:27:25+02:00" })).toEqual([5]);
    expect(await found({ since: "2025-10-13T09:27:25" })).toEqual([5]);
    expect(await found({ since: "2025-10-14" })).toEqual([]);
    expect(await found({ until: "2025-10-13" })).toEqual([]);
  });

  test("accept an unescaped plus, which is a space in a query", async () => {
    const harness = await new HttpHarness().open();
    await harness.log({ timestamp: at(0) });
    const { body } = await ask(`${harness.url}/api/logs?since=2025-10-13T11:27:25+02:00`);
    expect(JSON.parse(body).records).toEqual([]);
  });

  test("agree with Date for any time", async () => {
    const harness = await new HttpHarness().open();
    await harness.log({ timestamp: at(0) });
    const moments = fc.date({
      min: new Date(0),
      max: new Date("9999-12-31T23:59:59.999Z"),
      noInvalidDate: true,
    });
    const property = fc.asyncProperty(moments, fc.boolean(), async (moment, asNumber) => {
      const since = asNumber ? moment.getTime() : moment.toISOString();
      const { records } = await pageOf(harness, { since });
      expect(records.length).toBe(moment.getTime() <= 1_760_347_644_000 ? 1 : 0);
    });
    await fc.assert(property, { numRuns: 100 });
  });
});

describe("filters", () => {
  test("are written in the filter language", async () => {
    const harness = await new HttpHarness().open();
    await harness.log(
      { body: "one", severityText: "DEBUG", severityNumber: 5 },
      { body: "two", severityText: "ERROR", scope: scope("orchestrator.server.http") },
      { body: "three", ...audit, attributes: new Map([["event_type", "instance_spawn"]]) },
    );
    const found = async (query: Query): Promise<number[]> =>
      sequencesOf(await pageOf(harness, query));
    expect(await found({ type: "audit_log" })).toEqual([3]);
    expect(await found({ level: "warning" })).toEqual([2]);
    expect(await found({ logger: "orchestrator.server" })).toEqual([2, 1]);
    expect(await found({ q: "-two action:instance_spawn" })).toEqual([3]);
    expect(await found({ q: "", level: "", limit: "" })).toEqual([3, 2, 1]);
  });
});

describe("JSON lines", () => {
  test("are one record each, with the cursor in a header", async () => {
    const harness = await new HttpHarness().open();
    await harness.log(...numbered(5));
    const first = await ask(urlOf(harness, { format: "ndjson", limit: 3 }));
    expect(first.headers["content-type"]).toBe("application/x-ndjson");
    expect(first.headers["x-next-cursor"]).toBe(`${harness.journal.epoch}:2`);
    const lines = first.body.split("\n");
    expect(lines.pop()).toBe("");
    expect(lines.map((line) => JSON.parse(line).sequence)).toEqual([5, 4, 3]);
    const headers = { Accept: "application/x-ndjson" };
    const last = await ask(urlOf(harness, { limit: 3, cursor: `${harness.journal.epoch}:2` }), {
      headers,
    });
    expect(last.headers).not.toHaveProperty("x-next-cursor");
    expect(last.body.trimEnd().split("\n")).toHaveLength(2);
  });

  test("are an empty body if nothing matches", async () => {
    const harness = await new HttpHarness().open();
    expect(await ask(urlOf(harness, { format: "ndjson" }))).toMatchObject({
      status: 200,
      body: "",
    });
  });

  test("are not the default for browsers or curl", async () => {
    const harness = await new HttpHarness().open();
    for (const accept of ["*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "image/png"]) {
      const { headers } = await ask(`${harness.url}/api/logs`, { headers: { Accept: accept } });
      expect(headers["content-type"]).toBe("application/json; charset=utf-8");
    }
  });
});

describe("errors", () => {
  test("name the invalid parameter and its valid values", async () => {
    const harness = await new HttpHarness().open();
    const expected: Record<string, string> = {
      "limits=5":
        'The parameter "limits" is unknown. Known parameters: type, level, logger, q, since, until, order, limit, cursor, wait, format.',
      "limit=0": 'The parameter limit is "0"; expected 1 to 1000 or all.',
      "limit=1001": 'The parameter limit is "1001"; expected 1 to 1000 or all.',
      "limit=1e2": 'The parameter limit is "1e2"; expected 1 to 1000 or all.',
      "limit=5&limit=6": "The parameter limit is given twice.",
      "order=up": 'The parameter order is "up"; expected one of desc, asc.',
      "format=xml": 'The parameter format is "xml"; expected one of json, ndjson.',
      "cursor=12": 'The parameter cursor is "12"; expected the next_cursor of a response.',
      "since=yesterday":
        'The parameter since is "yesterday"; expected ISO 8601, such as 2025-10-13T09:27:24Z, or milliseconds since 1970.',
      "until=2025-13-01":
        'The parameter until is "2025-13-01"; expected ISO 8601, such as 2025-10-13T09:27:24Z, or milliseconds since 1970.',
      "since=999999999999999":
        'The parameter since is "999999999999999"; expected ISO 8601, such as 2025-10-13T09:27:24Z, or milliseconds since 1970.',
    };
    for (const [query, message] of Object.entries(expected)) {
      expect(await errorOf(harness, query)).toEqual({
        status: 400,
        code: "PARAMETER_INVALID",
        message,
      });
    }
  });

  test("of the filter have its own text", async () => {
    const harness = await new HttpHarness().open();
    const { status, code, message } = await errorOf(harness, "level=LOUD");
    expect(status).toBe(400);
    expect(code).toBe("FILTER_INVALID");
    expect(message).toMatch(
      /^The filter term "level:LOUD" is invalid: the level must be one of DEBUG, /,
    );
  });

  test("report a cursor of another epoch", async () => {
    const harness = await new HttpHarness().open();
    await harness.log({});
    expect(await errorOf(harness, "cursor=other-epoch:1")).toEqual({
      status: 410,
      code: "CURSOR_GONE",
      message:
        "This journal does not know the cursor's epoch: the cursor is from another journal. Start again without a cursor.",
    });
  });

  test("are 400 with JSON for random invalid parameters", async () => {
    const harness = await new HttpHarness().open();
    await harness.log(...numbered(3));
    const names = fc.oneof(
      fc.constantFrom("type", "level", "q", "since", "until", "limit", "cursor", "order"),
      fc.string(),
    );
    const property = fc.asyncProperty(
      fc.array(fc.tuple(names, fc.string({ unit: "binary" })), { maxLength: 4 }),
      async (pairs) => {
        const { status, body } = await ask(`${harness.url}/api/logs?${new URLSearchParams(pairs)}`);
        expect([200, 400]).toContain(status);
        const parsed = JSON.parse(body);
        expect(parsed).toHaveProperty(status === 400 ? "error.message" : "records");
      },
    );
    await fc.assert(property, { numRuns: 200 });
  });
});
