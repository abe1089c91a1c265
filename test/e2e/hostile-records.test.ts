/** Records that stress the formats: what happens to them and to records sent with them. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { LoggingManager } from "tailgate";
import { runCli } from "../harness/program.ts";
import { toJson, toProtobuf, type JsonRequest } from "../encode/generated-request.ts";
import { collect } from "../harness/client.ts";
import { temporaryDirectory } from "../harness/workspace.ts";

const LOGGER = "orchestrator.server";
const AUDIT = "orchestrator.audit";

/** 45 KB of text that takes more than 65 535 bytes in JSON. */
const LARGE = '"\n'.repeat(22_500);

const SECOND = 1_760_347_644_000_000_000n;

const FORMS = {
  protobuf: { type: "application/x-protobuf", body: toProtobuf },
  JSON: { type: "application/json", body: (request: JsonRequest) => toJson(request) },
} as const;

type Form = keyof typeof FORMS;

interface Line {
  readonly message?: string;
  readonly event?: string;
  readonly [name: string]: unknown;
}

const cleanUps: (() => Promise<unknown> | void)[] = [];
let logDir: string;
let logging: LoggingManager;

beforeAll(async () => {
  logDir = await temporaryDirectory(cleanUps);
  logging = await LoggingManager.start({
    port: 0,
    logDir,
    receivers: { otlp: { port: null } },
    exporters: { websocket: {}, file: {}, "audit-file": {} },
    registerGlobally: false,
    write: () => {},
  });
  cleanUps.push(() => logging.stop());
});

afterAll(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

/** A request with records of one logger, within one second and in the given order. */
function requestOf(
  texts: readonly string[],
  { logger = LOGGER, attributes = {} }: { logger?: string; attributes?: object } = {},
): JsonRequest {
  const logRecords = texts.map((stringValue, order) => ({
    timeUnixNano: String(SECOND + 1000n * BigInt(order)),
    severityNumber: 9,
    body: { stringValue },
    attributes: Object.entries(attributes).map(([key, value]) => ({
      key,
      value: { stringValue: String(value) },
    })),
  }));
  return {
    resourceLogs: [{ scopeLogs: [{ scope: { name: logger, attributes: [] }, logRecords }] }],
  };
}

async function post(request: JsonRequest, form: Form = "protobuf"): Promise<number> {
  const { type, body } = FORMS[form];
  const response = await fetch(`${logging.url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": type, "Content-Encoding": "gzip" },
    body: gzipSync(body(request)),
  });
  await response.arrayBuffer();
  return response.status;
}

async function found(query: string): Promise<string[]> {
  const response = await fetch(`${logging.url}/api/logs?${query}`);
  expect(response.status).toBe(200);
  const { records } = (await response.json()) as { records: { data: { message: string } }[] };
  return records.map(({ data }) => data.message);
}

function linesOf(path: string): Line[] {
  const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Line);
}

function systemLines(): string[] {
  return linesOf(join(logDir, "orchestrator.log")).map(({ message }) => message!);
}

function auditLines(): Line[] {
  const directory = join(logDir, "audit");
  const names = readdirSync(directory).filter((name) => /^audit_\d+\.jsonl$/.test(name));
  return names.sort().flatMap((name) => linesOf(join(directory, name)));
}

describe("a record whose envelope is longer than 65 535 bytes", () => {
  const emit = {
    "as protobuf": (texts: readonly string[]) =>
      post(requestOf(texts, { attributes: { a: "b" } }), "protobuf"),
    "as JSON": (texts: readonly string[]) =>
      post(requestOf(texts, { attributes: { a: "b" } }), "JSON"),
    "in process": async (texts: readonly string[]) => {
      for (const text of texts) logging.getLogger(LOGGER).info(text, { a: "b" });
      await logging.flush();
      return 200;
    },
  };

  it.each(Object.entries(emit))(
    "sent %s does not affect later records, wherever they are read",
    async (name, send) => {
      const texts = [`first ${name}`, LARGE + name, `second ${name}`, `third ${name}`];
      const url = `${logging.url.replace("http", "ws")}/ws/logs`;
      const live = await collect(url);
      expect(await send(texts)).toBe(200);
      await live.receiveUntil(({ data }) => data.message === texts.at(-1));
      expect(live.received.map(({ data }) => data.message)).toEqual(texts);
      expect(await found("order=desc&limit=4")).toEqual(texts.toReversed());
      expect(await found(`q=${encodeURIComponent(`"second ${name}"`)}`)).toEqual([texts[2]]);
      const replayed = await collect(`${url}?replay=4`);
      expect((await replayed.receive(4)).map(({ data }) => data.message)).toEqual(texts);
      await vi.waitFor(() => expect(systemLines().slice(-4)).toEqual(texts), 10_000);
      live.close();
      replayed.close();
    },
  );
});

describe("a record of an SDK", () => {
  it("with missing fields does not keep other records from being stored", async () => {
    const record = {
      hrTime: [1_760_347_644, 0],
      hrTimeObserved: [1_760_347_644, 0],
      body: "without a resource",
      attributes: { a: "b" },
      instrumentationScope: { name: LOGGER },
    };
    logging.processor.onEmit(record as never);
    await expect(logging.audit({ eventType: "beside it" })).resolves.toMatchObject({
      hash: expect.any(String) as string,
    });
    expect(await found("q=without")).toEqual(["without a resource"]);
  });
});

describe("an audit event", () => {
  const attributesOf = (count: number): Record<string, string> =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`name_${index}`, `${index}`]));

  it.each([
    [60_000, "JSON"],
    [60_000, "protobuf"],
  ] as const)(
    "with %i attributes in %s is stored, as are concurrent records",
    { timeout: 120_000 },
    async (count, form) => {
      const name = `many ${count} ${form}`;
      const many = requestOf([name], { logger: AUDIT, attributes: attributesOf(count) });
      const others = Array.from({ length: 20 }, (_, index) => `${name}, other ${index}`);
      const statuses = await Promise.all([
        ...others.slice(0, 10).map((text) => post(requestOf([text], { logger: AUDIT }))),
        post(many, form),
        ...others.slice(10).map((text) => post(requestOf([text], { logger: AUDIT }))),
      ]);
      expect(statuses).toEqual(statuses.map(() => 200));
      await logging.flush();
      const lines = auditLines().filter(({ event }) => event?.startsWith(name));
      expect(lines).toHaveLength(1 + others.length);
      expect(new Set(lines.map(({ event }) => event))).toEqual(new Set([name, ...others]));
      const line = lines.find(({ event }) => event === name)!;
      expect(line).toMatchObject({ name_0: "0", [`name_${count - 1}`]: `${count - 1}` });
    },
  );

  it("with more attributes than allowed is rejected permanently, alone", async () => {
    const many = requestOf(["too many"], { logger: AUDIT, attributes: attributesOf(200_000) });
    const other = requestOf(["beside too many"], { logger: AUDIT });
    expect(await Promise.all([post(many, "protobuf"), post(other)])).toEqual([400, 200]);
    await logging.flush();
    const events = auditLines().map(({ event }) => event);
    expect(events).toContain("beside too many");
    expect(events).not.toContain("too many");
  });

  it("with many attributes leaves a trail that verifies", async () => {
    // A checkpoint is signed on stop.
    await logging.stop();
    const verified = await runCli(["audit", "verify", "--log-dir", logDir]);
    expect([await verified.ended, verified.stderr]).toEqual([0, ""]);
  });
});
