/** Runs every row of the filter page: what each term finds, what is rejected, and the command. */

import { LoggingManager } from "tailgate";
import { HistoryError, LogHistory, LogStream } from "tailgate/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { tableAfter } from "./table.ts";

const page = await Document.read("docs/reference/filters.md");
const records = tableAfter(page, "Terms");
const terms = tableAfter(page, "What each term finds");
const errors = tableAfter(page, "Errors");

const SEVERITIES: Readonly<Record<string, number>> = {
  INFO: 9,
  WARNING: 13,
  ERROR: 17,
  CRITICAL: 21,
};

let workspace: Workspace;
let gateway: LoggingManager;
let history: LogHistory;

/** Returns the code in a cell. */
function code(cell: string): string {
  return /`(.*)`/.exec(cell)?.[1] ?? "";
}

function attribute([key, value]: [string, unknown]): object {
  return { key, value: anyValue(value) };
}

function anyValue(value: unknown): object {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "number") return { intValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  return { kvlistValue: { values: Object.entries(value as object).map(attribute) } };
}

beforeAll(async () => {
  workspace = await Workspace.create();
  gateway = await LoggingManager.start({
    port: 0,
    logDir: workspace.path("logs"),
    receivers: { otlp: { port: null } },
    exporters: { websocket: {} },
    registerGlobally: false,
    write: () => {},
  });
  history = new LogHistory({ url: gateway.url });
  const resourceLogs = records.map(([number, logger, level, message, attributes]) => ({
    // The page says so of this record.
    resource: { attributes: number === "2" ? [attribute(["host.name", "web-1"])] : [] },
    scopeLogs: [
      {
        scope: { name: code(logger!) },
        logRecords: [
          {
            timeUnixNano: `${1_760_347_644_000 + Number(number)}000000`,
            severityNumber: SEVERITIES[level!],
            body: { stringValue: code(message!) },
            attributes: Object.entries(JSON.parse(code(attributes!) || "{}") as object).map(
              attribute,
            ),
          },
        ],
      },
    ],
  }));
  const response = await fetch(`${gateway.url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs }),
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

describe("the term", () => {
  test.each(terms.map(([term, , finds]) => [code(term!), finds!]))(
    "%s finds %s",
    async (q, finds) => {
      expect(await found({ q })).toBe(finds);
      expect(await replayed(q)).toBe(finds);
    },
  );
});

describe("the invalid filter", () => {
  test.each(errors.map(([term, message]) => [code(term!), code(message!)]))(
    "%s",
    async (q, text) => {
      const error = await history.page({ filter: { q } }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(HistoryError);
      expect(error).toMatchObject({ status: 400, code: "FILTER_INVALID" });
      expect((error as Error).message).toContain(text);
    },
  );
});

test("other languages' operators are text", async () => {
  const stated = tableAfter(page, "What the language cannot express").map(([cell]) => code(cell!));
  expect(stated.filter((q) => q !== "")).toHaveLength(6);
  for (const q of stated)
    expect(await found(q === "" ? { q: "no such text" } : { q })).toBe("none");
});

test("parameters are the terms of the same name", async () => {
  const [, parameters, q] = /`(type=\S+)` is the same as `q=([^`]+)`/.exec(page.text)!;
  const filter = Object.fromEntries(new URLSearchParams(parameters));
  expect(await found(filter)).toBe(await found({ q: q! }));
  expect(await found(filter)).toBe("6");
});

test("the stated limits are the real ones", async () => {
  const limits = tableAfter(page, "Limits").map(([, value]) => Number(value));
  const [termsMax, charactersMax] = limits as [number, number];
  await found({ q: "a ".repeat(termsMax) });
  await expect(found({ q: "a ".repeat(termsMax + 1) })).rejects.toThrow(`at most ${termsMax} `);
  await found({ q: "a".repeat(charactersMax) });
  const tooLong = "a".repeat(charactersMax + 1);
  await expect(found({ q: tooLong })).rejects.toThrow(`at most ${charactersMax} `);
});

test("the command shows what it says", async () => {
  const main = `"${process.execPath}" "${repositoryPath("dist/cli/main.js")}"`;
  const script = page.example("filters-tail").replace("npx tailgate", main);
  const env = { ORCHESTRATOR_PORT: new URL(gateway.url).port };
  const shown = await Program.run("bash", ["-c", script], { cwd: workspace.directory, env });
  expect(shown.trimEnd().split("\n")).toHaveLength(3);
  expect(shown).toContain("High memory usage detected");
});
