/** The processor in a gateway: what it removes is nowhere, and the rest stays as it was. */

import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import * as fc from "fast-check";
import { LoggingManager } from "tailgate";
import { afterAll, beforeAll, expect, test } from "vitest";
import { jsonToProtobuf } from "../../src/otlp/from-json.ts";
import { runToEnd } from "../../src/otlp/request-index.ts";
import { Workspace } from "../harness/workspace.ts";
import {
  anyAttributePlace,
  anyPlace,
  anySecret,
  escapedJson,
  keyedSecret,
  textPlace,
  valueWith,
  type OtlpRequest,
} from "./redact/secrets.ts";

/** `REDACT_RUNS=3000` looks longer. */
const RUNS = Number(process.env["REDACT_RUNS"] ?? 150);

const JSON_TYPE = "application/json";
const PROTOBUF_TYPE = "application/x-protobuf";

let workspace: Workspace;
let collector: Server;
const exported: Buffer[] = [];
let logging: LoggingManager;
const lines: string[] = [];

beforeAll(async () => {
  workspace = await Workspace.create();
  collector = createServer(async (incoming, response) => {
    const body = await buffer(incoming);
    exported.push(incoming.headers["content-encoding"] === "gzip" ? gunzipSync(body) : body);
    response.setHeader("Content-Type", PROTOBUF_TYPE);
    response.end();
  });
  await once(collector.listen(0, "127.0.0.1"), "listening");
  const { port } = collector.address() as AddressInfo;
  logging = await LoggingManager.start({
    port: 0,
    logDir: workspace.path("logs"),
    logLevel: "DEBUG",
    receivers: { otlp: { port: null } },
    processors: { redact: { keys: ["*password*", "x-internal.*"] } },
    exporters: {
      file: {},
      "audit-file": {},
      otlp: { endpoint: `http://127.0.0.1:${port}` },
    },
    registerGlobally: false,
    write: (line) => void lines.push(line),
  });
});

afterAll(async () => {
  await logging.stop();
  collector.close();
  await workspace[Symbol.asyncDispose]();
});

async function post(path: string, body: string | Uint8Array, type: string): Promise<string> {
  const response = await fetch(`${logging.url}${path}`, {
    method: "POST",
    headers: { "Content-Type": type },
    body: body as BodyInit,
  });
  return response.text();
}

/** Returns everything that a gateway shows, sends and stores. */
async function everything(): Promise<ReadonlyMap<string, string>> {
  await logging.flush();
  const places = new Map<string, string>();
  for (const path of ["/api/logs?limit=1000", "/metrics", "/readyz"]) {
    places.set(path, await (await fetch(`${logging.url}${path}`)).text());
  }
  for (const file of await readdir(workspace.path("logs"), { recursive: true })) {
    const path = join(workspace.path("logs"), file);
    const content = await readFile(path, "latin1").catch(() => "");
    places.set(file, content);
  }
  places.set("OTLP", exported.map((body) => body.toString("latin1")).join("\n"));
  places.set("stderr", lines.join("\n"));
  return places;
}

test("a secret of any kind, place, nesting and encoding is nowhere", async () => {
  const secrets = new Map<string, OtlpRequest>();
  const anyRequest = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.tuple(anySecret, anyPlace).chain(([secret, place]) =>
        valueWith(secret).map((value) => ({
          request: place(value, "note"),
          secrets: [secret.secret],
        })),
      ),
    },
    anySecret.chain((secret) =>
      textPlace(secret).map((request) => ({ request, secrets: [secret.secret] })),
    ),
    fc.tuple(keyedSecret, anyAttributePlace).map(([keyed, place]) => ({
      request: place(keyed.attribute),
      secrets: keyed.secrets,
    })),
  );
  const encoding = fc.constantFrom("protobuf", "json", "escaped");
  const answers: string[] = [];
  await fc.assert(
    fc.asyncProperty(anyRequest, encoding, async (given, encoded) => {
      for (const secret of given.secrets) secrets.set(secret, given.request);
      const json = escapedJson(given.request, (index) => encoded === "escaped" && index % 3 > 0);
      const answer =
        encoded === "protobuf"
          ? post("/v1/logs", runToEnd(jsonToProtobuf(Buffer.from(json))), PROTOBUF_TYPE)
          : post("/v1/logs", json, JSON_TYPE);
      answers.push(await answer);
    }),
    { numRuns: RUNS },
  );
  expect(answers.filter((answer) => answer !== "" && answer !== "{}")).toEqual([]);
  const places = await everything();
  expect(places.get("OTLP")).toContain("a record");
  const leaks = [...places].flatMap(([place, content]) =>
    [...secrets]
      .filter(([secret]) => content.includes(secret))
      .map(([, request]) => `${place}: ${JSON.stringify(request)}`),
  );
  expect(leaks.slice(0, 5)).toEqual([]);
});

