import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import parse from "../../plugins/parse.ts";
import { createRecord, type Processor, type Value } from "tailgate/plugin";
import { testHost, type TestHost } from "tailgate/testing";
import { extras, ProcessingGateway, textRecord } from "./processors/processing-gateway.ts";
import { processed } from "./processors/view.ts";

describe("a gateway with parse", () => {
  let gateway: ProcessingGateway;

  beforeAll(async () => {
    gateway = await ProcessingGateway.start({
      "parse/own": {
        filter: "logger:app.own",
        format: "json",
        message_keys: ["what"],
        level_keys: ["how_bad"],
        keep_message: true,
        overwrite: true,
      },
      parse: { filter: "-logger:app.own" },
    });
  });

  afterAll(() => gateway[Symbol.asyncDispose]());

  /** Sends a message, and returns its record. */
  async function sent(
    logger: string,
    message: string,
    attributes: Readonly<Record<string, string>> = {},
    severityNumber = 0,
  ) {
    const record = { ...textRecord(message, attributes), severityNumber };
    expect(await gateway.send({ logger, records: [record] })).toBe(0);
    return (await gateway.stored()).at(-1)!;
  }

  it("makes the event_type of a JSON message the action of an audit event", async () => {
    const message = JSON.stringify({
      event_type: "instance_spawn",
      instance_id: "i-1",
      level: "debug",
      logger: "app",
      event: "Instance i-1 spawned",
    });
    expect(await sent("orchestrator.audit", message)).toMatchObject({
      type: "audit_log",
      data: {
        level: "INFO",
        logger: "orchestrator.audit",
        message: "Instance i-1 spawned",
        action: "instance_spawn",
        metadata: { instance_id: "i-1", "message.level": "debug", "message.logger": "app" },
      },
    });
    const receipt = await gateway.logging.audit({ eventType: "login", details: { a: 1 } });
    expect(receipt.seq).toBeGreaterThan(0);
  });

  it("lets the record win, and keeps what differs", async () => {
    const message =
      'level=error logger=app.db user=ada n=3 time=2020-01-01T00:00:00Z msg="too slow"';
    const { data } = await sent("app.web", message, { user: "bob", n: "3" }, 13);
    expect(data).toMatchObject({ level: "WARNING", logger: "app.web", message: "too slow" });
    expect(extras(data)).toEqual({
      user: "bob",
      n: "3",
      "message.user": "ada",
      "message.level": "error",
      "message.logger": "app.db",
    });
  });

  it("takes time, level and logger of the message if the record has none", async () => {
    const message =
      '{"ts":1577836800.5,"level":"warn","logger":"app.db","msg":"slow","caller":"a/b.go:7"}';
    const { data } = await sent("", message);
    expect(data).toMatchObject({
      timestamp: "2020-01-01T00:00:00.500000Z",
      level: "WARNING",
      logger: "app.db",
      message: "slow",
      module: "b",
      line: 7,
    });
  });

  it("has keys of its own, keeps the message, and overwrites if told to", async () => {
    const message = '{"what":"boom","how_bad":"critical","user":"ada","logger":"app.other"}';
    const { data } = await sent("app.own", message, { user: "bob" }, 9);
    expect(data).toMatchObject({ level: "CRITICAL", logger: "app.other", message, user: "ada" });
    const logfmt = "a=1 b=2";
    expect((await sent("app.own", logfmt)).data).toMatchObject({ message: logfmt });
  });

  it("parses what is logged in process, and counts it", async () => {
    const counted = () => gateway.metric("tailgate_parse_messages_total", "parse");
    const before = await counted();
    gateway.logging.getLogger("app").warning('{"event":"in process","n":1}');
    const { data } = (await gateway.stored()).at(-1)!;
    expect(data).toMatchObject({ level: "WARNING", message: "in process", n: 1 });
    expect(await counted()).toBe(before + 1);
  });
});

