/** Runs the examples of docs/concepts.md, and sends a request for every row of its tables. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayProcess } from "../harness/gateway.ts";
import { MAIN, Program } from "../harness/program.ts";
import { startSecured } from "../harness/secured-gateway.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "./document.ts";
import { tableAfter } from "./table.ts";

const page = await Document.read("docs/concepts.md");

const CONFIG = `
receivers: { otlp: { port: 0, grpc_port: null } }
exporters: { websocket: {}, audit-file: {} }
envelope: { resource_attributes: [host.name] }
`;

const TIME = "1760347644339163999";

const SYSTEM = "orchestrator.server";
const AUDIT = "orchestrator.audit";

interface Sent {
  /** Default: the gateway without authentication. */
  readonly to?: {
    readonly url: string;
    readonly otlpUrl: string;
    readonly headers: Record<string, string>;
  };
  readonly scope?: string;
  readonly resource?: object;
  readonly record: Readonly<Record<string, unknown>>;
}

type Data = Readonly<Record<string, unknown>>;

let gateway: GatewayProcess;
let otlpUrl: string;

beforeAll(async () => {
  gateway = await GatewayProcess.start(CONFIG);
  otlpUrl = await gateway.endpoint("OTLP/HTTP");
});

afterAll(() => gateway[Symbol.asyncDispose]());

function text(stringValue: string): object {
  return { stringValue };
}

function attributes(values: Readonly<Record<string, object>>): object[] {
  return Object.entries(values).map(([key, value]) => ({ key, value }));
}

function map(values: Readonly<Record<string, object>>): object {
  return { kvlistValue: { values: attributes(values) } };
}

interface StoredRecord {
  readonly sequence: number;
  readonly type: string;
  readonly data: Data;
}

