/**
 * Partial success: what senders of accepted requests receive, and what stderr and /metrics report.
 */

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { resolveConfig } from "tailgate";
import { startTailgate } from "tailgate";
import { toProtobuf } from "../../encode/generated-request.ts";
import { temporaryDirectory } from "../../harness/workspace.ts";
import { frame, send } from "./raw-call.ts";

const cleanUps: (() => Promise<unknown> | void)[] = [];
const lines: string[] = [];
let url = "";
let grpcUrl = "";

beforeAll(async () => {
  const config = await resolveConfig({
    base: "embedded",
    document: {
      receivers: { otlp: { port: null, grpc_port: 0 } },
      exporters: {},
      journal: { engine: "memory" },
    },
    env: {},
    flags: { port: 0, logDir: await temporaryDirectory(cleanUps), logLevel: "DEBUG" },
    cwd: process.cwd(),
  });
  const running = await startTailgate(config, { write: (line) => lines.push(line) });
  cleanUps.push(() => running.stop());
  ({ url } = running);
  const listener = running.listeners.find((text) => text.endsWith(" (OTLP/gRPC)"));
  grpcUrl = listener!.replace(" (OTLP/gRPC)", "");
});

afterAll(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

function read(name: string): Buffer {
  return readFileSync(new URL(`../../cases/otlp/${name}`, import.meta.url));
}

interface Told {
  readonly status: number;
  /** Undefined if no record was rejected. */
  readonly rejected: number | undefined;
  readonly message: string;
}

interface PartialSuccess {
  readonly rejectedLogRecords?: string;
  readonly errorMessage?: string;
}

async function post(body: string | Uint8Array, type = "application/json"): Promise<Response> {
  return await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": type, "User-Agent": "test-sender/7" },
    body: body as BodyInit,
  });
}

async function told(body: string | Uint8Array): Promise<Told> {
  const response = await post(body);
  const answer = (await response.json()) as { partialSuccess?: PartialSuccess; message?: string };
  const { rejectedLogRecords = "0", errorMessage } = answer.partialSuccess ?? {};
  const message = errorMessage ?? answer.message ?? "";
  return { status: response.status, rejected: Number(rejectedLogRecords) || undefined, message };
}

interface Data {
  readonly logger: string;
  readonly message: string;
  readonly [name: string]: unknown;
}

let loggers = 0;

/** A logger that no other record has. */
function freshLogger(): string {
  return `app.n${loggers++}`;
}

async function stored(filter: string): Promise<Data[]> {
  const answer = await fetch(`${url}/api/logs?limit=1000&q=${encodeURIComponent(filter)}`);
  const { records } = (await answer.json()) as { records: { data: Data }[] };
  return records.map(({ data }) => data);
}

async function messagesOf(logger: string): Promise<string[]> {
  return (await stored(`logger:${logger}`)).map(({ message }) => message).toSorted();
}

function request(logRecords: readonly unknown[], logger: string): string {
  const scopeLogs = [{ scope: { name: logger }, logRecords }];
  return JSON.stringify({ resourceLogs: [{ scopeLogs }] });
}

function good(name: string): object {
  return { body: { stringValue: name } };
}

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(name));
  expect(line, `there is no ${name}`).toBeDefined();
  return Number(line!.split(" ").at(-1));
}

const UNRECOGNIZED = "tailgate_otlp_unrecognized_requests_total";
const MALFORMED =
  'tailgate_records_dropped_total{component="intake",kind="intake",reason="malformed"}';

