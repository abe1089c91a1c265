/** /api/logs?wait: requests that stay open until there is something to return. */

import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { MemoryJournal } from "../../src/journal/memory.ts";
import { emptyPage } from "../../src/journal/pages.ts";
import type { JournalPage, JournalQuery, LogRecord } from "tailgate/plugin";
import { ask, HttpHarness, type Answer } from "../harness/http-server.ts";

/** Longer than any test takes, so a response has another reason. */
const LONG = "order=asc&wait=30";

const WAITING_MAX = 100;

interface Page {
  readonly epoch: string;
  readonly records: readonly { readonly sequence: number }[];
  readonly gaps: readonly object[];
  readonly next_cursor: string | null;
}

function askFor(harness: HttpHarness, query: string): Promise<Answer> {
  return ask(`${harness.url}/api/logs?${query}`);
}

/** Summarizes a response: its sequences and its cursor. */
function summaryOf({ status, body }: Answer): object {
  const { records, gaps, next_cursor: cursor } = JSON.parse(body) as Page;
  const sequences = records.map(({ sequence }) => sequence);
  return { status, sequences, gaps, next: cursor && Number(cursor.split(":").at(-1)) };
}

function summary(sequences: readonly number[], next: number | null): object {
  return { status: 200, sequences, gaps: [], next };
}

async function metricOf(harness: HttpHarness, name: string): Promise<number> {
  const { body } = await ask(`${harness.url}/metrics`);
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(body)![1]);
}

/** Resolves when this many requests wait. */
async function waiting(harness: HttpHarness, count: number): Promise<void> {
  await vi.waitFor(
    async () => expect(await metricOf(harness, "tailgate_http_waiting")).toBe(count),
    {
      timeout: 10_000,
      interval: 5,
    },
  );
}

const audit: Partial<LogRecord> = {
  scope: { name: "orchestrator.audit", version: "", attributes: new Map() },
};

describe("a waiting request", () => {
  test.each([
    ["a system log", {}],
    ["an audit event", audit],
  ])("is answered when %s arrives, and not before", async (_name, record) => {
    const harness = await new HttpHarness().open();
    const socket = connect(harness.port, "127.0.0.1");
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    const head = "Host: localhost\r\nConnection: close";
    socket.write(`GET /api/logs?${LONG} HTTP/1.1\r\n${head}\r\n\r\n`);
    await waiting(harness, 1);
    expect(socket.bytesRead).toBe(0);
    await harness.log(record);
    await vi.waitFor(() => expect(socket.closed).toBe(true));
    expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*"sequence":1,/);
    await waiting(harness, 0);
  });

  test("skips records that do not match, scans each once, and resumes after the last", async () => {
    const journal = new ReadJournal();
    const harness = await new HttpHarness({ journal }).open();
    await harness.log({}, {});
    const answer = askFor(harness, `${LONG}&q=wanted`);
    await waiting(harness, 1);
    for (const body of ["another", "one more"]) {
      await harness.log({ body });
      await vi.waitFor(() => expect(journal.reads.at(-1)).toBe(journal.newest));
      await waiting(harness, 1);
    }
    await harness.log({}, { body: "wanted" }, {});
    expect(summaryOf(await answer)).toEqual(summary([6], 8));
    expect(journal.reads).toEqual([1, 3, 4, 5]);
  });

  test("is answered empty at its timeout, with a cursor to continue", async () => {
    const harness = await new HttpHarness().open();
    await harness.log({}, {});
    const { body } = await askFor(harness, "order=asc&wait=0.02&q=wanted");
    const { epoch } = harness.journal;
    const nothing = { epoch, records: [], gaps: [], next_cursor: `${epoch}:3` };
    expect(JSON.parse(body)).toEqual(nothing);
    const next = askFor(harness, `${LONG}&q=wanted&cursor=${epoch}:3`);
    await waiting(harness, 1);
    await harness.log({ body: "wanted" });
    expect(summaryOf(await next)).toEqual(summary([3], 4));
  });

  test("is answered at once if there are records, and gets a cursor at the end of the journal", async () => {
    const harness = await new HttpHarness().open();
    await harness.log({}, {});
    expect(summaryOf(await askFor(harness, LONG))).toEqual(summary([1, 2], 3));
    expect(summaryOf(await askFor(harness, "order=asc&wait=0"))).toEqual(summary([1, 2], 3));
    expect(summaryOf(await askFor(harness, "order=asc&wait=0&q=wanted"))).toEqual(summary([], 3));
    expect(summaryOf(await askFor(harness, "order=asc"))).toEqual(summary([1, 2], null));
    const lines = await askFor(harness, `${LONG}&format=ndjson`);
    expect(lines.headers["x-next-cursor"]).toBe(`${harness.journal.epoch}:3`);
  });

  test("is answered at once with a gap", async () => {
    const harness = await new HttpHarness({ tailBytesMax: 1 }).open();
    await harness.log({}, {});
    await harness.log({});
    const gaps = [{ from: 1, to: 2, reason: "retention" }];
    expect(summaryOf(await askFor(harness, `${LONG}&q=wanted`))).toEqual({
      ...summary([], 4),
      gaps,
    });
  });

  test("frees its slot when its client disconnects", async () => {
    const harness = await new HttpHarness().open();
    const request = httpRequest(`${harness.url}/api/logs?${LONG}`, { agent: false });
    request.on("error", () => {});
    request.end();
    await waiting(harness, 1);
    request.destroy();
    await waiting(harness, 0);
    await expect(harness.server.close(new AbortController().signal)).resolves.toBeUndefined();
  });

  test("is answered when the gateway stops, and does not delay it", async () => {
    const harness = await new HttpHarness().open();
    await harness.log({});
    const answer = askFor(harness, `${LONG}&q=wanted`);
    await waiting(harness, 1);
    harness.server.stopAccepting();
    expect(summaryOf(await answer)).toEqual(summary([], 2));
    await expect(harness.server.close(new AbortController().signal)).resolves.toBeUndefined();
  });

  test(`is answered at once if ${WAITING_MAX} are already waiting, which is counted`, async () => {
    const harness = await new HttpHarness().open();
    const answers = Array.from({ length: WAITING_MAX }, () => askFor(harness, LONG));
    await waiting(harness, WAITING_MAX);
    expect(summaryOf(await askFor(harness, LONG))).toEqual(summary([], 1));
    expect(await metricOf(harness, "tailgate_http_waiting_refused_total")).toBe(1);
    await harness.log({});
    for (const answer of answers) expect(summaryOf(await answer)).toEqual(summary([1], 2));
    expect(await metricOf(harness, "tailgate_http_waiting_refused_total")).toBe(1);
  });

  test("is answered in the epoch in which it began, even after an epoch change", async () => {
    const journal = new ReadJournal();
    const harness = await new HttpHarness({ journal }).open();
    await harness.log({});
    const { epoch } = journal;
    const answer = askFor(harness, `${LONG}&q=wanted`);
    await waiting(harness, 1);
    journal.epoch = crypto.randomUUID();
    await harness.log({ body: "wanted" });
    const nothing = { epoch, records: [], gaps: [], next_cursor: `${epoch}:2` };
    expect(JSON.parse((await answer).body)).toEqual(nothing);
  });
});

