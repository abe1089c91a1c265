/** Receipts of audit events with the journal on disk: `await logging.audit(...)`, and the same over OTLP. */

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { LoggingManager, type LoggingOptions } from "tailgate";
import { KEYED_EVENTS_MAX } from "../src/journal/journal.ts";
import { temporaryDirectory } from "./harness/workspace.ts";

const cleanUps: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function start(logDir: string, options: LoggingOptions = {}): Promise<LoggingManager> {
  const manager = await LoggingManager.start({
    port: 0,
    logDir,
    receivers: { otlp: { port: null } },
    exporters: { "audit-file": {} },
    registerGlobally: false,
    write: () => {},
    ...options,
  });
  cleanUps.push(() => manager.stop());
  return manager;
}

interface AuditLine {
  readonly event: string;
  readonly seq: number;
  readonly hash: string;
  readonly logger: string;
  readonly "log.record.uid"?: string;
  readonly text: string;
}

async function auditLines(logDir: string): Promise<AuditLine[]> {
  const names = (await readdir(join(logDir, "audit"))).filter((name) => name.endsWith(".jsonl"));
  const texts = await Promise.all(
    names
      .filter((name) => name.startsWith("audit_"))
      .sort()
      .map((name) => readFile(join(logDir, "audit", name), "utf8")),
  );
  return texts
    .join("")
    .split("\n")
    .slice(0, -1)
    .map((text) => ({ ...(JSON.parse(text) as Omit<AuditLine, "text">), text }));
}

/** Returns the lines of events, without the checkpoints that the gateway adds. */
async function eventLines(logDir: string): Promise<AuditLine[]> {
  const lines = await auditLines(logDir);
  return lines.filter(({ logger }) => logger === "orchestrator.audit");
}

type Attributes = Readonly<Record<string, string>>;

function send(url: string, ...events: readonly Attributes[]): Promise<Response> {
  const logRecords = events.map((attributes) => ({
    timeUnixNano: "1760347644339163000",
    body: { stringValue: "instance_spawn" },
    attributes: Object.entries(attributes).map(([key, stringValue]) => ({
      key,
      value: { stringValue },
    })),
  }));
  const scopeLogs = [{ scope: { name: "orchestrator.audit" }, logRecords }];
  return fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs }] }),
  });
}

/** Sends audit events with these keys and one with a truncated attribute: the gateway rejects the whole request. */
async function sendBroken(url: string, keys: readonly string[]): Promise<number> {
  const logRecords = keys.map((key) => {
    const value = field(1, Buffer.from(key));
    const attribute = [field(1, Buffer.from("log.record.uid")), field(2, value)];
    return field(2, field(6, Buffer.concat(attribute)));
  });
  const scope = field(1, field(1, Buffer.from("orchestrator.audit")));
  const cutOff = field(2, field(6, Buffer.from([0x0a, 0x7f])));
  const body = field(1, field(2, Buffer.concat([scope, ...logRecords, cutOff])));
  const headers = { "Content-Type": "application/x-protobuf" };
  return (await fetch(`${url}/v1/logs`, { method: "POST", headers, body })).status;
}

/** Encodes a length-delimited protobuf field. */
function field(number: number, content: Buffer): Buffer<ArrayBuffer> {
  const length: number[] = [];
  for (let rest = content.length; ; rest >>>= 7) {
    if (rest < 128) {
      length.push(rest);
      break;
    }
    length.push((rest & 127) | 128);
  }
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), content]);
}