/** Ways to make one record invalid, with the path of the value within the record. */
const WRONG: readonly (readonly [string, unknown, string])[] = [
  [
    "a double",
    { attributes: [{ key: "k", value: { doubleValue: {} } }] },
    "attributes[0].value.doubleValue",
  ],
  ["an integer", { body: { intValue: "x" } }, "body.intValue"],
  ["an integer with a fraction", { body: { intValue: 1.5 } }, "body.intValue"],
  ["an integer that is true", { body: { intValue: true } }, "body.intValue"],
  ["a boolean", { body: { boolValue: "yes" } }, "body.boolValue"],
  ["bytes", { body: { bytesValue: "?" } }, "body.bytesValue"],
  ["a text", { body: { stringValue: 5 } }, "body.stringValue"],
  ["a body", { body: "text" }, "body"],
  ["a time", { timeUnixNano: "soon" }, "timeUnixNano"],
  ["a time before 1970", { observedTimeUnixNano: -1 }, "observedTimeUnixNano"],
  ["a time that is an object", { timeUnixNano: {} }, "timeUnixNano"],
  ["an id", { traceId: 7 }, "traceId"],
  ["another id", { spanId: ["a"] }, "spanId"],
  ["a severity", { severityNumber: "SEVERITY_NUMBER_LOUD" }, "severityNumber"],
  ["a severity with a fraction", { severityNumber: 9.5 }, "severityNumber"],
  ["flags", { flags: {} }, "flags"],
  ["a severity text", { severityText: 9 }, "severityText"],
  ["attributes", { attributes: { a: 1 } }, "attributes"],
  ["an attribute", { attributes: [null] }, "attributes[0]"],
  ["a key", { attributes: [{ key: 1, value: {} }] }, "attributes[0].key"],
  [
    "a value in a list in a map",
    {
      body: {
        kvlistValue: {
          values: [{ key: "a", value: { arrayValue: { values: [{}, { intValue: [] }] } } }],
        },
      },
    },
    "body.kvlistValue.values[0].value.arrayValue.values[1].intValue",
  ],
  ["a record", 5, ""],
  ["a record that is null", null, ""],
];

/** Large requests take a different code path. */
const PADDING = " ".repeat(300 << 10);