/** Sends one record and returns its envelope. */
async function envelopeOf({
  to = { url: gateway.url, otlpUrl, headers: {} },
  scope = SYSTEM,
  resource = {},
  record,
}: Sent): Promise<StoredRecord> {
  const sent = { body: text("m"), ...record };
  const logRecords = [{ timeUnixNano: TIME, ...sent }];
  const body = {
    resourceLogs: [{ resource, scopeLogs: [{ scope: { name: scope }, logRecords }] }],
  };
  const { headers } = to;
  const response = await fetch(`${to.otlpUrl}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  expect([response.status, await response.text()]).toEqual([200, "{}"]);
  const found = await fetch(`${to.url}/api/logs?limit=1&q=-logger:orchestrator.audit.access`, {
    headers,
  });
  const { records } = (await found.json()) as { records: StoredRecord[] };
  return records[0]!;
}

async function dataOf(sent: Sent): Promise<Data> {
  return (await envelopeOf(sent)).data;
}

test("the worked example gives the envelopes that are shown", async () => {
  await using workspace = await Workspace.create({
    "request.json": page.example("concepts-request"),
  });
  const script = page
    .example("concepts-send")
    .replace("http://127.0.0.1:4318", otlpUrl)
    .replace("npx tailgate", `'${process.execPath}' '${MAIN}'`);
  const shown = await Program.run("bash", ["-c", script], {
    cwd: workspace.directory,
    env: { ORCHESTRATOR_PORT: String(gateway.port) },
  });
  expect(shown.slice(0, 2)).toBe("{}");
  const lines = shown.slice(2).trimEnd().split("\n");
  const examples = ["concepts-system-log", "concepts-audit-event"].map((name) =>
    page.example(name),
  );
  // Compared as texts, so that the order of the members counts.
  expect(lines).toEqual(examples.map((example) => JSON.stringify(JSON.parse(example))));
});

/** By the first column of the page's table: what is sent, and what the envelope has then. */
const MAPPING: Readonly<Record<string, (() => Promise<void>) | undefined>> = {
  "`timeUnixNano`": async () =>
    expect(await dataOf({ record: {} })).toMatchObject({
      timestamp: "2025-10-13T09:27:24.339163Z",
    }),
  "`observedTimeUnixNano`": async () => {
    const expected = { timestamp: "2025-10-13T09:27:24.339163Z" };
    for (const timeUnixNano of ["0", undefined]) {
      const record = { timeUnixNano, observedTimeUnixNano: TIME };
      expect(await dataOf({ record })).toMatchObject(expected);
    }
  },
  "neither time": async () => {
    const before = new Date().toISOString();
    const { timestamp } = await dataOf({ record: { timeUnixNano: undefined } });
    expect(String(timestamp) >= before.replace("Z", "000Z")).toBe(true);
  },
  "`severityNumber`": async () =>
    expect(await dataOf({ record: { severityNumber: 17, severityText: "INFO" } })).toMatchObject({
      level: "ERROR",
    }),
  "`severityText`": async () => {
    const known = await dataOf({ record: { severityText: "warn" } });
    expect(known).toMatchObject({ level: "WARNING" });
    expect(known).not.toHaveProperty("severity_text");
    const unknown = await dataOf({ record: { severityText: "loud" } });
    expect(unknown).toMatchObject({ level: "INFO", severity_text: "loud" });
  },
  "`body`": async () => {
    const bodies = [
      [text("plain"), "plain"],
      [{ intValue: "5" }, "5"],
      [{ bytesValue: "AAEC" }, "AAEC"],
      [{ arrayValue: { values: [{ intValue: "1" }] } }, "[1]"],
      [map({ a: { boolValue: true } }), '{"a":true}'],
    ] as const;
    for (const [body, message] of bodies) {
      expect(await dataOf({ record: { body } })).toMatchObject({ message });
    }
  },
  "`eventName`, without a body": async () => {
    const data = await dataOf({ record: { body: undefined, eventName: "spawn.failed" } });
    expect(data).toMatchObject({ message: "spawn.failed" });
    expect(data).not.toHaveProperty("event_name");
  },
  "`eventName`, with a body": async () =>
    expect(await dataOf({ record: { eventName: "spawn.failed" } })).toMatchObject({
      message: "m",
      event_name: "spawn.failed",
    }),
  "`eventName` of an audit event": async () => {
    const record = { eventName: "spawn.done" };
    expect(await dataOf({ scope: AUDIT, record })).toMatchObject({ action: "spawn.done" });
    const typed = { ...record, attributes: attributes({ event_type: text("typed") }) };
    expect(await dataOf({ scope: AUDIT, record: typed })).toMatchObject({ action: "typed" });
  },
  "scope `name`": async () =>
    expect(await dataOf({ scope: "a.b", record: {} })).toMatchObject({ logger: "a.b" }),
  "resource attribute `service.name`": async () => {
    const resource = { attributes: attributes({ "service.name": text("worker") }) };
    expect(await dataOf({ resource, record: {} })).toMatchObject({ service: "worker" });
  },
  "resource attributes that `envelope.resource_attributes` names": async () => {
    const names = attributes({ "host.name": text("web-1"), "host.id": text("h") });
    const resource = { attributes: names };
    const data = await dataOf({ resource, record: {} });
    expect([data["host.name"], data["host.id"]]).toEqual(["web-1", undefined]);
    const record = { attributes: attributes({ "host.name": text("its own") }) };
    expect(await dataOf({ resource, record })).toMatchObject({ "host.name": "its own" });
  },
  "`traceId`, `spanId`": async () => {
    const record = { traceId: "5B8EFFF798038103D269B633813FC60C", spanId: "EEE19B7EC3C1B174" };
    expect(await dataOf({ record })).toMatchObject({
      trace_id: "5b8efff798038103d269b633813fc60c",
      span_id: "eee19b7ec3c1b174",
    });
  },
  "attribute `code.file.path`": async () => {
    for (const name of ["code.file.path", "code.filepath"]) {
      const record = { attributes: attributes({ [name]: text("/app/src/server.py") }) };
      expect(await dataOf({ record })).toMatchObject({ module: "server", function: "", line: 0 });
    }
    const record = { attributes: attributes({ "code.namespace": text("app.Server") }) };
    expect(await dataOf({ record })).toMatchObject({ module: "Server" });
    expect(await dataOf({ record: {} })).toMatchObject({ module: "" });
  },
  "attribute `code.function.name`": async () => {
    for (const name of ["code.function.name", "code.function"]) {
      const record = { attributes: attributes({ [name]: text("Manager.spawn") }) };
      expect(await dataOf({ record })).toMatchObject({ function: "spawn" });
    }
  },
  "attribute `code.line.number`": async () => {
    for (const name of ["code.line.number", "code.lineno"]) {
      const record = { attributes: attributes({ [name]: { intValue: "142" } }) };
      expect(await dataOf({ record })).toMatchObject({ line: 142 });
    }
    expect(await dataOf({ scope: AUDIT, record: {} })).not.toHaveProperty("line");
  },
  "attribute `event_type` of an audit event": async () => {
    const record = { attributes: attributes({ event_type: text("instance_spawn"), a: text("b") }) };
    expect(await dataOf({ scope: AUDIT, record })).toMatchObject({
      action: "instance_spawn",
      metadata: { a: "b" },
    });
  },
  "attribute `event.name` of an audit event": async () => {
    const named = { attributes: attributes({ "event.name": text("spawned") }) };
    expect(await dataOf({ scope: AUDIT, record: named })).toMatchObject({ action: "spawned" });
  },
  "attribute `err`, a map from pino": async () => {
    const err = map({ type: text("OSError"), message: text("full"), stack: text("at x") });
    const data = await dataOf({ record: { attributes: attributes({ err }) } });
    expect(data).toMatchObject({
      "exception.type": "OSError",
      "exception.message": "full",
      "exception.stacktrace": "at x",
    });
    expect(data).not.toHaveProperty("err");
  },
  "any other attribute": async () =>
    expect(
      await dataOf({ record: { attributes: attributes({ memory_mb: { intValue: "512" } }) } }),
    ).toMatchObject({ memory_mb: 512 }),
  "principal of the request, if the gateway has authentication": async () => {
    const secured = await startSecured({ ci: { scopes: ["ingest", "read"] } });
    const to = { ...secured, headers: secured.tokens.bearer("ci") };
    const record = { attributes: attributes({ a: text("b"), ingested_by: text("me") }) };
    const { metadata } = await dataOf({ to, scope: AUDIT, record });
    const expected = { a: "b", extra_ingested_by: "me", ingested_by: "token:ci" };
    expect(JSON.stringify(metadata)).toBe(JSON.stringify(expected));
  },
};

describe("from OTLP fields to envelope fields", () => {
  const rows = tableAfter(page, "From OTLP fields to envelope fields");

  test("every row has a test, and every test a row", () => {
    expect(rows.map(([field]) => field)).toEqual(Object.keys(MAPPING));
  });

  test.each(rows.map(([field]) => field!))("%s", async (field) => MAPPING[field]!());

  test("nothing else of a request is in its envelope", async () => {
    const data = await dataOf({
      resource: { attributes: attributes({ "os.type": text("h") }) },
      record: { flags: 1, droppedAttributesCount: 3 },
    });
    expect(Object.keys(data)).toEqual(STANDARD_FIELDS);
  });
});

const STANDARD_FIELDS = ["timestamp", "level", "logger", "message", "module", "function", "line"];

describe("levels", () => {
  const rows = tableAfter(page, "Levels").map(([level, numbers, texts]) => ({
    level: level!.replaceAll("`", ""),
    numbers: (numbers!.match(/\d+/g) ?? []).map(Number),
    texts: Array.from(texts!.matchAll(/`(\w+)`/g), ([, one]) => one!),
  }));

  test.each(rows.slice(1))("$level has the numbers $numbers and the texts $texts", async (row) => {
    for (const severityNumber of row.numbers) {
      expect(await dataOf({ record: { severityNumber } })).toMatchObject({ level: row.level });
    }
    for (const severityText of row.texts.flatMap((one) => [one, one.toLowerCase()])) {
      const data = await dataOf({ record: { severityText } });
      expect(data).toMatchObject({ level: row.level });
      expect(data).not.toHaveProperty("severity_text");
    }
  });

  test("DEBUG is filtered by default, in both kinds of records", async () => {
    const [debug] = rows;
    const records = [
      ...debug!.numbers.map((severityNumber) => ({ severityNumber })),
      ...debug!.texts.map((severityText) => ({ severityText })),
    ];
    const before = await envelopeOf({ record: {} });
    for (const scope of [SYSTEM, AUDIT]) {
      for (const record of records) {
        expect((await envelopeOf({ scope, record })).sequence).toBe(before.sequence);
      }
    }
  });

  test("short names and Python's numbers are known, bare numbers only with their library", async () => {
    expect(await dataOf({ record: { severityText: "WARN2" } })).toMatchObject({ level: "WARNING" });
    expect(await dataOf({ record: { severityText: "Level 25" } })).toMatchObject({ level: "INFO" });
    const record = { severityText: "50" };
    expect(await dataOf({ record })).toMatchObject({ level: "INFO", severity_text: "50" });
    expect(await dataOf({ scope: "pino", record })).toMatchObject({ level: "ERROR" });
  });
});