describe("a receipt", () => {
  it("has the sequence and the hash of the event's line, which standard tools can compute", async () => {
    const logDir = await temporaryDirectory(cleanUps);
    const logging = await start(logDir);
    const receipts = await Promise.all(
      ["one", "two", "three"].map((eventType) => logging.audit({ eventType, instanceId: "i-1" })),
    );
    await logging.flush();
    const lines = await auditLines(logDir);
    expect(receipts).toEqual(lines.map(({ seq, hash }) => ({ seq, hash })));
    let previous = "0".repeat(64);
    for (const { text, hash } of lines) {
      const hashed = previous + text.slice(0, text.lastIndexOf(',"hash":'));
      expect(createHash("sha256").update(hashed).digest("hex")).toBe(hash);
      previous = hash;
    }
  });

  it("continues the chain after a restart", async () => {
    const logDir = await temporaryDirectory(cleanUps);
    const first = await start(logDir);
    const before = await first.audit({ eventType: "before" });
    await first.stop();
    const second = await start(logDir);
    const after = await second.audit({ eventType: "after" });
    await second.stop();
    expect(after.seq).toBeGreaterThan(before.seq);
    const lines = await auditLines(logDir);
    const index = lines.findIndex(({ seq }) => seq === after.seq);
    const hashed = lines[index - 1]!.hash + lines[index]!.text.replace(/,"hash":"\w+"\}$/, "");
    expect(createHash("sha256").update(hashed).digest("hex")).toBe(after.hash);
  });

  it("is the original one for an event retried with its key, even after a restart", async () => {
    const logDir = await temporaryDirectory(cleanUps);
    const event = { eventType: "instance_spawn", instanceId: "i-1", details: { role: "general" } };
    const first = await start(logDir);
    const receipt = await first.audit(event, { key: "attempt-1" });
    expect(await first.audit(event, { key: "attempt-1" })).toEqual(receipt);
    first.logAuditEvent(event, { key: "attempt-1" });
    await first.stop();
    const second = await start(logDir);
    expect(await second.audit(event, { key: "attempt-1" })).toEqual(receipt);
    expect((await second.audit(event, { key: "attempt-2" })).seq).toBeGreaterThan(receipt.seq);
    await second.stop();
    const keys = (await eventLines(logDir)).map((line) => line["log.record.uid"]);
    expect(keys).toEqual(["attempt-1", "attempt-2"]);
  });

  it("is rejected with a code after stop", async () => {
    const logging = await start(await temporaryDirectory(cleanUps));
    await logging.stop();
    await expect(logging.audit({ eventType: "late" })).rejects.toMatchObject({
      code: "STOPPED",
      message: expect.stringContaining("was not stored"),
    });
  });

  it("has no hash if the journal is in memory", async () => {
    const logging = await start(await temporaryDirectory(cleanUps), {
      journal: { engine: "memory" },
    });
    expect(await logging.audit({ eventType: "one" })).toEqual({ seq: 1, hash: "" });
  });
});

describe("over OTLP", () => {
  it("a retried request stores an event with log.record.uid once, even after a restart", async () => {
    const logDir = await temporaryDirectory(cleanUps);
    const keyed = { event_type: "instance_spawn", "log.record.uid": "01J0" };
    const plain = { event_type: "instance_spawn" };
    const first = await start(logDir);
    for (const attributes of [keyed, plain, keyed, plain]) {
      expect((await send(first.url, attributes)).status).toBe(200);
    }
    await first.stop();
    const second = await start(logDir);
    expect((await send(second.url, keyed)).status).toBe(200);
    await second.stop();
    const keys = (await eventLines(logDir)).map((line) => line["log.record.uid"]);
    expect(keys).toEqual(["01J0", undefined, undefined]);
  });

  it("recognizes every remembered key after a rejected request, without false warnings", async () => {
    const lines: string[] = [];
    const { url, stop } = await withWrite(lines);
    const keyed = (key: string): Attributes => ({ "log.record.uid": key });
    await send(url, keyed("oldest"));
    const rest = Array.from({ length: KEYED_EVENTS_MAX - 1 }, (_, index) => keyed(`key-${index}`));
    for (let first = 0; first < rest.length; first += 16_384) {
      expect((await send(url, ...rest.slice(first, first + 16_384))).status).toBe(200);
    }
    expect(await sendBroken(url, ["new-1", "new-2", "key-7"])).toBe(400);
    const before = await newestSequence(url);
    expect((await send(url, keyed("oldest"))).status).toBe(200);
    expect(await newestSequence(url)).toBe(before);
    await stop();
    expect(lines.filter((line) => line.includes("key-7"))).toEqual([]);
  });
});

async function withWrite(lines: string[]) {
  const logging = await start(await temporaryDirectory(cleanUps), {
    journal: { engine: "memory" },
    exporters: {},
    write: (line) => void lines.push(line),
  });
  return { url: logging.url, stop: () => logging.stop() };
}

async function newestSequence(url: string): Promise<number> {
  const answer = (await (await fetch(`${url}/api/logs?limit=1`)).json()) as {
    records: readonly { readonly sequence: number }[];
  };
  return answer.records[0]!.sequence;
}