describe.each([
  ["a small request", ""],
  ["a large request", PADDING],
])("%s in JSON", (_, padding) => {
  it("rejects only the invalid record", async () => {
    const logger = freshLogger();
    await told(request([0], logger));
    const dropped = await metric(MALFORMED);
    for (const [what, record, path] of WRONG) {
      const body = request([good(`before ${what}`), record, good(`after ${what}`)], logger);
      const { status, rejected, message } = await told(body + padding);
      expect([what, status, rejected]).toEqual([what, 200, 1]);
      const place = `resourceLogs[0].scopeLogs[0].logRecords[1]${path === "" ? "" : `.${path}`}`;
      expect(message).toContain(`1 log record rejected: ${place}: `);
    }
    const wanted = WRONG.flatMap(([what]) => [`before ${what}`, `after ${what}`]);
    expect(await messagesOf(logger)).toEqual(wanted.toSorted());
    expect(await metric(MALFORMED)).toBe(dropped + WRONG.length);
  });

  it("rejects the records of an invalid resource or scope", async () => {
    const logger = freshLogger();
    const wrong = [{ key: "k", value: { intValue: "x" } }];
    const scope = { name: logger };
    const logRecords = [good("rejected"), good("rejected")];
    const resourceLogs = [
      { scopeLogs: [{ scope, logRecords: [good("a")] }] },
      { resource: { attributes: wrong }, scopeLogs: [{ scope, logRecords }] },
      {
        scopeLogs: [
          { scope: { name: logger, attributes: wrong }, logRecords },
          { scope: { name: 7 }, logRecords: [good("rejected")] },
          { scope, logRecords: [good("b")] },
          7,
        ],
      },
      { scopeLogs: {} },
      "no object",
      { scopeLogs: [{ scope, logRecords: [good("c")] }] },
    ];
    const { status, rejected, message } = await told(JSON.stringify({ resourceLogs }) + padding);
    expect([status, rejected]).toEqual([200, 5]);
    expect(message).toContain(
      "5 log records rejected: resourceLogs[1].resource.attributes[0].value.intValue: a string is not an integer; " +
        "resourceLogs[2].scopeLogs[0].scope.attributes[0].value.intValue: ",
    );
    expect(message).toMatch(/; and 3 more$/);
    expect(await messagesOf(logger)).toEqual(["a", "b", "c"]);
  });

  it("may contain only invalid records", async () => {
    const { status, rejected } = await told(request([{ body: 1 }, 2], "app") + padding);
    expect([status, rejected]).toEqual([200, 2]);
  });

  it.each([
    ["no JSON", '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},{"body":}]}]}]}'],
    ["no JSON after a wrong value", '{"resourceLogs":[{"scopeLogs":[{"logRecords":[5,{]}]}]}'],
    ["no list of resources", '{"resourceLogs":{}}'],
    ["a text", '"resourceLogs"'],
  ])("is refused as a whole if it is %s", async (__, text) => {
    expect((await post(text + padding)).status).toBe(400);
  });

  it("accepts protobuf's names for fields and severities, also mixed with JSON's", async () => {
    const logger = freshLogger();
    const attributes = [
      { key: "a", value: { int_value: "$big" } },
      {
        key: "b",
        value: { kvlist_value: { values: [{ key: "c", value: { bool_value: true } }] } },
      },
      {
        key: "d",
        value: { array_value: { values: [{ double_value: 0.5 }, { bytes_value: "AA==" }] } },
      },
    ];
    const ids = { trace_id: "AB".repeat(16), span_id: "cd".repeat(8) };
    const log_records = [
      {
        time_unix_nano: "1760347644339163000",
        severity_number: "SEVERITY_NUMBER_WARN2",
        body: { string_value: 'text with "time_unix_nano": 7' },
        event_name: "e",
        ...ids,
        attributes,
      },
      { observed_time_unix_nano: "1760347644339163001", severityNumber: "SEVERITY_NUMBER_FATAL" },
      { timeUnixNano: "1760347644339164000", severity_number: 17, severity_text: "x" },
      { timeUnixNano: "1760347644339165000", severity_number: "SEVERITY_NUMBER_UNSPECIFIED" },
    ];
    const resource = { attributes: [{ key: "service.name", value: { string_value: "s" } }] };
    const body = {
      resource_logs: [{ resource, scope_logs: [{ scope: { name: logger }, log_records }] }],
    };
    const text = JSON.stringify(body).replace('"$big"', "9007199254740993");
    expect(await told(text + padding)).toEqual({
      status: 200,
      rejected: undefined,
      message: "",
    });
    const records = (await stored(`logger:${logger}`)).toReversed();
    expect(records.map(({ level }) => level)).toEqual(["WARNING", "CRITICAL", "ERROR", "INFO"]);
    expect(records[0]).toMatchObject({
      timestamp: "2025-10-13T09:27:24.339163Z",
      message: 'text with "time_unix_nano": 7',
      a: "9007199254740993",
      b: { c: true },
      d: [0.5, "AA=="],
      event_name: "e",
      trace_id: "ab".repeat(16),
      span_id: "cd".repeat(8),
      service: "s",
    });
  });

  it("reads the records from the field of older senders if there are no others", async () => {
    const [old, both] = [freshLogger(), freshLogger()];
    const library = { name: old, version: "1" };
    const resource = { attributes: [{ key: "service.name", value: { stringValue: "s" } }] };
    const resourceLogs = [
      {
        resource,
        instrumentationLibraryLogs: [{ instrumentationLibrary: library, logRecords: [good("1")] }],
      },
      {
        scopeLogs: [],
        instrumentation_library_logs: [
          { instrumentation_library: library, log_records: [good("2")] },
        ],
      },
      {
        instrumentationLibraryLogs: [
          { instrumentationLibrary: library, logs: [good("3"), { body: 4 }] },
        ],
      },
      {
        instrumentationLibraryLogs: [
          { instrumentationLibrary: { name: both }, logRecords: [good("old")] },
        ],
        scopeLogs: [{ scope: { name: both }, logRecords: [good("new")] }],
      },
    ];
    const { rejected } = await told(JSON.stringify({ resourceLogs }) + padding);
    expect(rejected).toBe(1);
    expect(await messagesOf(old)).toEqual(["1", "2", "3"]);
    expect(await messagesOf(both)).toEqual(["new"]);
  });

  it.each([
    [
      "ids in base64",
      { traceId: "W47/95gDgQPSabYzgT/GDA==" },
      "traceId: a string of 24 characters is not 32 hex digits",
    ],
    ["short ids", { spanId: "abcd" }, "spanId: a string of 4 characters is not 16 hex digits"],
    [
      "nothing that is known",
      { message: "m", level: "info" },
      "log record without any known field",
    ],
  ])("stores records with %s and tells", async (__, record, text) => {
    const logger = freshLogger();
    const body = request(
      [{ ...good("m"), ...("message" in record ? { body: undefined } : {}), ...record }, good("n")],
      logger,
    );
    const { status, rejected, message } = await told(body + padding);
    expect([status, rejected]).toEqual([200, undefined]);
    expect(message).toContain(text);
    expect(message).toContain("resourceLogs[0].scopeLogs[0].logRecords[0]");
    expect(await messagesOf(logger)).toHaveLength(2);
  });

  it("ignores all-zero ids without a warning", async () => {
    const zeros = { traceId: "00".repeat(16), spanId: "0".repeat(16) };
    const { message } = await told(
      request([{ ...good("m"), ...zeros }, 0], freshLogger()) + padding,
    );
    expect(message).not.toContain("Id");
  });

  it.each([
    ["08-not-otlp.json", "no `resourceLogs`"],
    ["08-resource-logs-line.json", "ResourceLogs by itself"],
  ])("that is no OTLP is answered 200 and told so: %s", async (name, text) => {
    await expectUnrecognized(read(name).toString() + padding, text);
  });

  it.each([
    ['{"resourceSpans":[{"scopeSpans":[]}]}', "/v1/traces"],
    ['{"resource_metrics":[]}', "/v1/metrics"],
    ['[{"resourceLogs":[]}]', "JSON array"],
    ["[]", "JSON array"],
    ['{"resourceLogs":[{"resource":{},"logs":[{"body":"m"}]}]}', "resourceLogs[0].logs"],
    [
      '{"resourceLogs":[{"scopeLogs":[{"scope":{},"records":[{}]}]}]}',
      "resourceLogs[0].scopeLogs[0].records",
    ],
  ])("so is %s", async (text, hint) => {
    await expectUnrecognized(text + padding, hint);
  });

  it.each(["{}", '{"resourceLogs":[]}', '{"resourceLogs":[{"resource":{},"scopeLogs":[]}]}'])(
    "may be empty: %s",
    async (text) => {
      const before = await metric(UNRECOGNIZED);
      const response = await post(text + padding);
      expect(await response.text()).toBe("{}");
      expect(await metric(UNRECOGNIZED)).toBe(before);
    },
  );
});

