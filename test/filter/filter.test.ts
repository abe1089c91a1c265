import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Envelope, JsonValue } from "tailgate";
import { TailgateError } from "tailgate";
import { heldRecord, parseFilter, type FilterQuery, type RecordFields } from "tailgate/plugin";
import { parseAccessFilter } from "../../src/filter/filter.ts";
import type { FilterNode } from "../../src/wire/query/ast.ts";
import { referenceLookUp, referenceMatches } from "./reference.ts";

interface Extras {
  readonly [name: string]: JsonValue;
}

function envelopeOf(extras: Extras, type: Envelope["type"] = "system_log"): Envelope {
  const data = { timestamp: "", level: "INFO", logger: "a", message: "" } as const;
  if (type === "audit_log") return { type, data: { ...data, metadata: extras } };
  return { type, data: { ...data, module: "", function: "", line: 0, ...extras } };
}

function isMatch(query: FilterQuery | string, envelope: Envelope): boolean {
  const filter = parseFilter(typeof query === "string" ? { q: query } : query);
  const { type, data } = envelope;
  const records = {
    type: () => type,
    level: () => data.level,
    logger: () => data.logger,
    envelope: () => envelope,
  };
  return filter.matches(records, 0);
}

describe("an attribute of the resource", () => {
  const records: RecordFields = {
    type: () => "system_log",
    level: () => "INFO",
    logger: () => "a",
    envelope: () => envelopeOf({ "resource.rack": 1, tenant: "t" }),
    resourceAttributes: () => ({
      "host.name": "web-1",
      "process.pid": 4711,
      labels: { zone: "a", "b.c": [1, "x"] },
      tenant: "other",
    }),
  };

  test.each([
    ["resource.host.name:web-1", true],
    ['resource.host.name:"web-1"', true],
    ["resource.host.name:web", false],
    ["-resource.host.name:web-1", false],
    ["-resource.host.name:web-2", true],
    ["resource.process.pid:4711", true],
    ["resource.labels.zone:a", true],
    ['resource.labels.b.c:"[1,\\"x\\"]"', true],
    // A field of the record of that name, too.
    ["resource.rack:1", true],
    ["resource.tenant:other", true],
    ["tenant:other", false],
    ["web-1", false],
    ["resource.:web-1", false],
  ])("%s: %s, in filters of clients and of tokens", (q, isFound) => {
    for (const filter of [parseFilter({ q }), parseAccessFilter(q)]) {
      expect(filter.matches(records, 0)).toBe(isFound);
      expect(filter.matches(heldRecord(records, 0), 0)).toBe(isFound);
      // A view without access to the resource has no such attributes.
      const { resourceAttributes: _, ...others } = records;
      if (q.startsWith("resource.host")) expect(filter.matches(others, 0)).toBe(false);
    }
  });
});

function errorOf(query: FilterQuery): string {
  try {
    parseFilter(query);
  } catch (error) {
    expect(TailgateError.is(error, "FILTER_INVALID")).toBe(true);
    return (error as Error).message;
  }
  throw new Error("The filter was accepted.");
}

/** Returns the CPU time of `work` in ms, which does not depend on the machine's other load. */
function cpuMs(work: () => void): number {
  const start = process.threadCpuUsage();
  work();
  const { user, system } = process.threadCpuUsage(start);
  return (user + system) / 1000;
}

function quoted(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}

