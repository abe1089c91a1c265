/** Runs every row of docs/reference/filters.md on a gateway: in the journal, and in a live subscription. */

import { LoggingManager } from "tailgate";
import { HistoryError, LogHistory, LogStream } from "tailgate/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hintsOf } from "../../src/wire/query/hints.ts";
import { Document } from "../docs/document.ts";
import { code, filterPageRecords } from "../docs/filter-page.ts";
import { tableAfter } from "../docs/table.ts";
import { Workspace } from "../harness/workspace.ts";

const page = await Document.read("docs/reference/filters.md");
const cases = [
  "Text",
  "Fields",
  "Levels, types and loggers",
  "Operators and groups",
  "Pasted text",
].flatMap((heading) => tableAfter(page, heading));
const errors = tableAfter(page, "Errors");
const hints = tableAfter(page, "Hints");

let workspace: Workspace;
let gateway: LoggingManager;
let history: LogHistory;

beforeAll(async () => {
  workspace = await Workspace.create();
  gateway = await LoggingManager.start({
    port: 0,
    logDir: workspace.path("logs"),
    logLevel: "DEBUG",
    receivers: { otlp: { port: null } },
    exporters: { websocket: {} },
    registerGlobally: false,
    write: () => {},
  });
  history = new LogHistory({ url: gateway.url });
  const response = await fetch(`${gateway.url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: filterPageRecords(page),
  });
  if (!response.ok) throw new Error(await response.text());
});

afterAll(async () => {
  await gateway.stop();
  await workspace[Symbol.asyncDispose]();
});

async function found(filter: Record<string, string>): Promise<string> {
  const { entries } = await history.page({ filter, order: "asc" });
  return entries.map(({ sequence }) => sequence).join(", ") || "none";
}

/** Returns what a subscription with the filter starts with. */
async function replayed(q: string): Promise<string> {
  const sequences: number[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const stream = new LogStream({ url: gateway.url, filter: { q }, start: { replay: 100 } });
  stream.listen((event) => {
    if (event.type === "records") sequences.push(...event.entries.map(({ sequence }) => sequence));
    if (event.type === "caught_up") resolve();
  });
  await promise;
  stream.close();
  return sequences.join(", ") || "none";
}

describe("the filter", () => {
  test.each(cases.map(([filter, , finds]) => [code(filter!), finds!]))(
    "%s finds %s",
    async (q, finds) => {
      expect(await found({ q })).toBe(finds);
      expect(await replayed(q)).toBe(finds);
    },
  );
});

describe("the invalid filter", () => {
  test.each(errors.map(([filter, message]) => [code(filter!), code(message!)]))(
    "%s: %s",
    async (q, text) => {
      const error = await history.page({ filter: { q } }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(HistoryError);
      expect(error).toMatchObject({ status: 400, code: "FILTER_INVALID" });
      expect((error as Error).message).toContain(text);
    },
  );
});

test.each(hints.map(([filter, hint]) => [code(filter!), code(hint!)]))(
  "the filter %s has the hint %s",
  (q, text) => {
    expect(hintsOf(q, ["instance_id"]).map((hint) => hint.text)).toEqual([
      expect.stringContaining(text),
    ]);
  },
);

test("parameters are the terms of the same name", async () => {
  const [, parameters, q] = /`(type=\S+)` is the same as `q=([^`]+)`/.exec(page.text)!;
  const filter = Object.fromEntries(new URLSearchParams(parameters));
  expect(await found(filter)).toBe(await found({ q: q! }));
  expect(await found(filter)).toBe("6");
});

test("the stated limits are the real ones", async () => {
  const limits = tableAfter(page, "Limits").map(([, value]) => Number(value));
  const [termsMax, charactersMax, depthMax] = limits as [number, number, number];
  await found({ q: "a ".repeat(termsMax) });
  await expect(found({ q: "a ".repeat(termsMax + 1) })).rejects.toThrow(`at most ${termsMax} `);
  await found({ q: "a".repeat(charactersMax) });
  const tooLong = "a".repeat(charactersMax + 1);
  await expect(found({ q: tooLong })).rejects.toThrow(`at most ${charactersMax} `);
  const nested = (depth: number): string => `${"(".repeat(depth)}a${")".repeat(depth)}`;
  await found({ q: nested(depthMax) });
  await expect(found({ q: nested(depthMax + 1) })).rejects.toThrow(`deeper than ${depthMax}`);
});
