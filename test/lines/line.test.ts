import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { lineParser, LineSplitter, recordOfLine, type Value, type ValueMap } from "tailgate/plugin";
import { parseTime, timeZoneOf } from "../../src/lines/time.ts";

const { parse, parseFields } = lineParser({ timeZone: "UTC" });

function isoTime(nanos: bigint | undefined): string | undefined {
  return nanos === undefined ? undefined : new Date(Number(nanos / 1_000_000n)).toJSON();
}

/** Returns `LEVEL logger time body`. */
function head(text: string): string {
  const { severity, logger, timestamp, body } = parse(text);
  return [severity?.text ?? "-", logger ?? "-", isoTime(timestamp) ?? "-", body as string].join(
    " ",
  );
}

test.each([
  ["2025-10-13 09:27:24 [INFO] started", "INFO - 2025-10-13T09:27:24.000Z started"],
  ["INFO: started", "INFO - - started"],
  ["INFO:     127.0.0.1 connected", "INFO - - 127.0.0.1 connected"],
  ["ERROR shop.cart - empty", "ERROR shop.cart - empty"],
  ["2025-10-13 09:27:24 - WARNING - low memory", "WARNING - 2025-10-13T09:27:24.000Z low memory"],
  [
    "2025-10-13 09:27:24,339 - shop.cart - ERROR - a: b",
    "ERROR shop.cart 2025-10-13T09:27:24.339Z a: b",
  ],
  [
    "2025-10-13 09:27:24.339 [main] INFO  com.acme.Cart - empty",
    "INFO com.acme.Cart 2025-10-13T09:27:24.339Z empty",
  ],
  [
    "[2025-10-13T09:27:24Z WARN  shop::cart] empty",
    "WARN shop::cart 2025-10-13T09:27:24.000Z empty",
  ],
  ["2025/10/13 09:27:24 [error] 12#0: *1 x", "error - 2025-10-13T09:27:24.000Z 12#0: *1 x"],
  ["2025-10-13T09:27:24.339+02:00\tinfo\tready", "info - 2025-10-13T07:27:24.339Z ready"],
  [
    '127.0.0.1 - - [13/Oct/2025:09:27:24 +0200] "GET / HTTP/1.1" 200 5',
    '- - 2025-10-13T07:27:24.000Z 127.0.0.1 - - [13/Oct/2025:09:27:24 +0200] "GET / HTTP/1.1" 200 5',
  ],
  ["\x1b[32mINFO\x1b[0m ready", "INFO - - ready"],
  ["request failed level=warn user=ada", "warn - - request failed level=warn user=ada"],
  ["Error: no such file", "Error - - Error: no such file"],
  ["job 17 [FATAL] stopped", "FATAL - - job 17 [FATAL] stopped"],
  ["The info about errors is in error.log", "- - - The info about errors is in error.log"],
  ["Information is everywhere", "- - - Information is everywhere"],
  ["2025-13-45 99:27:24 x", "- - - 2025-13-45 99:27:24 x"],
  ["", "- - - "],
])("text %j", (text, expected) => {
  expect(head(text)).toBe(expected);
});

test("lines of syslog, old and new", () => {
  const old = parse("<13>Oct 13 09:27:24 web1 nginx[42]: upstream timed out");
  expect(old).toMatchObject({ format: "syslog", logger: "nginx", body: "upstream timed out" });
  expect(old.severity).toEqual({ number: 10, text: "NOTICE" });
  expect(isoTime(old.timestamp)).toMatch(/^20\d\d-10-13T09:27:24/);
  expect([...old.attributes]).toEqual([
    ["syslog.facility", 1],
    ["host.name", "web1"],
    ["process.pid", "42"],
  ]);
  const text = String.raw`<165>1 2025-10-13T09:27:24.003Z web1 shop - ID47 [a@1 b="c\"]"][d@1 e="f"] done`;
  const recent = parse(text);
  expect(recent).toMatchObject({ format: "syslog", logger: "shop", body: "done" });
  expect(isoTime(recent.timestamp)).toBe("2025-10-13T09:27:24.003Z");
  expect(recent.attributes.get("syslog.structured_data")).toBe(
    String.raw`[a@1 b="c\"]"][d@1 e="f"]`,
  );
  expect(parse("<14>hello").body).toBe("hello");
  expect(parse("<999>hello")).toMatchObject({ format: "text", body: "<999>hello" });
});

