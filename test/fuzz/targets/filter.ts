import { FILTER_PARAMETERS, parseFilter, type Filter } from "tailgate/plugin";
import { TailgateError } from "tailgate";
import type { Batch } from "tailgate/plugin";
import { batchOf } from "tailgate/testing";
import { mutated } from "../mutation.ts";
import { lengthOf, type Random } from "../random.ts";
import { same, type FuzzTarget, type Timed } from "../target.ts";

/** Filters in the query of a request. Each is rejected, or has a bounded cost and matches the right records. */
export function filter(): FuzzTarget {
  const batch = batchOf(RECORDS.map((record) => ({ ...record })));
  return {
    input: (random) => {
      const query = filterQuery(random);
      return random.once(3) ? mutated(Buffer.from(query), random) : Buffer.from(query);
    },
    check: (input, timed) => check(Buffer.from(input).toString(), batch, timed),
  };
}

const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };

/** Records for each kind of term, and nested values whose names contain dots. */
const RECORDS = [
  { body: "High memory usage detected", severityNumber: 13 },
  { body: "ünïcode \u2028 😀", severityNumber: 5, attributes: new Map([["a.b", 1]]) },
  {
    body: "",
    severityNumber: 21,
    attributes: new Map<string, never>([
      ["a", new Map([["a", new Map([["a", "x"]])]]) as never],
      ["a.a", new Map([["a", "y"]]) as never],
      ["list", [1, "two", null, true] as never],
    ]),
  },
  {
    scope: AUDIT,
    body: "worker spawned",
    attributes: new Map<string, never>([
      ["event_type", "instance.spawn" as never],
      ["details", new Map([["role", "worker"]]) as never],
    ]),
  },
];

const TEXTS = ["memory", "HIGH", "ünï", "worker", "x", "1", "true", "null", "", "two", "😀"];
const FIELDS = [
  ...["level", "logger", "type", "message", "action", "a", "a.a", "a.a.a", "a.b", "details.role"],
  ...["metadata.details.role", "list", "list.0", "__proto__", "constructor", "timestamp", "."],
];
const VALUES = [
  ...["WARNING", "=WARNING", "INFO", "audit", "system_log", "orchestrator", "orchestrator.audit"],
  ...["instance.spawn", "worker", "x", "1", "nonsense"],
];

/** One filter in this many is made to be slow. */
const COSTLY_EVERY = 40;
const COSTLY_LENGTHS = [20, 30, 50, 400, 2000, 4096, 4097, 15_000];

/** Returns a URL-encoded query with a filter. */
export function filterQuery(random: Random): string {
  const query = new URLSearchParams();
  if (random.once(6)) query.set("type", random.pick(["audit", "system_log", "", "log", "AUDIT"]));
  if (random.once(6)) query.set("level", random.pick(VALUES));
  if (random.once(6)) query.set("logger", random.once(3) ? text(random) : "orchestrator");
  if (!random.once(8)) query.set("q", random.once(COSTLY_EVERY) ? costly(random) : terms(random));
  return query.toString();
}

function terms(random: Random): string {
  return random.list(6, () => term(random)).join(random.once(10) ? " \t\u00a0" : " ");
}

function term(random: Random): string {
  const minus = random.once(4) ? "-" : "";
  if (random.once(2)) return minus + quoted(text(random), random);
  const field = random.once(6) ? text(random) : random.pick(FIELDS);
  const value = random.once(4) ? text(random) : random.pick(VALUES);
  return `${minus}${field}:${quoted(value, random)}`;
}

function quoted(value: string, random: Random): string {
  if (random.once(2)) return value;
  return `"${value.replaceAll(/["\\]/g, "\\$&")}"`;
}

function text(random: Random): string {
  if (!random.once(4)) return random.pick(TEXTS);
  const pieces = ["a", ".", ":", '"', "\\", "-", " ", "é", "\u0000", "%", "*", "(a+)+"];
  return random.pick(pieces).repeat(Math.min(lengthOf(random), 300));
}

function costly(random: Random): string {
  const length = random.pick(COSTLY_LENGTHS);
  const unit = random.pick(["a.", ".", "a.a:x ", "x ", "-x ", '"x" ', '"', "\\", "(", "é", "a:"]);
  const repeated = unit.repeat(Math.ceil(length / unit.length));
  return random.once(2) ? `${repeated}:x` : repeated;
}

function check(search: string, batch: Batch, timed: Timed): void {
  const query = queryOf(search);
  const parsed = parsedFilter(query, timed);
  if (parsed === undefined) return;
  const matching = timed(() => matches(parsed, batch));
  if (matching !== matches(parsed, batch)) throw new Error("The second run matches other records.");
  const again = parsedFilter(query, timed);
  same(again?.key ?? "", parsed.key, "The key");
  checkTerms(query, matching, batch);
}

function queryOf(search: string): Record<string, string> {
  const given = new URLSearchParams(search);
  return Object.fromEntries(
    [...given].filter(([name]) => FILTER_PARAMETERS.includes(name as never)),
  );
}

function parsedFilter(query: Record<string, string>, timed: Timed): Filter | undefined {
  try {
    return timed(() => parseFilter(query));
  } catch (error) {
    if (TailgateError.is(error, "FILTER_INVALID")) return undefined;
    throw error;
  }
}

/** Returns a digit for each record: whether it matches. */
function matches(parsed: Filter, batch: Batch): string {
  return Array.from({ length: batch.length }, (_, index) =>
    parsed.matches(batch, index) ? "1" : "0",
  ).join("");
}

/** A single word is searched in all values, ignoring case; a minus negates it. */
function checkTerms(query: Record<string, string>, matching: string, batch: Batch): void {
  const word = /^(-?)([a-z]+)$/i.exec(query["q"] ?? "");
  if (word === null || Object.values(query).filter(Boolean).length > 1) return;
  const [, minus, wanted] = word;
  const expected = Array.from({ length: batch.length }, (_, index) => {
    const has = valuesOf(batch.envelope(index).data).some((value) =>
      value.toLowerCase().includes(wanted!.toLowerCase()),
    );
    return has === (minus === "") ? "1" : "0";
  });
  same(matching, expected.join(""), "The list of matches");
}

function valuesOf(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [String(value)];
  return Object.values(value).flatMap(valuesOf);
}
