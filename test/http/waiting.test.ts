/** /api/logs?wait: requests that stay open until there is something to be answered. */

import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { MemoryJournal } from "../../src/journal/memory.ts";
import { emptyPage } from "../../src/journal/pages.ts";
import type { JournalPage, JournalQuery, LogRecord } from "tailgate/plugin";
import { ask, Stage, type Answer } from "../harness/http-server.ts";

/** Longer than any test takes: what is answered was answered for another reason. */
const LONG = "order=asc&wait=30";

const WAITING_MAX = 100;

interface Page {
  readonly epoch: string;
  readonly records: readonly { readonly sequence: number }[];
  readonly gaps: readonly object[];
  readonly next_cursor: string | null;
}

function askFor(stage: Stage, query: string): Promise<Answer> {
  return ask(`${stage.url}/api/logs?${query}`);
}

/** What an answer says, shortly: sequences, and where it goes on. */
function told({ status, body }: Answer): object {
  const { records, gaps, next_cursor: cursor } = JSON.parse(body) as Page;
  const sequences = records.map(({ sequence }) => sequence);
  return { status, sequences, gaps, next: cursor && Number(cursor.split(":").at(-1)) };
}

function tells(sequences: readonly number[], next: number | null): object {
  return { status: 200, sequences, gaps: [], next };
}

async function metricOf(stage: Stage, name: string): Promise<number> {
  const { body } = await ask(`${stage.url}/metrics`);
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(body)![1]);
}

/** Resolves when so many requests wait. */
async function waiting(stage: Stage, count: number): Promise<void> {
  await vi.waitFor(async () => expect(await metricOf(stage, "tailgate_http_waiting")).toBe(count), {
    timeout: 10_000,
    interval: 5,
  });
}

const audit: Partial<LogRecord> = {
  scope: { name: "orchestrator.audit", version: "", attributes: new Map() },
};