describe("a field", () => {
  const name = fc.array(fc.constantFrom("a", "b", "0", "", "length"), { minLength: 1 });
  const key = name.map((parts) => parts.slice(0, 4).join("."));
  const { tree } = fc.letrec<{ tree: JsonValue; object: Extras }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5, withCrossShrink: true },
      fc.constantFrom<JsonValue>("x", 'a"\\\n', 1, true, null, {}, []),
      tie("object"),
      tie("object"),
      fc.array(tie("tree"), { maxLength: 3 }),
    ),
    object: fc.dictionary(key, tie("tree"), { maxKeys: 4 }),
  }));
  const extras = fc.dictionary(key, tree, { minKeys: 1, maxKeys: 4 });
  const path = name
    .filter((parts) => parts.length <= 10)
    .map((parts) => parts.join("."))
    .filter((text) => text !== "");

  test("resolves like the reference implementation in data, metadata and details", () => {
    const property = fc.property(
      extras,
      path,
      fc.constantFrom("system_log", "audit_log", "details"),
      (given, field, kind) => {
        const envelope =
          kind === "details"
            ? envelopeOf({ details: given }, "audit_log")
            : envelopeOf(given, kind);
        const [found = "x"] = referenceLookUp(given, field);
        const text = typeof found === "string" ? found : JSON.stringify(found);
        const node: FilterNode = { kind: "field", name: field, test: { kind: "exact", text } };
        expect(isMatch(`${field}:=${quoted(text)}`, envelope)).toBe(
          referenceMatches(node, { envelope, logger: "a" }),
        );
        expect(isMatch(`${field}:=${quoted(`${text} `)}`, envelope)).toBe(false);
      },
    );
    fc.assert(property, { numRuns: 3000 });
  });

  test("is compared by its complete JSON", () => {
    const property = fc.property(fc.jsonValue({ maxDepth: 3 }), fc.nat(20), (value, cut) => {
      const json = JSON.stringify(value);
      const text = typeof value === "string" ? value : json;
      const extra = { field: JSON.parse(json) as JsonValue };
      expect(isMatch(`field:${quoted(text)}`, envelopeOf(extra))).toBe(true);
      const other = text.slice(0, cut) + text.slice(cut + 1);
      if (other === "" || other === text || /[\n\r\u2028\u2029]/.test(text)) return;
      expect(isMatch(`field:${quoted(other)}`, envelopeOf(extra))).toBe(false);
    });
    fc.assert(property, { numRuns: 1000 });
  });

  test("with 2000 dots takes linear time, even against an adversarial record", () => {
    // Each object contains the rest of the path under "a", "a.a" and "a.a.a".
    const trap = (depth: number): Extras =>
      depth === 0
        ? { b: 1 }
        : { a: trap(depth - 1), "a.a": trap(depth - 1), "a.a.a": trap(depth - 1) };
    const records = [envelopeOf({}), envelopeOf(trap(8)), envelopeOf(trap(9), "audit_log")];
    const ms = cpuMs(() => {
      for (const record of records) {
        expect(isMatch(`${"a.".repeat(2000)}a:x`, record)).toBe(false);
        expect(isMatch(`${"a.".repeat(40)}a:x`, record)).toBe(false);
      }
    });
    expect(ms).toBeLessThan(2000);
    expect(isMatch(`a.a.a.a.a.a.a.a.b:1`, envelopeOf(trap(8)))).toBe(true);
  });
});

describe("a text term", () => {
  test("of any length matches at any position", () => {
    const letters = fc.constantFrom("q", "x", "qxq", "qx".repeat(150), "q".repeat(260));
    const text = fc.array(letters, { maxLength: 12 }).map((parts) => parts.join(""));
    const property = fc.property(text, text, text, (before, wanted, after) => {
      const q = wanted.slice(0, 4096);
      if (q === "") return;
      const holds = envelopeOf({ field: `${before}${q}${after}` });
      const lacks = envelopeOf({ field: `${before}${q.slice(1)}c${after}` });
      expect(isMatch(q, holds)).toBe(true);
      expect(isMatch(q, lacks)).toBe(lacks.data["field" as "message"].includes(q));
    });
    fc.assert(property, { numRuns: 500 });
  });

  test("takes linear time against an adversarial record", () => {
    // V8's own search compares up to 2000 characters of the term at each of the million positions.
    const record = envelopeOf({ field: "a".repeat(4 << 20) });
    const ms = cpuMs(() => {
      expect(isMatch(`${"a".repeat(2000)}b${"a".repeat(2000)}`, record)).toBe(false);
    });
    expect(ms).toBeLessThan(500);
  });
});

