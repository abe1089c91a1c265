import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Envelope } from "../../src/envelope.ts";
import { parseFilter } from "../../src/filter.ts";
import type { LogRecord } from "../../src/plugin.ts";
import { ask, Stage } from "./stage.ts";

interface Page {
  readonly epoch: string;
  readonly records: readonly ({ readonly sequence: number } & Envelope)[];
  readonly next_cursor: string | null;
}

type Query = Record<string, string | number>;

function urlOf(stage: Stage, query: Query): string {
  const text = Object.entries(query).map(([name, value]) => [name, String(value)]);
  return `${stage.url}/api/logs?${new URLSearchParams(text)}`;
}

async function pageOf(stage: Stage, query: Query = {}): Promise<Page> {
  const { status, body } = await ask(urlOf(stage, query));
  expect({ status, body }).toMatchObject({ status: 200 });
  return JSON.parse(body) as Page;
}

async function pagesOf(stage: Stage, query: Query): Promise<Page[]> {
  const pages = [await pageOf(stage, query)];
  for (let cursor; (cursor = pages.at(-1)!.next_cursor);) {
    pages.push(await pageOf(stage, { ...query, cursor }));
  }
  return pages;
}

async function errorOf(
  stage: Stage,
  query: string,
): Promise<{ status: number; code: string; message: string }> {
  const { status, body } = await ask(`${stage.url}/api/logs?${query}`);
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

/** Nanoseconds of so many microseconds after 2025-10-13T09:27:24Z. */
function at(micros: number): bigint {
  return (1_760_347_644_000_000n + BigInt(micros)) * 1000n;
}

describe("a page", () => {
  test("of an empty journal is empty", async () => {
    const stage = await new Stage().open();
    const empty = { epoch: stage.journal.epoch, records: [], next_cursor: null };
    expect(await pageOf(stage)).toEqual(empty);
    expect(await pageOf(stage, { order: "asc" })).toEqual(empty);
  });

  test("has the newest 100 first, each with its sequence and the envelope as it was sent", async () => {
    const stage = await new Stage().open();
    await stage.log(...numbered(150));
    const page = await pageOf(stage);
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
    expect(page.next_cursor).toBe(`${stage.journal.epoch}:50`);
  });

  test("with order=asc begins with the oldest that memory holds", async () => {
    const stage = await new Stage({ tailBytesMax: 10_000 }).open();
    for (let batch = 0; batch < 20; batch++) await stage.log(...numbered(10));
    const { oldest, newest } = stage.journal;
    expect(oldest).toBeGreaterThan(1);
    const page = await pageOf(stage, { order: "asc", limit: 1000 });
    expect(sequencesOf(page)).toEqual(
      Array.from({ length: newest - oldest + 1 }, (_, index) => oldest + index),
    );
    expect(page.next_cursor).toBeNull();
  });

  test("is stored nowhere, and is JSON in UTF-8 byte by byte", async () => {
    const stage = await new Stage().open();
    const body = 'naïve "quotes"\n\u2028 日本語 😀';
    await stage.log({ body });
    const { headers, body: text } = await ask(`${stage.url}/api/logs`);
    expect(headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(headers["content-length"]).toBe(String(Buffer.byteLength(text)));
    expect(JSON.parse(text).records[0].data.message).toBe(body);
  });

  test("takes no further record once it has 8 MiB", async () => {
    const stage = await new Stage().open();
    const body = "x".repeat(1 << 20);
    for (let index = 0; index < 12; index++) await stage.log({ body });
    const pages = await pagesOf(stage, {});
    expect(pages.map(sequencesOf)).toEqual([
      [12, 11, 10, 9, 8, 7, 6, 5],
      [4, 3, 2, 1],
    ]);
  });
});

describe("the pages of a query", () => {
  test("hold each match once and in order, whatever the batches, limits and filters", async () => {
    const stage = await new Stage().open();
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
        for (const batch of logged) await stage.log(...batch);
        const pages = await pagesOf(stage, { ...query, order, limit });
        const filter = parseFilter(query);
        const expected: number[] = [];
        for (let sequence = 1; sequence <= stage.journal.newest; sequence++) {
          if (filter.matches(stage.journal.readFrom(sequence)!, 0)) expected.push(sequence);
        }
        expect(pages.flatMap(sequencesOf)).toEqual(
          order === "asc" ? expected : expected.toReversed(),
        );
        for (const page of pages) expect(page.records.length).toBeLessThanOrEqual(limit);
      },
    );
    await fc.assert(property, { numRuns: 25 });
  });

  test("downwards are not disturbed by what arrives meanwhile", async () => {
    const stage = await new Stage().open();
    await stage.log(...numbered(6));
    const first = await pageOf(stage, { limit: 4 });
    await stage.log(...numbered(5));
    const second = await pageOf(stage, { limit: 4, cursor: first.next_cursor! });
    expect([first, second].map(sequencesOf)).toEqual([
      [6, 5, 4, 3],
      [2, 1],
    ]);
    expect(second.next_cursor).toBeNull();
  });

  test("look at 20 000 records each: a rare match is found by following the cursor", async () => {
    const stage = await new Stage().open();
    await stage.log({ body: "needle" });
    for (let batch = 0; batch < 45; batch++) await stage.log(...numbered(1000));
    const query = { q: "needle", order: "desc" };
    const first = await pageOf(stage, query);
    expect(first.records).toEqual([]);
    expect(first.next_cursor).toBe(`${stage.journal.epoch}:25001`);
    const rest = await pagesOf(stage, { ...query, cursor: first.next_cursor! });
    expect(rest.map(sequencesOf)).toEqual([[], [1]]);
    expect((await pagesOf(stage, { ...query, order: "asc" })).map(sequencesOf)).toEqual([
      [1],
      [],
      [],
    ]);
  });

  test("let other requests through while they search", async () => {
    const stage = await new Stage().open();
    const attributes = new Map([["text", "haystack ".repeat(100)]]);
    for (let batch = 0; batch < 20; batch++) await stage.log(...numbered(1000, { attributes }));
    const answered: string[] = [];
    const asked = (name: string, url: string): Promise<unknown> =>
      ask(url).then(() => answered.push(name));
    await Promise.all([
      asked("search", urlOf(stage, { q: "needle" })),
      asked("health", `${stage.url}/healthz`),
    ]);
    expect(answered).toEqual(["health", "search"]);
  });
});