test("a secret that was logged in this process is nowhere, and its audit event has a receipt", async () => {
  const secrets: string[] = [];
  const logger = logging.getLogger("orchestrator.here");
  for (const { secret, text } of fc.sample(anySecret, 30)) {
    secrets.push(secret);
    logger.warning(`sent ${text}`, { nested: { list: [text] }, password: secret });
    logger.error("failed", new Error(text));
    const receipt = await logging.audit({
      eventType: "stored",
      message: text,
      details: { note: text },
    });
    expect(receipt.hash).toMatch(/^[0-9a-f]{64}$/);
  }
  const leaks = [...(await everything())].flatMap(([place, content]) =>
    secrets.filter((secret) => content.includes(secret)).map((secret) => `${place}: ${secret}`),
  );
  expect(leaks).toEqual([]);
});

/** A length-delimited field of protobuf, which may be repeated, unknown or superseded. */
function field(number: number, ...content: readonly (string | Uint8Array)[]): Buffer {
  const bytes = Buffer.concat(content.map((part) => Buffer.from(part as string)));
  return Buffer.concat([Buffer.from([number * 8 + 2]), length(bytes.length), bytes]);
}

function length(bytes: number): Buffer {
  return bytes < 128 ? Buffer.from([bytes]) : Buffer.from([(bytes & 127) | 128, bytes >> 7]);
}

test.each([
  ["an unknown field", (secret: string) => field(15, secret)],
  [
    "the first of two bodies",
    (secret: string) => Buffer.concat([field(5, field(1, secret)), field(5, field(1, "ok"))]),
  ],
])("a record with a secret in %s is rejected, and its sender told", async (_, content) => {
  const secret = `hidden${Date.now()}@mail.example.com`;
  const records = [content(secret), field(5, field(1, "the other record"))];
  const scopeLogs = Buffer.concat(records.map((record) => field(2, record)));
  const answer = await post("/v1/logs", field(1, field(2, scopeLogs)), PROTOBUF_TYPE);
  expect(answer).toContain("cannot be redacted");
  expect(answer).not.toContain(secret);
  for (const [place, content_] of await everything()) {
    expect([place, content_.includes(secret)]).toEqual([place, false]);
  }
});

test("redacted secrets are counted by rule and action", async () => {
  const metrics = (await everything()).get("/metrics")!;
  const counts = metrics
    .split("\n")
    .filter((line) => line.startsWith("tailgate_redact_matches_total"));
  expect(counts).toHaveLength(9);
  for (const line of counts)
    expect(line).toMatch(/rule="[a-z_]+".*action="mask".* [1-9]\d*$|action="mask".*rule=/);
});

const textValue = (value: string): Buffer => field(1, value);
const entry = (key: string, value: string | Uint8Array): Buffer =>
  field(1, field(1, key), field(2, typeof value === "string" ? textValue(value) : value));
const attribute = (key: string, value: string | Uint8Array): Buffer =>
  field(6, entry(key, value).subarray(2));
const map = (...entries: readonly Uint8Array[]): Buffer => field(6, ...entries);
const logRecord = (...fields: readonly Uint8Array[]): Buffer => field(2, ...fields);
const scopeLogsOf = (...fields: readonly Uint8Array[]): Buffer => field(2, ...fields);
const resourceLogsOf = (...fields: readonly Uint8Array[]): Buffer => field(1, ...fields);
const logs = (...fields: readonly Uint8Array[]): Buffer =>
  resourceLogsOf(scopeLogsOf(logRecord(...fields)));