describe("pasted text", () => {
  const messageWith = (message: string): Envelope => {
    const data = { timestamp: "", level: "INFO", logger: "a" } as const;
    return { type: "system_log", data: { ...data, message, module: "", function: "", line: 0 } };
  };

  test.each([
    "http://10.0.0.5:8080/x",
    "https://user:secret@host.example:8443/a?b=c:d#e",
    "10.0.0.5:8080",
    "localhost:8080",
    "[::1]:4317",
    "fe80::1",
    "12:30:45",
    "2025-10-13T09:27:24.339163Z",
    "file.py:42",
    "src/a/b.ts:12:5",
    "C:\\temp",
    "C:/temp",
    "c:\\Users\\new\\readme.txt",
    "\\\\server\\share",
    "std::vector",
    "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
    "sha256:9f86d081884c7d65",
    "TypeError:",
    "TypeError: x is not a function",
    "mailto:a@b.example",
    "status:500",
    ":memory:",
    "level=info msg=started",
    "running -> terminated",
    "job -- done",
    "tailgate tail --no-follow --level=debug",
  ])("%s matches its own record and no other", (text) => {
    const record = messageWith(`before ${text} after`);
    expect(isMatch(text, record)).toBe(true);
    expect(isMatch(`"${text}"`, record)).toBe(true);
    expect(isMatch(text, messageWith("something else"))).toBe(false);
    expect(isMatch(`-"${text}"`, record)).toBe(false);
    if (!/[ ]/.test(text)) expect(isMatch(`-${text}`, record)).toBe(false);
  });

  test("of any shape matches its record when quoted, and unquoted if it needs no quotes", () => {
    const piece = fc.constantFrom(
      ...["http", "a", "B7", "12", ".", ":", "://", "/", "\\", "-", ">", "=", "@", "[", "]", "%"],
      ...["level", "é", "{", "}", "'", "#", "|", " ", '"', "\n", "\\d", "file.py"],
    );
    const text = fc.array(piece, { minLength: 1, maxLength: 8 }).map((parts) => parts.join(""));
    const property = fc.property(text, text, text, (before, pasted, after) => {
      if (pasted.trim() === "") return;
      const record = messageWith(`${before} ${pasted} ${after}`);
      expect(isMatch(quoted(pasted), record)).toBe(true);
      expect(isMatch(`-${quoted(pasted)}`, record)).toBe(false);
      const needsQuotes = /"|(^|\s)-(?![->])|(^|\s)level:|:[<>=]|(^|[\s:])-?\/.*\//s.test(pasted);
      if (!needsQuotes) expect(isMatch(pasted, record)).toBe(true);
    });
    fc.assert(property, { numRuns: 2000 });
  });

  test("that looks like a field also matches the field; quotes distinguish the two", () => {
    const field = envelopeOf({ "file.py": 42, details: { role: "worker" } });
    const text = messageWith("at file.py:42 with details.role:worker");
    for (const q of ["file.py:42", "details.role:worker", "file.py:42 details.role:worker"]) {
      expect([isMatch(q, field), isMatch(q, text)]).toEqual([true, true]);
      expect(isMatch(`-${q}`, field)).toBe(false);
    }
    for (const q of ['file.py:"42"', 'details.role:"worker"']) {
      expect([isMatch(q, field), isMatch(q, text)]).toEqual([true, false]);
    }
    expect([isMatch('"file.py:42"', field), isMatch('"file.py:42"', text)]).toEqual([false, true]);
  });

  test("never matches the text of a name that is reserved for a field", () => {
    const names = ["logger", "action", "instance_id", "service", "trace_id", "span_id"];
    for (const name of names) expect(isMatch(`${name}:x`, messageWith(`${name}:x`))).toBe(false);
    expect(isMatch("instance_id:x", envelopeOf({ instance_id: "x" }, "audit_log"))).toBe(true);
  });
});

describe("a filter that limits what may be read", () => {
  const matches = (q: string, data: Record<string, JsonValue>): boolean => {
    const envelope = envelopeOf(data);
    const records = {
      type: () => envelope.type,
      level: () => envelope.data.level,
      logger: () => envelope.data.logger,
      envelope: () => envelope,
    };
    return parseAccessFilter(q).matches(records, 0);
  };

  test("does not match a record that contains the text of a field term", () => {
    expect(matches("tenant:acme", { tenant: "acme" })).toBe(true);
    expect(matches("tenant:acme", { tenant: "other", note: "tenant:acme" })).toBe(false);
    expect(matches("-tenant:acme", { tenant: "other", note: "tenant:acme" })).toBe(true);
    expect(matches('acme "a b"', { note: "acme a b" })).toBe(true);
  });

  test("matches everything if it is empty, and rejects what other filters reject", () => {
    expect(matches("", {})).toBe(true);
    expect(() => parseAccessFilter("level:x")).toThrow(TailgateError);
    expect(() => parseAccessFilter("x".repeat(4097))).toThrow(TailgateError);
  });
});

