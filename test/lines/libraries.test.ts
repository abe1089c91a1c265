import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { lineParser, type ParsedLine } from "tailgate/plugin";
import { callSiteOf } from "../../src/envelope/call-site.ts";
import { rankOf } from "../../src/envelope/prefix.ts";
import { LEVELS } from "../../src/wire/envelope.ts";

const parser = lineParser({ timeZone: "UTC" });

function parseFixture(name: string): ParsedLine[] {
  const text = readFileSync(new URL(`fixtures/${name}`, import.meta.url), "utf8");
  return text.split("\n").slice(0, -1).map(parser.parse);
}

/** `format level logger message`, the level as the envelope gets it. */
function summary({ format, severity, logger, body }: ParsedLine): string {
  const level = severity && LEVELS[rankOf(severity.number, severity.text)];
  return [format, level ?? "-", logger ?? "-", body as string].join(" ");
}

const SUMMARIES: Readonly<Record<string, readonly string[]>> = {
  "pino.jsonl": [
    "json INFO shop.cart plain",
    "json WARNING shop.cart with fields",
    "json ERROR shop.cart failed",
    "json CRITICAL shop.cart end",
    "json INFO shop.cart ",
  ],
  "bunyan.jsonl": [
    "json INFO shop plain",
    "json WARNING shop with fields",
    "json ERROR shop failed",
    "json DEBUG shop t",
    "json CRITICAL shop end",
  ],
  "winston.jsonl": [
    "json INFO - plain",
    "json WARNING - with fields",
    "json ERROR - boom",
    "json DEBUG - s",
    "json DEBUG - v",
    "json DEBUG - h",
  ],
  "structlog.jsonl": [
    "json INFO - plain",
    "json WARNING - with fields",
    "json ERROR - failed",
    'json CRITICAL - end "quoted" = x',
  ],
  "structlog.logfmt": [
    "logfmt INFO - plain",
    "logfmt WARNING - with fields",
    "logfmt ERROR - failed",
    'logfmt CRITICAL - end "quoted" = x',
  ],
  "structlog-console.log": [
    "text INFO - plain",
    "text WARNING - with fields                    n=3 nested={'a': [1, None]} user=ada",
    "text ERROR - failed",
    "text - - Traceback (most recent call last):",
    'text - -   File "/srv/gen.py", line 11, in run',
    "text - -     try: 1/0",
    "text - -          ~^~",
    "text - - ZeroDivisionError: division by zero",
    'text CRITICAL - end "quoted" = x',
  ],
  "loguru.jsonl": [
    "json INFO __main__ plain",
    "json WARNING __main__ with fields",
    "json INFO __main__ done",
    "json ERROR __main__ failed",
    "json CRITICAL __main__ end",
  ],
  "python-json-logger.jsonl": [
    "json INFO shop.cart plain",
    "json WARNING shop.cart with fields",
    "json ERROR shop.cart failed",
    "json CRITICAL shop.cart end",
    "json INFO shop.cart custom",
  ],
  "slog.jsonl": [
    "json INFO - plain",
    "json WARNING - with fields",
    "json ERROR - failed",
    "json INFO - between",
  ],
  "slog.logfmt": ["logfmt INFO - plain", "logfmt WARNING - with fields", "logfmt ERROR - failed"],
  "logrus.logfmt": ["logfmt INFO - plain", "logfmt WARNING - with fields", "logfmt ERROR - failed"],
  "zap.jsonl": [
    "json INFO shop.cart plain",
    "json WARNING shop.cart with fields",
    "json ERROR shop.cart failed",
    "json CRITICAL shop.cart end",
  ],
  "zerolog.jsonl": [
    "json INFO - plain",
    "json WARNING - with fields",
    "json ERROR - failed",
    "json DEBUG - t",
    "json INFO - unix ms",
  ],
  "klog.log": [
    "klog INFO - plain",
    "klog WARNING - careful",
    'klog ERROR - "failed" err="boom" user="ada"',
  ],
};

test.each(Object.entries(SUMMARIES))("%s: format, level, logger and message", (name, expected) => {
  expect(parseFixture(name).map(summary)).toEqual(expected);
});

test.each(["loguru.log", "python-dash.log", "python-basic.log"])(
  "%s: level, logger and message at the head of a text",
  (name) => {
    const heads = parseFixture(name).filter(({ logger }) => logger !== undefined);
    const summaries = heads.map((line) => summary(line).replace(/ (__main__|shop\.cart)/, ""));
    const last = name === "loguru.log" ? [] : ["text INFO custom"];
    const success = name === "loguru.log" ? ["text INFO done"] : [];
    expect(summaries).toEqual([
      "text INFO plain",
      "text WARNING with fields",
      ...success,
      "text ERROR failed",
      "text CRITICAL end",
      ...last,
    ]);
  },
);

test("all times but those of formats without one are found", () => {
  const first = (name: string): string | undefined => {
    const nanos = parseFixture(name)[0]!.timestamp;
    return nanos === undefined ? undefined : new Date(Number(nanos / 1_000_000n)).toJSON();
  };
  const times = Object.keys(SUMMARIES).map((name) => first(name)?.slice("2026".length, -8));
  expect(new Set(times)).toEqual(new Set(["-11-30T22:16"]));
  expect(first("python-dash.log")).toBe("2026-11-30T22:16:24.574Z");
  expect(first("python-basic.log")).toBeUndefined();
  // More digits than a double has.
  expect(parseFixture("slog.jsonl")[0]!.timestamp! % 1_000_000_000n).toBe(179442413n);
});

test("call sites and exceptions get the names of the conventions", () => {
  const site = (name: string): unknown => {
    const { attributes } = parseFixture(name)[0]!;
    return callSiteOf((key) => attributes.get(key));
  };
  expect(site("zap.jsonl")).toEqual({ module: "main", function: "", line: 8 });
  expect(site("zerolog.jsonl")).toEqual({ module: "main", function: "", line: 9 });
  expect(site("slog.jsonl")).toEqual({ module: "main", function: "main", line: 6 });
  expect(site("loguru.jsonl")).toEqual({ module: "gen", function: "<module>", line: 18 });
  expect(site("klog.log")).toEqual({ module: "main", function: "", line: 11 });
  expect(site("python-json-logger-full.jsonl")).toEqual({
    module: "gen",
    function: "py",
    line: 24,
  });
  const names = ["pino", "bunyan", "winston", "structlog", "python-json-logger", "loguru"];
  const stacks = names.map((name) => {
    const found = parseFixture(`${name}.jsonl`).map(({ attributes }) =>
      attributes.get("exception.stacktrace"),
    );
    return found.filter((stack) => typeof stack === "string" && stack.includes("\n")).length;
  });
  expect(stacks).toEqual([1, 1, 1, 1, 1, 1]);
});

test("integers keep all their digits, and NaN is no reason to give up", () => {
  const [, slog] = parseFixture("slog.jsonl");
  expect(slog!.attributes.get("g")).toEqual(new Map([["big", 9007199254740993n]]));
  const [, zap] = parseFixture("zap.jsonl");
  expect(zap!.attributes.get("big")).toBe("18446744073709551615");
  const [, python] = parseFixture("python-json-logger.jsonl");
  expect([...python!.attributes]).toEqual([
    ["user", "ada"],
    ["ratio", "NaN"],
    ["big", "1180591620717411303424"],
  ]);
});
