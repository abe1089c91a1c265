import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { encodeOtlpJson, encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import type { Value } from "tailgate/plugin";
import { recordOf } from "tailgate/testing";
import { envelopesOf, envelopesOfRecords } from "../harness/records.ts";
import { toJson, toProtobuf } from "./generated-request.ts";
import { decodeOtlpProtobuf } from "../../src/otlp/decode.ts";

const TIME = "1760347644339163000";

type Json = Record<string, unknown>;

type Texts = { readonly [name: string]: string };

interface Envelope {
  readonly type: string;
  readonly data: Json;
}

/**
 * The envelopes of records of one scope: the same from JSON, from protobuf and from decoded
 * records.
 */
function envelopes(logRecords: readonly object[], scope?: string): Envelope[] {
  const timed = logRecords.map((record) => ({ timeUnixNano: TIME, ...record }));
  const scopeLogs = {
    ...(scope !== undefined && { scope: { name: scope, attributes: [] } }),
    logRecords: timed,
  };
  const request = { resourceLogs: [{ scopeLogs: [scopeLogs] }] };
  const texts = envelopesOf(encodeOtlpProtobuf, toProtobuf(request));
  expect(envelopesOf(encodeOtlpJson, toJson(request))).toEqual(texts);
  expect(envelopesOfRecords(decodeOtlpProtobuf(toProtobuf(request)))).toEqual(texts);
  return texts.map((line) => JSON.parse(line) as Envelope);
}

function dataOf(record: object, scope = "app"): Json {
  return envelopes([record], scope)[0]!.data;
}

function text(stringValue: string): object {
  return { stringValue };
}

function attributes(values: Readonly<Record<string, object>>): object {
  return { attributes: Object.entries(values).map(([key, value]) => ({ key, value })) };
}

function map(values: Readonly<Record<string, object>>): object {
  const list = Object.entries(values).map(([key, value]) => ({ key, value }));
  return { kvlistValue: { values: list } };
}

/** The fields of a system log besides its seven standard ones, in order. */
function extrasOf(data: Json): [string, unknown][] {
  return Object.entries(data).slice(7);
}

const BODY = { body: text("m") };

describe("a severity text without a number", () => {
  const levelOf = (severityText: string, scope?: string): [unknown, unknown] => {
    const { level, severity_text: kept } = dataOf({ ...BODY, severityText }, scope);
    return [level, kept];
  };

  it.each([
    [
      "DEBUG",
      [
        "TRACE",
        "FINE",
        "Finer",
        "finest",
        "Verbose",
        "DEBUG2",
        "trace4",
        "debug",
        "Level 5",
        "Level 19",
      ],
    ],
    ["INFO", ["NOTICE", "Information", "CONFIG", "INFO1", "Level 25"]],
    ["WARNING", ["WARN", "warn2", "Warning", "Level 30"]],
    ["ERROR", ["err", "SEVERE", "  ERROR ", "ERROR4", "\terror\n", "level 49"]],
    [
      "CRITICAL",
      [
        "crit",
        "FATAL",
        "Alert",
        "emerg",
        "EMERGENCY",
        "panic",
        "DPANIC",
        "fatal3",
        "Level 50",
        "Level 99",
      ],
    ],
  ])("stands for %s", (level, texts) => {
    for (const one of texts) expect([one, ...levelOf(one)]).toEqual([one, level, undefined]);
  });

  it.each([
    "W",
    "E",
    "F",
    "50",
    "3",
    "ERROR0",
    "ERROR5",
    "ERROR22",
    "Level",
    "Level x",
    "ERROR+4",
    "unset",
    "é",
  ])("that is unknown, as %j, is kept, and the level is INFO", (one) =>
    expect(levelOf(one)).toEqual(["INFO", one]),
  );

  it("retains an unknown text, trimmed, and nothing of spaces alone", () => {
    expect(levelOf("  W ")).toEqual(["INFO", "W"]);
    expect(levelOf("   ")).toEqual(["INFO", undefined]);
  });

  it.each([
    [
      "pino-opentelemetry-transport",
      ["10", "20", "30", "40", "50", "60", "35"],
      "DEBUG DEBUG INFO WARNING ERROR CRITICAL INFO",
    ],
    ["@opentelemetry/instrumentation-bunyan", ["10", "60"], "DEBUG CRITICAL"],
    [
      "otelcol/syslogreceiver",
      ["0", "1", "2", "3", "4", "5", "6", "7"],
      "CRITICAL CRITICAL CRITICAL ERROR WARNING INFO INFO DEBUG",
    ],
  ])("is a number of %s", (scope, texts, levels) => {
    expect(texts.map((one) => levelOf(one, scope)[0]).join(" ")).toBe(levels);
  });

  it("is retained if its number is meaningless", () => {
    expect(levelOf("8", "syslog")).toEqual(["INFO", "8"]);
  });

  it("counts only without a number", () => {
    expect(dataOf({ ...BODY, severityNumber: 9, severityText: "ERROR" })["level"]).toBe("INFO");
    const data = dataOf({ ...BODY, severityNumber: 17, severityText: "W" });
    expect([data["level"], data["severity_text"]]).toEqual(["ERROR", undefined]);
  });

  it("that is unknown is in an audit event's metadata", () => {
    expect(dataOf({ ...BODY, severityText: "W" }, "orchestrator.audit")["metadata"]).toEqual({
      severity_text: "W",
    });
  });

  it("yields to an attribute with the same name", () => {
    const own = attributes({ severity_text: text("mine") });
    expect(extrasOf(dataOf({ ...BODY, ...own, severityText: "W" }))).toEqual([
      ["severity_text", "mine"],
    ]);
  });
});

describe("an event's name", () => {
  const IDS = { traceId: "ab".repeat(16), spanId: "cd".repeat(8) };

  it("follows the body and the attributes and precedes the ids", () => {
    const record = {
      ...BODY,
      ...IDS,
      ...attributes({ a: text("x") }),
      eventName: "payment.timeout",
    };
    const data = dataOf(record);
    expect(extrasOf(data)).toEqual([
      ["a", "x"],
      ["event_name", "payment.timeout"],
      ["trace_id", IDS.traceId],
      ["span_id", IDS.spanId],
    ]);
    expect(data["message"]).toBe("m");
  });

  it("belongs to its own record, even among similar ones", () => {
    const names = ["one", "", "two", "two", "", "event src/main.rs:78", 'with "quotes"'];
    const found = envelopes(
      names.map((eventName) => ({ ...BODY, ...IDS, eventName })),
      "app",
    );
    expect(found.map(({ data }) => data["event_name"])).toEqual([
      ...["one", undefined, "two", "two", undefined, undefined, 'with "quotes"'],
    ]);
  });

  it("yields to an attribute of that name", () => {
    const own = attributes({ event_name: text("mine") });
    expect(extrasOf(dataOf({ ...BODY, ...own, eventName: "theirs" }))).toEqual([
      ["event_name", "mine"],
    ]);
  });

  it("appears beside a body of any type, including an empty text", () => {
    const body = map({ index: { intValue: "0" } });
    expect(dataOf({ body, eventName: "gen_ai.choice" })).toMatchObject({
      message: '{"index":0}',
      event_name: "gen_ai.choice",
    });
    expect(dataOf({ body: text(""), eventName: "e" })).toMatchObject({
      message: "",
      event_name: "e",
    });
  });

  it("is the message if there is no body: the record's own name, otherwise the attribute", () => {
    const attribute = attributes({ "event.name": text("agent.user_prompt") });
    const inSource = "event otel/src/event_manager.rs:100";
    expect(dataOf({ eventName: "e", ...attribute })).toMatchObject({ message: "e" });
    for (const record of [
      attribute,
      { ...attribute, eventName: inSource },
      { ...attribute, body: {} },
    ]) {
      const data = dataOf(record);
      expect(data["message"]).toBe("agent.user_prompt");
      expect(extrasOf(data)).toEqual([["event.name", "agent.user_prompt"]]);
    }
    expect(dataOf(attributes({ "event.name": { intValue: "7" } }))).toMatchObject({ message: "" });
  });

  it("is an audit event's action if there is no event type, otherwise part of its metadata", () => {
    const audit = (record: object): Json => dataOf({ ...BODY, ...record }, "orchestrator.audit");
    const type = attributes({ event_type: text("spawn") });
    const named = attributes({ "event.name": text("named"), a: text("x") });
    expect(audit({ eventName: "e" })).toMatchObject({ action: "e" });
    expect(audit({ eventName: "e" })).not.toHaveProperty("metadata");
    expect(audit({ ...type, eventName: "e" })).toMatchObject({
      action: "spawn",
      metadata: { event_name: "e" },
    });
    expect(audit({ ...type, eventName: "spawn" })).not.toHaveProperty("metadata");
    expect(audit(named)).toMatchObject({ action: "named" });
    expect(audit(named)["metadata"]).toEqual({ a: "x" });
    expect(audit({ ...named, eventName: "e" })).toMatchObject({
      action: "e",
      metadata: { "event.name": "named", a: "x" },
    });
  });
});

describe("a body that is a number", () => {
  it.each<[object, string]>([
    [{ intValue: "9223372036854775807" }, "9223372036854775807"],
    [{ intValue: "-9223372036854775808" }, "-9223372036854775808"],
    [{ intValue: "9007199254740993" }, "9007199254740993"],
    [{ intValue: "42" }, "42"],
    [{ doubleValue: -0.5 }, "-0.5"],
    [{ doubleValue: "NaN" }, "NaN"],
    [{ doubleValue: "-Infinity" }, "-Infinity"],
    [{ doubleValue: -0 }, "0"],
  ])("is its digits as the message: %j", (body, message) => {
    expect(dataOf({ body })["message"]).toBe(message);
    const type = attributes({ event_type: body });
    expect(dataOf({ ...BODY, ...type }, "orchestrator.audit")["action"]).toBe(message);
  });

  it("is quoted only inside a list", () => {
    const body = { arrayValue: { values: [{ intValue: "9223372036854775807" }] } };
    expect(dataOf({ body })["message"]).toBe('["9223372036854775807"]');
  });
});

describe("extras", () => {
  it.each([
    [
      ["level", "extra_level"],
      ["extra_extra_level", "extra_level"],
    ],
    [
      ["extra_level", "extra_extra_level", "level", "id"],
      ["extra_level", "extra_extra_level", "extra_extra_extra_level", "extra_id"],
    ],
    [
      ["message", "extra_message", "type", "extra_type"],
      ["extra_extra_message", "extra_message", "extra_extra_type", "extra_type"],
    ],
    [
      ["trace_id", "span_id", "service", "event_name"],
      ["trace_id", "span_id", "service", "event_name"],
    ],
  ])("named %j have names of their own", (sent, shown) => {
    const values = Object.fromEntries(sent.map((name) => [name, text(`my ${name}`)]));
    const record = { ...BODY, ...attributes(values), eventName: "e", traceId: "ab".repeat(16) };
    const extras = extrasOf(dataOf(record)).filter(([, value]) => String(value).startsWith("my "));
    expect(extras).toEqual(shown.map((name, index) => [name, `my ${sent[index]}`]));
  });

  it("have one value for a duplicate name, the last", () => {
    const twice = ["a", "b", "c"].map((value) => ({ key: "fooAttr", value: text(value) }));
    expect(extrasOf(dataOf({ ...BODY, attributes: twice }))).toEqual([["fooAttr", "c"]]);
  });

  it("have one value for names that are equal without their lone surrogates, at any depth", () => {
    const names = new Map<string, Value>([
      ["\ud800", 1],
      ["a", 2],
      ["\ud801", 3],
    ]);
    const inner = new Map<string, Value>([...names, ["\udc00", names], ["b", [names]]]);
    const many = new Map<string, Value>(
      Array.from({ length: 100 }, (_, index) => [`k${index}`, index]),
    );
    const given = new Map<string, Value>([...inner, ["many", new Map([...many, ...names])]]);
    for (const scope of ["app", "orchestrator.audit"]) {
      const record = recordOf({
        attributes: given,
        scope: { name: scope, version: "", attributes: new Map() },
      });
      const [line] = envelopesOfRecords([record]);
      const { data } = JSON.parse(line!) as Envelope;
      const shown = { "\ufffd": 3, a: 2 };
      const extras = (scope === "app" ? data : data["metadata"]) as Json;
      expect(extras).toMatchObject({ "\ufffd": shown, a: 2, b: [shown] });
      expect(extras["many"]).toMatchObject({ "\ufffd": 3, a: 2, k99: 99 });
      expect(line!.match(/"\ufffd":/g)).toHaveLength(4);
    }
  });

  it("include the stack trace of the call, which is content", () => {
    const site = {
      "code.function.name": text("a.run"),
      "code.stacktrace": text("at run"),
      "code.other": text("x"),
    };
    const data = dataOf({ ...BODY, ...attributes(site) });
    expect(data["function"]).toBe("run");
    expect(extrasOf(data)).toEqual([["code.stacktrace", "at run"]]);
  });
});

describe("pino's error", () => {
  const error = { type: text("TypeError"), message: text("no"), stack: text("at x") };
  const shown = [
    ["exception.type", "TypeError"],
    ["exception.message", "no"],
    ["exception.stacktrace", "at x"],
  ];

  it("becomes the attributes of an exception, in its place", () => {
    const record = { ...BODY, ...attributes({ a: text("1"), err: map(error), b: text("2") }) };
    expect(extrasOf(dataOf(record))).toEqual([["a", "1"], ...shown, ["b", "2"]]);
    expect(dataOf(record, "orchestrator.audit")["metadata"]).toEqual({
      a: "1",
      ...Object.fromEntries(shown),
      b: "2",
    });
  });

  it("retains its other members", () => {
    const more = { ...error, code: text("E"), cause: map({ message: text("why") }) };
    expect(extrasOf(dataOf({ ...BODY, ...attributes({ err: map(more) }) }))).toEqual([
      ...shown,
      ["err", { code: "E", cause: { message: "why" } }],
    ]);
  });

  it("is unchanged beside the attributes of an exception", () => {
    const both = { "exception.message": text("other"), err: map(error) };
    expect(extrasOf(dataOf({ ...BODY, ...attributes(both) }))).toEqual([
      ["exception.message", "other"],
      ["err", { type: "TypeError", message: "no", stack: "at x" }],
    ]);
  });

  it.each<[string, object]>([
    ["a text", text("no")],
    ["a map without a type", map({ message: text("no"), stack: text("at x") })],
    ["a type alone", map({ type: text("TypeError") })],
    ["a list", { arrayValue: { values: [text("no")] } }],
  ])("is no error if it is %s", (_, value) => {
    const extras = extrasOf(dataOf({ ...BODY, ...attributes({ err: value }) }));
    expect(extras.map(([name]) => name)).toEqual(["err"]);
  });
});

describe("a record without a scope name", () => {
  const loggerOf = (names: Readonly<Record<string, object>>, scope?: string): unknown[] => {
    const [envelope] = envelopes([{ ...BODY, ...attributes(names) }], scope);
    return [envelope!.type, envelope!.data["logger"], extrasOf(envelope!.data)];
  };

  it.each([undefined, "", "unknown"])(
    "of scope %j has the logger named by an attribute",
    (scope) => {
      const one = { name: text("n"), "logger.name": text("l.n"), logger: text("l") };
      const { logger: _, ...two } = one;
      const { "logger.name": __, ...three } = two;
      expect(loggerOf(one, scope)).toEqual([
        "system_log",
        "l",
        [
          ["name", "n"],
          ["logger.name", "l.n"],
        ],
      ]);
      expect(loggerOf(two, scope)).toEqual(["system_log", "l.n", [["name", "n"]]]);
      expect(loggerOf(three, scope)).toEqual(["system_log", "n", []]);
      expect(loggerOf({ a: text("x") }, scope)).toEqual(["system_log", "unknown", [["a", "x"]]]);
    },
  );

  it("ignores an empty name, and one that is not a text", () => {
    expect(loggerOf({ logger: text(""), name: text("n") })[1]).toBe("n");
    expect(loggerOf({ logger: { intValue: "7" }, name: text("n") })[1]).toBe("n");
  });

  it("is an audit event if the name is an audit logger's, at any level of the gateway", () => {
    const event = attributes({ logger: text("orchestrator.audit.x"), event_type: text("spawn") });
    const [envelope] = envelopes([{ ...BODY, ...event }]);
    expect(envelope).toMatchObject({
      type: "audit_log",
      data: { logger: "orchestrator.audit.x", action: "spawn" },
    });
    expect(envelope!.data).not.toHaveProperty("metadata");
    const scopeLogs = [{ logRecords: [{ timeUnixNano: TIME, severityNumber: 9, ...event }] }];
    const request = { resourceLogs: [{ scopeLogs }] };
    expect(envelopesOf(encodeOtlpProtobuf, toProtobuf(request), 4)).toHaveLength(1);
    expect(envelopesOf(encodeOtlpJson, toJson(request), 4)).toHaveLength(1);
  });

  it("retains an attribute of that name if the scope has a name", () => {
    expect(loggerOf({ logger: text("l"), name: text("n") }, "app")).toEqual([
      "system_log",
      "app",
      [
        ["extra_logger", "l"],
        ["name", "n"],
      ],
    ]);
  });
});

describe("cases from bug reports", () => {
  const read = (name: string): Buffer =>
    readFileSync(new URL(`../cases/otlp/${name}`, import.meta.url));

  it.each(["07-severity-text-only.json"])("%s", (name) => {
    const levels = envelopesOf(encodeOtlpJson, read(name)).map((line) => {
      const { level, severity_text: kept } = (JSON.parse(line) as Envelope).data as Texts;
      return kept === undefined ? level : `${level} ${kept}`;
    });
    expect(levels.join(", ")).toBe(
      "DEBUG, DEBUG, DEBUG, DEBUG, ERROR, WARNING, ERROR, CRITICAL, CRITICAL, CRITICAL, CRITICAL, " +
        "ERROR, DEBUG, INFO W, INFO E, INFO F, ERROR, INFO 50",
    );
  });
});