describe("since and until", () => {
  test("bound the record's own time: from the first moment, up to the second", async () => {
    const stage = await new Stage().open();
    await stage.log(
      ...[0, 1, 500_000, 999_999, 1_000_000].map((micros) => ({ timestamp: at(micros) })),
    );
    const found = async (query: Query): Promise<number[]> =>
      sequencesOf(await pageOf(stage, { order: "asc", ...query }));
    expect(await found({ since: "2025-10-13T09:27:24.000001Z" })).toEqual([2, 3, 4, 5]);
    expect(await found({ until: "2025-10-13T09:27:24.000001Z" })).toEqual([1]);
    expect(await found({ since: "2025-10-13T09:27:24.5Z", until: "2025-10-13T09:27:25Z" })).toEqual(
      [3, 4],
    );
    expect(await found({ since: 1_760_347_644_500 })).toEqual([3, 4, 5]);
    expect(await found({ since: "2025-10-13T11:27:25+02:00" })).toEqual([5]);
    expect(await found({ since: "2025-10-13T09:27:25" })).toEqual([5]);
    expect(await found({ since: "2025-10-14" })).toEqual([]);
    expect(await found({ until: "2025-10-13" })).toEqual([]);
  });

  test("take a plus that was not escaped, which is a space in a query", async () => {
    const stage = await new Stage().open();
    await stage.log({ timestamp: at(0) });
    const { body } = await ask(`${stage.url}/api/logs?since=2025-10-13T11:27:25+02:00`);
    expect(JSON.parse(body).records).toEqual([]);
  });

  test("agree with Date for every moment", async () => {
    const stage = await new Stage().open();
    await stage.log({ timestamp: at(0) });
    const moments = fc.date({
      min: new Date(0),
      max: new Date("9999-12-31T23:59:59.999Z"),
      noInvalidDate: true,
    });
    const property = fc.asyncProperty(moments, fc.boolean(), async (moment, asNumber) => {
      const since = asNumber ? moment.getTime() : moment.toISOString();
      const { records } = await pageOf(stage, { since });
      expect(records.length).toBe(moment.getTime() <= 1_760_347_644_000 ? 1 : 0);
    });
    await fc.assert(property, { numRuns: 100 });
  });
});

describe("filters", () => {
  test("are those of the filter language", async () => {
    const stage = await new Stage().open();
    await stage.log(
      { body: "one", severityText: "DEBUG", severityNumber: 5 },
      { body: "two", severityText: "ERROR", scope: scope("orchestrator.server.http") },
      { body: "three", ...audit, attributes: new Map([["event_type", "instance_spawn"]]) },
    );
    const found = async (query: Query): Promise<number[]> =>
      sequencesOf(await pageOf(stage, query));
    expect(await found({ type: "audit_log" })).toEqual([3]);
    expect(await found({ level: "warning" })).toEqual([2]);
    expect(await found({ logger: "orchestrator.server" })).toEqual([2, 1]);
    expect(await found({ q: "-two action:instance_spawn" })).toEqual([3]);
    expect(await found({ q: "", level: "", limit: "" })).toEqual([3, 2, 1]);
  });
});