async function expectUnrecognized(body: string, text: string): Promise<void> {
  const before = await metric(UNRECOGNIZED);
  const { status, rejected, message } = await told(body);
  expect([status, rejected]).toEqual([200, undefined]);
  expect(message).toContain("No log record was found");
  expect(message).toContain(text);
  expect(await metric(UNRECOGNIZED)).toBe(before + 1);
}

function lengthDelimited(tag: readonly number[], content: Uint8Array): Buffer {
  const length =
    content.length < 128 ? [content.length] : [(content.length & 127) | 128, content.length >> 7];
  return Buffer.concat([Buffer.from([...tag, ...length]), content]);
}

const RESOURCE_LOGS = [0x0a];
const SCOPE_LOGS = [0x12];
/** Field 1000. */
const LIBRARY_LOGS = [0xc2, 0x3e];

/** A ScopeLogs or its predecessor: their fields are the same. */
function scopeLogsOf(name: string, messages: readonly string[]): Buffer {
  const scope = lengthDelimited([0x0a], lengthDelimited([0x0a], Buffer.from(name)));
  const records = messages.map((message) =>
    lengthDelimited([0x12], lengthDelimited([0x2a], lengthDelimited([0x0a], Buffer.from(message)))),
  );
  return Buffer.concat([scope, ...records]);
}