test("a secret that protobuf hides is nowhere", async () => {
  const keyed = (secret: string): Buffer => map(entry("password", secret));
  const plain = (secret: string): string => `password=${secret}`;
  const fine = field(5, textValue("fine"));
  const forms: Record<string, (secret: string) => Uint8Array> = {
    "superseded body": (secret) => logs(field(5, textValue(plain(secret))), fine),
    "superseded body with a key": (secret) => logs(field(5, keyed(secret)), fine),
    "superseded attribute": (secret) =>
      logs(fine, attribute("password", secret), attribute("password", "")),
    "superseded nested attribute": (secret) =>
      logs(fine, attribute("a", keyed(secret)), attribute("a", "b")),
    "superseded value": (secret) =>
      logs(
        fine,
        field(6, field(1, "a"), field(2, textValue(plain(secret))), field(2, textValue("b"))),
      ),
    "superseded value of a key": (secret) =>
      logs(fine, field(6, field(1, "password"), field(2, textValue(secret)), field(2))),
    "superseded key": (secret) =>
      logs(fine, field(6, field(1, plain(secret)), field(1, "a"), field(2, textValue("b")))),
    "superseded content of a value": (secret) =>
      logs(fine, attribute("a", Buffer.concat([keyed(secret), textValue("b")]))),
    "unknown field of a record": (secret) => logs(fine, field(15, plain(secret))),
    "unknown field of an attribute": (secret) =>
      logs(fine, field(6, field(1, "a"), field(2, textValue("b")), field(9, plain(secret)))),
    "unknown field of a list": (secret) =>
      logs(fine, attribute("a", field(5, field(1, textValue("b")), field(9, plain(secret))))),
    "map of an identifier": (secret) => logs(fine, attribute("instance_id", keyed(secret))),
    "superseded resource": (secret) =>
      resourceLogsOf(field(1, entry("password", secret)), field(1), scopeLogsOf(logRecord(fine))),
    "superseded attribute of a resource": (secret) =>
      resourceLogsOf(
        field(1, entry("password", secret), entry("password", "")),
        scopeLogsOf(logRecord(fine)),
      ),
    "unknown field of a resource": (secret) =>
      resourceLogsOf(field(1, field(9, plain(secret))), scopeLogsOf(logRecord(fine))),
    "superseded scope": (secret) =>
      resourceLogsOf(
        scopeLogsOf(
          field(1, field(3, entry("password", secret).subarray(2))),
          field(1),
          logRecord(fine),
        ),
      ),
    "superseded legacy logs": (secret) =>
      resourceLogsOf(
        scopeLogsOf(logRecord(fine)),
        Buffer.from([0xc2, 0x3e]),
        field(0, field(2, field(5, textValue(plain(secret))))).subarray(1),
      ),
    "unknown field beside the scope": (secret) =>
      resourceLogsOf(scopeLogsOf(logRecord(fine), field(9, plain(secret)))),
    "unknown field beside the resource": (secret) =>
      resourceLogsOf(scopeLogsOf(logRecord(fine)), field(9, plain(secret))),
    "unknown field of the request": (secret) =>
      Buffer.concat([logs(fine), field(9, plain(secret))]),
  };
  const names = Object.keys(forms);
  const refused: string[] = [];
  for (const [index, name] of names.entries()) {
    const answer = await post("/v1/logs", forms[name]!(`hidden${index}Secret`), PROTOBUF_TYPE);
    if (answer !== "") refused.push(name);
  }
  // What is around the records is removed; records themselves are refused.
  expect(refused).not.toContain("superseded resource");
  expect(refused).not.toContain("unknown field of the request");
  const places = [...(await everything())];
  const leaks = names.flatMap((name, index) =>
    places
      .filter(([, content]) => content.includes(`hidden${index}Secret`))
      .map(([place]) => `${name}: ${place}`),
  );
  expect(leaks).toEqual([]);
});