test("a request with a cursor of another epoch is answered at once", async () => {
  const journal = new ReadJournal();
  const harness = await new HttpHarness({ journal }).open();
  const { epoch: known } = journal;
  await harness.log({});
  journal.epoch = crypto.randomUUID();
  journal.known = known;
  const { body } = await askFor(harness, `${LONG}&cursor=${known}:2`);
  const { epoch } = journal;
  expect(JSON.parse(body)).toEqual({ epoch, records: [], gaps: [], next_cursor: `${epoch}:2` });
});

test.each(["order=asc", LONG])(
  "records that cannot be read yet are not the end of the journal: %s",
  async (query) => {
    const journal = new ReadJournal();
    const harness = await new HttpHarness({ journal }).open();
    await harness.log({}, {});
    journal.unreadable = 1;
    const { body } = await askFor(harness, query);
    const { records, next_cursor: cursor } = JSON.parse(body) as Page;
    if (query === LONG) expect(records).toHaveLength(2);
    else expect({ records, cursor }).toEqual({ records: [], cursor: `${journal.epoch}:1` });
  },
);

test.each([
  ["order=asc&wait=31", 'The parameter wait is "31"; expected 0 to 30 seconds.'],
  ["order=asc&wait=soon", 'The parameter wait is "soon"; expected 0 to 30 seconds.'],
  ["order=asc&wait=-1", 'The parameter wait is "-1"; expected 0 to 30 seconds.'],
  ["wait=1", "The parameter wait needs order=asc: new records follow the existing ones."],
])("rejects %s", async (query, message) => {
  const harness = await new HttpHarness().open();
  const { status, body } = await askFor(harness, query);
  expect(status).toBe(400);
  expect(JSON.parse(body)).toEqual({ error: { code: "PARAMETER_INVALID", message } });
});

/** An in-memory journal that records its reads, and can fail to return what it has. */
class ReadJournal extends MemoryJournal {
  override epoch: MemoryJournal["epoch"] = crypto.randomUUID();
  readonly reads: number[] = [];
  unreadable = 0;
  /** A previous epoch, of which it has everything. */
  known = "";

  override read(query: JournalQuery): Promise<JournalPage> {
    this.reads.push(query.from);
    if (this.unreadable-- > 0) return Promise.resolve(emptyPage(query.from));
    return super.read(query);
  }

  override sharedUpTo(epoch: string, sequence: number): number | undefined {
    return super.sharedUpTo(epoch === this.known ? this.epoch : epoch, sequence);
  }
}