test("own keys, also nested ones, replace the usual ones", () => {
  const keys = { time: ["at"], level: ["log.level"], logger: ["src"], message: ["body.text"] };
  const line = lineParser({ keys }).parse(
    '{"at":1760347644,"log":{"level":"warn","id":7},"src":"shop","body":{"text":"hi"},"msg":"x"}',
  );
  expect(line).toMatchObject({ logger: "shop", body: "hi", severity: { number: 13 } });
  expect(isoTime(line.timestamp)).toBe("2025-10-13T09:27:24.000Z");
  const rest: [string, Value][] = [
    ["log", new Map([["id", 7]])],
    ["body", new Map()],
    ["msg", "x"],
  ];
  expect([...line.attributes]).toEqual(rest);
});

test("only what fits its meaning is taken; everything else stays an attribute", () => {
  const line = parse('{"time":"5 ms","level":"blue","name":"ada","msg":"hi","trace_id":"xyz"}');
  expect(line).toMatchObject({ body: "hi", timestamp: undefined, severity: undefined });
  expect([...line.attributes.keys()]).toEqual(["time", "level", "name", "trace_id"]);
  const traced = parse(
    `{"msg":"hi","trace_id":"${"A1".repeat(16)}","span_id":"${"0b".repeat(8)}"}`,
  );
  expect(recordOfLine(traced, "app")).toMatchObject({
    traceId: "a1".repeat(16),
    spanId: "0b".repeat(8),
    severityNumber: 0,
    scope: { name: "app" },
  });
});

test("the format decides what is parsed", () => {
  const json = '{"msg":"hi"}';
  const logfmt = "level=info msg=hi";
  const formats = (["auto", "json", "logfmt", "text"] as const).map((format) => {
    const parser = lineParser({ format });
    return [json, logfmt].map((text) => parser.parse(text).format).join(" ");
  });
  expect(formats).toEqual(["json logfmt", "json text", "text logfmt", "text text"]);
  expect(lineParser({ format: "logfmt" }).parse("a=1 b=2 bare").attributes.get("bare")).toBe(true);
  expect(parse("a=1 b=2 bare")).toMatchObject({ format: "text" });
  expect(parseFields("no fields")).toBeUndefined();
  expect(() => lineParser({ timeZone: "Mars/Base" })).toThrow(RangeError);
});