describe("an incomplete term", () => {
  test.each(["level", "type", "logger", "action", "instance_id", "service", "trace_id", "span_id"])(
    "%s: is an error, also when negated, followed by other terms or by a space",
    (name) => {
      for (const q of [`${name}:`, `-${name}:`, `x ${name}: y`, `${name}:\t`]) {
        expect(errorOf({ q })).toContain(`${name}:" is invalid: a value is missing after`);
      }
      expect(isMatch(`"${name}:"`, envelopeOf({ message: `the ${name}: x` }))).toBe(true);
    },
  );

  test.each(["level:=", 'level:""', "type:=", '"', 'logger:"a', '-level:"', 'x "a b'])(
    "%s is an error",
    (q) => {
      expect(errorOf({ q })).toContain("is invalid");
    },
  );
});

describe("limits", () => {
  test.each(["type", "level", "logger", "q"])("%s is limited to 4096 characters", (name) => {
    expect(errorOf({ [name]: "x".repeat(5000) })).toContain(
      `The filter's ${name} has 5000 characters; at most 4096 are allowed.`,
    );
    if (name === "q" || name === "logger") parseFilter({ [name]: "x".repeat(4096) });
  });

  test("a filter is limited to 64 terms over all parameters", () => {
    const terms = (count: number): string => "x ".repeat(count);
    parseFilter({ q: terms(64) });
    parseFilter({ type: "audit", level: "INFO", logger: "a", q: terms(61) });
    expect(errorOf({ q: terms(65) })).toContain("The filter has 65 terms; at most 64 are allowed.");
    expect(errorOf({ level: "INFO", q: terms(64) })).toContain("65 terms");
    expect(errorOf({ q: terms(500) })).toContain("500 terms");
  });

  test("errors quote the beginning of a long term and state its length", () => {
    const long = "l".repeat(4000);
    for (const query of [
      { q: `"${long}` },
      { q: `level:${long}` },
      { level: long },
      { type: long },
      { q: `x:"${"\u0001".repeat(4000)}` },
    ]) {
      const message = errorOf(query);
      expect(message).toMatch(/\.\.\. \(4\d\d\d characters\)/);
      expect(message.length).toBeLessThan(1200);
    }
  });

  test("parses any text in linear time", () => {
    const repeated = fc
      .array(fc.constantFrom("a", ":", '"', "\\", "-", " ", ".", 'a:"', "a:a"), { minLength: 1 })
      .map((parts) => parts.join(""))
      .map((part) => part.repeat(Math.ceil(4096 / part.length)).slice(0, 4096));
    const property = fc.property(repeated, (q) => {
      try {
        parseFilter({ q });
      } catch (error) {
        expect(TailgateError.is(error, "FILTER_INVALID")).toBe(true);
      }
    });
    expect(cpuMs(() => fc.assert(property, { numRuns: 500 }))).toBeLessThan(5000);
  });
});

test("matching term by term equals matching all terms at once", () => {
  const term = fc.constantFrom("level:ERROR", "-level:INFO", "x", "-x", "f:x", "logger:a", "-f:y");
  const property = fc.property(fc.array(term, { maxLength: 6 }), fc.string(), (terms, text) => {
    const envelope = envelopeOf({ f: text });
    const filter = parseFilter({ q: terms.join(" ") });
    const records = {
      type: () => envelope.type,
      level: () => envelope.data.level,
      logger: () => envelope.data.logger,
      envelope: () => envelope,
    };
    const each = terms.every((one) => parseFilter({ q: one }).matches(records, 0));
    expect(filter.matches(records, 0)).toBe(each);
    expect(filter.terms.every((one) => one.matches(records, 0))).toBe(each);
  });
  fc.assert(property);
});