describe.each([
  [
    "over HTTP",
    async (body: Uint8Array) =>
      Buffer.from(await (await post(body, "application/x-protobuf")).arrayBuffer()),
  ],
  ["over gRPC", async (body: Uint8Array) => (await send(grpcUrl, frame(body))).body.subarray(5)],
])("a request in protobuf %s", (_, exchange) => {
  it("reads the records from the field of older senders if there are no others", async () => {
    const [old, both] = [freshLogger(), freshLogger()];
    const service = { key: "service.name", value: { stringValue: "s" } };
    const withResource = toProtobuf({
      resourceLogs: [{ resource: { attributes: [service] }, scopeLogs: [] }],
    }).subarray(2);
    const body = Buffer.concat([
      lengthDelimited(
        RESOURCE_LOGS,
        Buffer.concat([
          lengthDelimited(LIBRARY_LOGS, scopeLogsOf(old, ["1", "2"])),
          withResource,
          lengthDelimited(LIBRARY_LOGS, scopeLogsOf(old, ["3"])),
        ]),
      ),
      lengthDelimited(
        RESOURCE_LOGS,
        Buffer.concat([
          lengthDelimited(LIBRARY_LOGS, scopeLogsOf(both, ["old"])),
          lengthDelimited(SCOPE_LOGS, scopeLogsOf(both, ["new"])),
        ]),
      ),
    ]);
    expect(await exchange(body)).toHaveLength(0);
    expect(await messagesOf(old)).toEqual(["1", "2", "3"]);
    expect((await stored(`logger:${old}`)).map(({ service: name }) => name)).toEqual([
      "s",
      "s",
      "s",
    ]);
    expect(await messagesOf(both)).toEqual(["new"]);
  });

  it("reports ids of the wrong length", async () => {
    const answer = await exchange(read("01-hex-ids-one.pb"));
    expect(answer.toString()).toContain("invalid trace or span id dropped");
    // partial_success { error_message }
    expect([answer[0], answer[2]]).toEqual([0x0a, 0x12]);
  });

  it("reports a request with only unknown fields", async () => {
    const before = await metric(UNRECOGNIZED);
    // A bare ResourceLogs.
    const bare = lengthDelimited(SCOPE_LOGS, scopeLogsOf("x", ["m"]));
    expect((await exchange(bare)).toString()).toContain("No log record was found");
    expect(await metric(UNRECOGNIZED)).toBe(before + 1);
  });

  it("may be empty", async () => {
    expect(await exchange(Buffer.alloc(0))).toHaveLength(0);
    expect(await exchange(lengthDelimited(RESOURCE_LOGS, Buffer.alloc(0)))).toHaveLength(0);
  });
});

it("names the sender on stderr, and limits the lines", async () => {
  const before = lines.length;
  for (let count = 0; count < 30; count++) await told(request([{ body: 1 }], "app"));
  await vi.waitFor(() => expect(lines.join("\n")).toContain("Log records were rejected."));
  const line = lines.find((text) => text.includes("Log records were rejected."));
  expect(line).toMatch(
    /WARNING - Log records were rejected\. Sender (?:127\.0\.0\.1|::1) \(test-sender\/7\): \d+ log records? rejected: resourceLogs\[0\]/,
  );
  expect(lines.length - before).toBeLessThan(15);
});

it("finds events by name", async () => {
  const logger = freshLogger();
  const records = [
    { ...good("m"), eventName: "payment.timeout" },
    { ...good("n"), eventName: "other" },
  ];
  await told(request(records, logger));
  expect((await stored("event_name:payment.timeout")).map(({ message }) => message)).toEqual(["m"]);
});