describe("lines", () => {
  test("are one record each, with the cursor in a header", async () => {
    const stage = await new Stage().open();
    await stage.log(...numbered(5));
    const first = await ask(urlOf(stage, { format: "ndjson", limit: 3 }));
    expect(first.headers["content-type"]).toBe("application/x-ndjson");
    expect(first.headers["x-next-cursor"]).toBe(`${stage.journal.epoch}:2`);
    const lines = first.body.split("\n");
    expect(lines.pop()).toBe("");
    expect(lines.map((line) => JSON.parse(line).sequence)).toEqual([5, 4, 3]);
    const headers = { Accept: "application/x-ndjson" };
    const last = await ask(urlOf(stage, { limit: 3, cursor: `${stage.journal.epoch}:2` }), {
      headers,
    });
    expect(last.headers).not.toHaveProperty("x-next-cursor");
    expect(last.body.trimEnd().split("\n")).toHaveLength(2);
  });

  test("of nothing are an empty body", async () => {
    const stage = await new Stage().open();
    expect(await ask(urlOf(stage, { format: "ndjson" }))).toMatchObject({ status: 200, body: "" });
  });

  test("are not what a browser or curl gets", async () => {
    const stage = await new Stage().open();
    for (const accept of ["*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "image/png"]) {
      const { headers } = await ask(`${stage.url}/api/logs`, { headers: { Accept: accept } });
      expect(headers["content-type"]).toBe("application/json; charset=utf-8");
    }
  });
});

describe("errors", () => {
  test("say which parameter is wrong, and what is valid", async () => {
    const stage = await new Stage().open();
    const expected: Record<string, string> = {
      "limits=5":
        'The parameter "limits" is unknown. Known are: type, level, logger, q, since, until, order, limit, cursor, format.',
      "limit=0": 'The parameter limit is "0"; valid is 1 to 1000.',
      "limit=1001": 'The parameter limit is "1001"; valid is 1 to 1000.',
      "limit=1e2": 'The parameter limit is "1e2"; valid is 1 to 1000.',
      "limit=5&limit=6": "The parameter limit is given twice.",
      "order=up": 'The parameter order is "up"; valid is one of desc, asc.',
      "format=xml": 'The parameter format is "xml"; valid is one of json, ndjson.',
      "cursor=12": 'The parameter cursor is "12"; valid is a next_cursor of an answer.',
      "since=yesterday":
        'The parameter since is "yesterday"; valid is ISO 8601, such as 2025-10-13T09:27:24Z, or milliseconds since 1970.',
      "until=2025-13-01":
        'The parameter until is "2025-13-01"; valid is ISO 8601, such as 2025-10-13T09:27:24Z, or milliseconds since 1970.',
      "since=999999999999999":
        'The parameter since is "999999999999999"; valid is ISO 8601, such as 2025-10-13T09:27:24Z, or milliseconds since 1970.',
    };
    for (const [query, message] of Object.entries(expected)) {
      expect(await errorOf(stage, query)).toEqual({
        status: 400,
        code: "PARAMETER_INVALID",
        message,
      });
    }
  });

  test("of the filter carry its own text", async () => {
    const stage = await new Stage().open();
    const { status, code, message } = await errorOf(stage, "level=LOUD");
    expect(status).toBe(400);
    expect(code).toBe("FILTER_INVALID");
    expect(message).toMatch(
      /^The filter term "level:LOUD" is not understood: the level is one of DEBUG, /,
    );
  });

  test("tell that a cursor is of another epoch", async () => {
    const stage = await new Stage().open();
    await stage.log({});
    expect(await errorOf(stage, "cursor=other-epoch:1")).toEqual({
      status: 410,
      code: "CURSOR_GONE",
      message:
        "The cursor is from before a restart that began a new numbering. Start again without a cursor.",
    });
  });

  test("tell upwards that records after a cursor are gone, where an answer would hide a hole", async () => {
    const stage = await new Stage({ tailBytesMax: 5_000 }).open();
    await stage.log(...numbered(10));
    const { next_cursor: cursor } = await pageOf(stage, { order: "asc", limit: 5 });
    for (let batch = 0; batch < 10; batch++) await stage.log(...numbered(10));
    const { oldest } = stage.journal;
    expect(await errorOf(stage, `order=asc&cursor=${cursor}`)).toEqual({
      status: 410,
      code: "CURSOR_GONE",
      message: `The records 6 to ${oldest - 1} after the cursor are no longer in memory. Start again without a cursor.`,
    });
    expect(await pageOf(stage, { cursor: cursor! })).toMatchObject({
      records: [],
      next_cursor: null,
    });
  });

  test("of random parameters are 400 with JSON, or there are none", async () => {
    const stage = await new Stage().open();
    await stage.log(...numbered(3));
    const names = fc.oneof(
      fc.constantFrom("type", "level", "q", "since", "until", "limit", "cursor", "order"),
      fc.string(),
    );
    const property = fc.asyncProperty(
      fc.array(fc.tuple(names, fc.string({ unit: "binary" })), { maxLength: 4 }),
      async (pairs) => {
        const { status, body } = await ask(`${stage.url}/api/logs?${new URLSearchParams(pairs)}`);
        expect([200, 400]).toContain(status);
        const parsed = JSON.parse(body);
        expect(parsed).toHaveProperty(status === 400 ? "error.message" : "records");
      },
    );
    await fc.assert(property, { numRuns: 200 });
  });
});