describe("loggers", () => {
  test("children of the audit logger are audit events, others with its prefix are not", async () => {
    const child = await envelopeOf({ scope: "orchestrator.audit.billing", record: {} });
    const other = await envelopeOf({ scope: "orchestrator.auditor", record: {} });
    expect([child.type, other.type]).toEqual(["audit_log", "system_log"]);
  });

  test.each([
    ["", ["logger", "logger.name", "name"]],
    ["@opentelemetry/instrumentation-pino", ["logger", "name", "label"]],
  ])(
    "of the scope %j come from its attributes, the first one that is there",
    async (scope, names) => {
      for (let first = 0; first < names.length; first++) {
        const given = Object.fromEntries(
          names.slice(first).map((name) => [name, text(`by-${name}`)]),
        );
        const data = await dataOf({ scope, record: { attributes: attributes(given) } });
        expect(data).toMatchObject({ logger: `by-${names[first]}` });
        if (names[first] !== "logger") expect(data).not.toHaveProperty([names[first]!]);
      }
    },
  );

  test("without any name are unknown", async () => {
    expect(await dataOf({ scope: "", record: {} })).toMatchObject({ logger: "unknown" });
  });
});

describe("names that collide", () => {
  const [, sentence = ""] = /In a system log, an attribute named (.*?) appears as/.exec(page.text)!;
  const reserved = Array.from(sentence.matchAll(/`(\w+)`/g), ([, name]) => name!);
  const added = ["service", "trace_id", "span_id", "event_name", "severity_text"];

  test("reserved ones get a prefix in a system log, and keep their name in an audit event", async () => {
    expect(reserved).toHaveLength(9);
    const given = Object.fromEntries(reserved.map((name) => [name, text("x")]));
    const data = await dataOf({ record: { attributes: attributes(given) } });
    const extras = Object.keys(data).slice(STANDARD_FIELDS.length);
    expect(extras).toEqual(reserved.map((name) => `extra_${name}`));
    const audit = await dataOf({ scope: AUDIT, record: { attributes: attributes(given) } });
    expect(Object.keys(audit["metadata"]!)).toEqual(reserved);
  });

  test("a prefix that is taken is repeated", async () => {
    const given = attributes({ level: text("a"), extra_level: text("b") });
    expect(await dataOf({ record: { attributes: given } })).toMatchObject({
      extra_extra_level: "a",
      extra_level: "b",
    });
  });

  test("attributes win over what the gateway would add", async () => {
    for (const name of added) expect(page.text).toContain(`\`${name}\``);
    const given = Object.fromEntries(added.map((name) => [name, text("mine")]));
    const record = {
      eventName: "e",
      severityText: "loud",
      traceId: "5b8efff798038103d269b633813fc60c",
      spanId: "eee19b7ec3c1b174",
      attributes: attributes(given),
    };
    const resource = { attributes: attributes({ "service.name": text("worker") }) };
    const data = await dataOf({ resource, record });
    expect(added.map((name) => data[name])).toEqual(added.map(() => "mine"));
  });

  test("the last value of a repeated name counts", async () => {
    const record = {
      attributes: [...attributes({ a: text("1") }), ...attributes({ a: text("2") })],
    };
    expect(await dataOf({ record })).toMatchObject({ a: "2" });
  });
});