describe("a request that waits", () => {
  test.each([
    ["a system log", {}],
    ["an audit event", audit],
  ])("is answered when %s comes, and nothing of the answer before", async (_name, record) => {
    const stage = await new Stage().open();
    const socket = connect(stage.port, "127.0.0.1");
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    const head = "Host: localhost\r\nConnection: close";
    socket.write(`GET /api/logs?${LONG} HTTP/1.1\r\n${head}\r\n\r\n`);
    await waiting(stage, 1);
    expect(socket.bytesRead).toBe(0);
    await stage.log(record);
    await vi.waitFor(() => expect(socket.closed).toBe(true));
    expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*"sequence":1,/);
    await waiting(stage, 0);
  });

  test("stays over records that do not match, looks at each once, and goes on behind the last", async () => {
    const journal = new ReadJournal();
    const stage = await new Stage({ journal }).open();
    await stage.log({}, {});
    const answer = askFor(stage, `${LONG}&q=wanted`);
    await waiting(stage, 1);
    for (const body of ["another", "one more"]) {
      await stage.log({ body });
      await vi.waitFor(() => expect(journal.reads.at(-1)).toBe(journal.newest));
      await waiting(stage, 1);
    }
    await stage.log({}, { body: "wanted" }, {});
    expect(told(await answer)).toEqual(tells([6], 8));
    expect(journal.reads).toEqual([1, 3, 4, 5]);
  });

  test("is answered with nothing when its time is over, and the cursor leads on", async () => {
    const stage = await new Stage().open();
    await stage.log({}, {});
    const { body } = await askFor(stage, "order=asc&wait=0.02&q=wanted");
    const { epoch } = stage.journal;
    const nothing = { epoch, records: [], gaps: [], next_cursor: `${epoch}:3` };
    expect(JSON.parse(body)).toEqual(nothing);
    const next = askFor(stage, `${LONG}&q=wanted&cursor=${epoch}:3`);
    await waiting(stage, 1);
    await stage.log({ body: "wanted" });
    expect(told(await next)).toEqual(tells([3], 4));
  });

  test("is answered at once where there is something, and has a cursor at the end of the journal", async () => {
    const stage = await new Stage().open();
    await stage.log({}, {});
    expect(told(await askFor(stage, LONG))).toEqual(tells([1, 2], 3));
    expect(told(await askFor(stage, "order=asc&wait=0"))).toEqual(tells([1, 2], 3));
    expect(told(await askFor(stage, "order=asc&wait=0&q=wanted"))).toEqual(tells([], 3));
    expect(told(await askFor(stage, "order=asc"))).toEqual(tells([1, 2], null));
    const lines = await askFor(stage, `${LONG}&format=ndjson`);
    expect(lines.headers["x-next-cursor"]).toBe(`${stage.journal.epoch}:3`);
  });

  test("is told at once of what was lost", async () => {
    const stage = await new Stage({ tailBytesMax: 1 }).open();
    await stage.log({}, {});
    await stage.log({});
    const gaps = [{ from: 1, to: 2, reason: "retention" }];
    expect(told(await askFor(stage, `${LONG}&q=wanted`))).toEqual({ ...tells([], 4), gaps });
  });

  test("takes no place any more when its client has left", async () => {
    const stage = await new Stage().open();
    const request = httpRequest(`${stage.url}/api/logs?${LONG}`, { agent: false });
    request.on("error", () => {});
    request.end();
    await waiting(stage, 1);
    request.destroy();
    await waiting(stage, 0);
    await expect(stage.server.close(new AbortController().signal)).resolves.toBeUndefined();
  });

  test("is answered when the gateway stops, and holds nothing up", async () => {
    const stage = await new Stage().open();
    await stage.log({});
    const answer = askFor(stage, `${LONG}&q=wanted`);
    await waiting(stage, 1);
    stage.server.stopAccepting();
    expect(told(await answer)).toEqual(tells([], 2));
    await expect(stage.server.close(new AbortController().signal)).resolves.toBeUndefined();
  });

  test(`is answered at once where ${WAITING_MAX} wait already, which is counted`, async () => {
    const stage = await new Stage().open();
    const answers = Array.from({ length: WAITING_MAX }, () => askFor(stage, LONG));
    await waiting(stage, WAITING_MAX);
    expect(told(await askFor(stage, LONG))).toEqual(tells([], 1));
    expect(await metricOf(stage, "tailgate_http_waiting_refused_total")).toBe(1);
    await stage.log({});
    for (const answer of answers) expect(told(await answer)).toEqual(tells([1], 2));
    expect(await metricOf(stage, "tailgate_http_waiting_refused_total")).toBe(1);
  });

  test("is answered in the numbering in which it began, when there is another one", async () => {
    const journal = new ReadJournal();
    const stage = await new Stage({ journal }).open();
    await stage.log({});
    const { epoch } = journal;
    const answer = askFor(stage, `${LONG}&q=wanted`);
    await waiting(stage, 1);
    journal.epoch = crypto.randomUUID();
    await stage.log({ body: "wanted" });
    const nothing = { epoch, records: [], gaps: [], next_cursor: `${epoch}:2` };
    expect(JSON.parse((await answer).body)).toEqual(nothing);
  });
});

test("who comes with another numbering is answered at once", async () => {
  const journal = new ReadJournal();
  const stage = await new Stage({ journal }).open();
  const { epoch: known } = journal;
  await stage.log({});
  journal.epoch = crypto.randomUUID();
  journal.known = known;
  const { body } = await askFor(stage, `${LONG}&cursor=${known}:2`);
  const { epoch } = journal;
  expect(JSON.parse(body)).toEqual({ epoch, records: [], gaps: [], next_cursor: `${epoch}:2` });
});

test.each(["order=asc", LONG])(
  "records that cannot be read yet are not the end of the journal: %s",
  async (query) => {
    const journal = new ReadJournal();
    const stage = await new Stage({ journal }).open();
    await stage.log({}, {});
    journal.unreadable = 1;
    const { body } = await askFor(stage, query);
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
])("%s is refused", async (query, message) => {
  const stage = await new Stage().open();
  const { status, body } = await askFor(stage, query);
  expect(status).toBe(400);
  expect(JSON.parse(body)).toEqual({ error: { code: "PARAMETER_INVALID", message } });
});

/** A journal in memory that notes where it is read, and can fail to give what it has. */
class ReadJournal extends MemoryJournal {
  override epoch: MemoryJournal["epoch"] = crypto.randomUUID();
  readonly reads: number[] = [];
  unreadable = 0;
  /** An epoch of before, of which it has everything. */
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