describe("the processor parse", () => {
  let host: TestHost;
  let processor: Processor;

  beforeAll(async () => {
    host = await testHost("parse");
    processor = await parse.open(parse.options.parse({}), host);
  });

  afterAll(() => host.close());

  const attributesOf = (body: Value): Map<string, Value> =>
    processed(processor, createRecord({ logger: "app", body }))!.attributes;

  /** Keys that mean nothing: those with a meaning are tested with the lines of the libraries. */
  const key = fc
    .oneof(fc.string(), fc.constantFrom("__proto__", "constructor", "a.b", ""))
    .map((text) => `${text}_`);

  test("JSON.stringify and parsing give the same attributes", () => {
    const object = fc.dictionary(key, fc.jsonValue({ maxDepth: 4 }));
    fc.assert(
      fc.property(object, (given) => {
        const expected = asValue(JSON.parse(JSON.stringify(given)));
        expect(attributesOf(JSON.stringify(given))).toEqual(expected);
        expect(attributesOf(JSON.stringify(given, null, 2))).toEqual(expected);
      }),
    );
  });

  test("what is neither JSON nor logfmt passes as it is", () => {
    const text = fc.oneof(
      fc.string(),
      fc.string().map((end) => `{${end}`),
      fc.json().filter((json) => !json.trimStart().startsWith("{")),
      fc.constantFrom(
        "{",
        "{}x",
        '{"a":1',
        "[1]",
        'x {"a":1}',
        "a = b",
        "a=1",
        "x == 1 y",
        "k=v text",
      ),
    );
    fc.assert(
      fc.property(text, (body) => {
        const record = createRecord({ logger: "app", body });
        const result = processed(processor, record);
        if (isObject(body) || /^\s*[^\s=]+=\S*\s+[^\s=]+=/.test(body)) return;
        expect(result).toBe(record);
      }),
    );
  });

  test("hostile messages pass, or become attributes of the same value", () => {
    const deep = `{"a":${"[".repeat(50_000)}${"]".repeat(50_000)}}`;
    const huge = JSON.stringify({ a: "x".repeat(300_000) });
    const many = JSON.stringify({ a: Array.from({ length: 10_001 }, () => 0) });
    for (const body of [huge, many, "{".repeat(10_000), `{${'"a":1,'.repeat(100)}`]) {
      const record = createRecord({ logger: "app", body });
      expect(processed(processor, record)).toBe(record);
    }
    expect(JSON.stringify(attributesOf(deep).get("a")).length).toBeLessThan(1000);
    expect(attributesOf('{"a":1,"a":2}').get("a")).toBe(2);
    expect(attributesOf('{"__proto__":{"x":1}}').get("__proto__")).toEqual(new Map([["x", 1]]));
    expect(attributesOf('{"a":9007199254740993,"b":1e400}').get("a")).toBe(9007199254740993n);
    expect(attributesOf('{"a":NaN,"b":-Infinity}').get("a")).toBe("NaN");
    expect(attributesOf(7)).toEqual(new Map());
    expect(attributesOf(new Map([["event", "x"]]))).toEqual(new Map());
    const counter = host.pluginMetrics.find(({ name }) => name === "messages")!;
    const tooLarge = [...counter.read()].find(({ labels }) => labels["result"] === "too_large");
    expect(tooLarge?.value).toBe(2);
  });

  test.each(["pino", "bunyan", "winston", "structlog", "loguru", "zap", "slog"])(
    "reads the lines of %s",
    (library) => {
      const path = new URL(`../lines/fixtures/${library}.jsonl`, import.meta.url);
      for (const line of readFileSync(path, "utf8").trim().split("\n")) {
        const record = createRecord({ logger: "app", body: line });
        record.severityNumber = 0;
        record.severityText = "";
        record.timestamp = 0n;
        const result = processed(processor, record)!;
        expect(result.severityNumber).toBeGreaterThan(0);
        expect(result.timestamp).toBeGreaterThan(0n);
        const hasMessage = /"(msg|message|event)":\s?"/.test(line);
        expect(result.body === line).toBe(!hasMessage);
        for (const name of ["level", "time", "ts", "timestamp", "msg", "record"]) {
          expect(result.attributes.has(name)).toBe(false);
        }
      }
    },
  );
});

function isObject(text: string): boolean {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === "object" && json !== null && !Array.isArray(json);
  } catch {
    return false;
  }
}

function asValue(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(asValue);
  if (typeof json === "number" && !Number.isSafeInteger(json)) return exactly(JSON.stringify(json));
  if (typeof json !== "object" || json === null) return json;
  return new Map(Object.entries(json).map(([key, value]) => [key, asValue(value)]));
}

/** Integers that a double may not represent are a bigint, and beyond 64 bits a text. */
function exactly(json: string): unknown {
  if (!/^-?\d+$/.test(json)) return Number(json);
  return BigInt(json) === BigInt.asIntN(64, BigInt(json)) ? BigInt(json) : json;
}