describe("properties", () => {
  const jsonLine = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 }));
  const toValue = (json: unknown): Value => {
    if (typeof json === "number") return exactNumber(json);
    if (typeof json !== "object" || json === null) return json as Value;
    return Array.isArray(json) ? json.map(toValue) : toMap(json);
  };
  /** What the digits of a number stand for, which may be more than a double holds. */
  const exactNumber = (number: number): Value => {
    const digits = JSON.stringify(number);
    if (Number.isSafeInteger(number) || !/^-?\d+$/.test(digits)) return number;
    return BigInt.asIntN(64, BigInt(digits)) === BigInt(digits) ? BigInt(digits) : digits;
  };
  const toMap = (json: object): ValueMap =>
    new Map(Object.entries(json).map(([key, value]) => [key, toValue(value)]));

  test("all fields of a JSON line arrive unchanged, whatever their names", () => {
    const noKeys = { time: [], level: [], logger: [], message: [] };
    const parser = lineParser({ keys: noKeys });
    const known = /^(name|text|record|module|function|line|caller|source|(trace|span).?id)$/i;
    fc.assert(
      fc.property(jsonLine, (fields) => {
        fc.pre(!Object.keys(fields).some((key) => known.test(key)));
        const text = JSON.stringify(fields);
        const { format, attributes } = parser.parse(text);
        expect(format).toBe("json");
        expect(attributes).toEqual(toMap(JSON.parse(text) as object));
      }),
    );
    const odd = '{"__proto__":{"a":1},"constructor":2,"a":1,"a":2}';
    expect([...parser.parse(odd).attributes]).toEqual([
      ["__proto__", new Map([["a", 1]])],
      ["constructor", 2],
      ["a", 2],
    ]);
  });

  test("pairs of logfmt arrive unchanged", () => {
    const key = fc.stringMatching(/^[a-z]{1,8}_$/);
    const values = fc.dictionary(key, fc.string(), { minKeys: 2 });
    fc.assert(
      fc.property(values, (pairs) => {
        const text = Object.entries(pairs)
          .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
          .join(" ");
        expect(parse(text)).toMatchObject({ format: "logfmt", attributes: toMap(pairs) });
      }),
    );
  });

  test("no text makes the parser throw, and nothing but the head of a text is left out", () => {
    const piece = fc.constantFrom(
      ..."[]{}<>\"'\\= :-|,\x1b[\0\n\u2028".split(""),
      "INFO",
      "level=",
      "2025-10-13 09:27:24",
      "Oct 13 09:27:24",
      "<13>",
      "1 - ",
      "I1013 09:27:24.1 1 a:1] ",
      "é",
      "\ud800",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const text = pieces.join("");
        const line = parse(text);
        expect(recordOfLine(line, "app").scope.name).not.toBe("");
        const isWhole = line.format !== "text" || text.includes("\x1b");
        if (!isWhole) expect(text).toContain(line.body);
      }),
    );
  });

  test("lines come out whole, however the bytes are cut into chunks", () => {
    const bytes = fc.uint8Array({ maxLength: 200 });
    const line = fc.oneof(fc.string(), fc.constantFrom("", "é😀\u2028", "a\r", "\0"));
    fc.assert(
      fc.property(fc.array(line), fc.array(fc.nat(40)), bytes, (lines, cuts, noise) => {
        const source = Buffer.concat([Buffer.from(lines.join("\n")), Buffer.from(noise)]);
        const splitter = new LineSplitter(1 << 20);
        const out = [];
        let at = 0;
        for (const cut of [...cuts, source.length]) {
          out.push(...splitter.push(source.subarray(at, at + cut)));
          at += cut;
        }
        const last = splitter.flush();
        if (last !== undefined) out.push(last);
        const expected = splitBytes(source);
        expect(out.map(({ text }) => text)).toEqual(expected);
        expect(out.reduce((sum, { bytes: size }) => sum + size, 0)).toBe(source.length);
      }),
    );
  });

  function splitBytes(source: Buffer): string[] {
    const lines = source.toString("latin1").split("\n");
    if (lines.at(-1) === "") lines.pop();
    return lines.map((text) =>
      Buffer.from(text.replace(/\r$/, ""), "latin1")
        .toString()
        .replace(/^\uFEFF/, ""),
    );
  }

  test("times are those that JavaScript reads", () => {
    const date = fc.date({ min: new Date(1e11), max: new Date(4e12), noInvalidDate: true });
    const berlin = timeZoneOf("Europe/Berlin");
    const wall = new Intl.DateTimeFormat("sv", {
      timeZone: "Europe/Berlin",
      dateStyle: "short",
      timeStyle: "medium",
    });
    fc.assert(
      fc.property(date, (time) => {
        const nanos = BigInt(time.getTime()) * 1_000_000n;
        expect(parseTime(time.toJSON())).toBe(nanos);
        expect(parseTime(time.getTime())).toBe(nanos);
        expect(parseTime(String(nanos))).toBe(nanos >= 10n ** 17n ? nanos : undefined);
        // Without a zone, ISO 8601 is local time.
        const local = time.toJSON().slice(0, -1);
        expect(parseTime(local)).toBe(BigInt(new Date(local).getTime()) * 1_000_000n);
        const inBerlin = parseTime(wall.format(time), berlin);
        // An hour in autumn is there twice.
        expect(wall.format(Number(inBerlin! / 1_000_000n))).toBe(wall.format(time));
      }),
    );
  });
});

test("long lines end with a marker, and take no more memory than the limit", () => {
  const splitter = new LineSplitter(5);
  splitter.push(Buffer.from("1234é"));
  const [long, short] = splitter.push(Buffer.from("6789\nab\r\nrest"));
  expect(long).toEqual({ text: "1234 [truncated: 5 more bytes]", bytes: 11, cutBytes: 5 });
  expect(short).toEqual({ text: "ab", bytes: 4, cutBytes: 0 });
  expect(splitter.pendingBytes).toBe(4);
  expect(splitter.flush()).toEqual({ text: "rest", bytes: 4, cutBytes: 0 });
  expect(splitter.flush()).toBeUndefined();
});

test("the time a line takes is in proportion to its length, whatever it holds", () => {
  const SIZE = 1 << 18;
  const openings = [
    "[",
    '{"a":',
    "a=",
    '"\\',
    "\x1b[",
    "1".repeat(16),
    "x=1 ",
    "- ",
    "<1",
    "NaN",
    " [",
    ":",
  ];
  for (const opening of openings) {
    const text = opening.repeat(SIZE / opening.length);
    expect(parse(text).attributes).toBeInstanceOf(Map);
    expect(parse(`{"a":${text}`).format).toBe("text");
  }
  const deep = parse(`{"a":${"[".repeat(SIZE)}1234567890123456789${"]".repeat(SIZE)}}`);
  expect(deep.format).toBe("json");
  expect(JSON.stringify(deep.attributes.get("a"))).toContain("[nested deeper than 100 levels]");
});