/** A list of lists of that depth. */
function nested(depth: number): object {
  return depth === 0 ? text("x") : { arrayValue: { values: [nested(depth - 1)] } };
}

/** By the first column of the page's table. */
const VALUES: Readonly<Record<string, readonly (readonly [object, unknown])[]>> = {
  "integer up to 2^53 in magnitude": [
    [{ intValue: "9007199254740991" }, 9_007_199_254_740_991],
    [{ intValue: "-9007199254740991" }, -9_007_199_254_740_991],
  ],
  "larger integer": [[{ intValue: "9007199254740993" }, "9007199254740993"]],
  "`NaN`, `Infinity`, `-Infinity`": ["NaN", "Infinity", "-Infinity"].map(
    (name) => [{ doubleValue: name }, name] as const,
  ),
  bytes: [[{ bytesValue: "AAEC" }, "AAEC"]],
  "list, map": [
    [{ arrayValue: { values: [{ intValue: "1" }] } }, [1]],
    [map({ a: text("b") }), { a: "b" }],
  ],
  "no value": [[{}, null]],
  "more than 100 nested lists and maps": [],
};

describe("numbers and other values", () => {
  const rows = tableAfter(page, "Numbers and other values");

  test("every row has a test", () => {
    expect(rows.map(([value]) => value)).toEqual(Object.keys(VALUES));
  });

  test.each(Object.entries(VALUES))("%s", async (_, pairs) => {
    for (const [value, expected] of pairs) {
      const data = await dataOf({ record: { attributes: attributes({ value }) } });
      expect(data["value"]).toEqual(expected);
    }
  });

  test("deeper lists are replaced by a text", async () => {
    const shown = "[nested deeper than 100 levels]";
    expect(page.inlineCode).toContain(shown);
    const depths = [100, 101].map((depth) => ({ [`d${depth}`]: nested(depth) }));
    const given = Object.assign({}, ...depths) as Record<string, object>;
    const data = await dataOf({ record: { attributes: attributes(given) } });
    expect(JSON.stringify(data["d100"])).not.toContain(shown);
    expect(JSON.stringify(data["d101"])).toContain(shown);
  });
});

test("records of a request are ordered by time", async () => {
  const of = (scope: string, times: readonly number[]): object => ({
    scope: { name: scope },
    logRecords: times.map((time) => ({
      timeUnixNano: `17603476443${time}0000000`,
      body: text(`at ${time}`),
    })),
  });
  const scopeLogs = [of("a", [10, 30]), of("b", [20, 40])];
  await fetch(`${otlpUrl}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs }] }),
  });
  const response = await fetch(`${gateway.url}/api/logs?limit=4`);
  const { records } = (await response.json()) as { records: StoredRecord[] };
  const ordered = records.toSorted((one, other) => one.sequence - other.sequence);
  expect(ordered.map(({ data }) => data["message"])).toEqual(
    [10, 20, 30, 40].map((at) => `at ${at}`),
  );
});
