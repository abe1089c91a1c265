import { once } from "node:events";
import { readFileSync } from "node:fs";
import {
  request as httpRequest,
  type Agent,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from "node:http";
import { buffer } from "node:stream/consumers";
import { setTimeout as wait } from "node:timers/promises";
import { expect, onTestFinished, vi } from "vitest";
import otlpReceiver from "../../plugins/otlp-receiver.ts";
import type { Receiver } from "tailgate/plugin";
import { testHost, type TestHost } from "tailgate/testing";
import { Records } from "../plugins/otlp-receiver/records.ts";

/** Posts each message as a record in OTLP/JSON; returns the status. */
export async function postMessages(
  url: string,
  messages: readonly string[],
  { logger = "orchestrator.server", severityNumber = 9 } = {},
): Promise<number> {
  const logRecords = messages.map((message) => ({
    timeUnixNano: "1760347644339163000",
    severityNumber,
    body: { stringValue: message },
  }));
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      resourceLogs: [{ scopeLogs: [{ scope: { name: logger }, logRecords }] }],
    }),
  });
  return response.status;
}

export const PROTOBUF = "application/x-protobuf";
export const JSON_TYPE = "application/json";
export const PYTHON = readFileSync(new URL("../golden/python-sdk.pb", import.meta.url));
export const PYTHON_RECORDS = 17;
export const NODE = readFileSync(new URL("../golden/node3-direct-json-1.json", import.meta.url));
export const NODE_RECORDS = 28;

export interface OpenReceiver {
  readonly host: TestHost;
  readonly intake: Records;
  readonly receiver: Receiver;
  /** `http://127.0.0.1:PORT` of the port for the protocol that was asked for, "" without one. */
  readonly url: string;
}

/** Opens the receiver with a free port for HTTP, until the end of the test. */
export function openReceiver(options: object = {}): Promise<OpenReceiver> {
  return openWith({ port: 0, ...options }, "(OTLP/HTTP)");
}

/** Opens the receiver with a free port for gRPC and none for HTTP, until the end of the test. */
export function openGrpcReceiver(options: object = {}): Promise<OpenReceiver> {
  return openWith({ port: null, grpc_port: 0, ...options }, "(OTLP/gRPC)");
}

async function openWith(given: object, protocol: string): Promise<OpenReceiver> {
  const host = await testHost("otlp");
  onTestFinished(() => host.close());
  const intake = new Records();
  const options = otlpReceiver.options.parse(given);
  const receiver = await otlpReceiver.open(options, Object.assign(host, { intake }));
  onTestFinished(() => receiver.close?.(AbortSignal.timeout(1000)));
  const line = host.lines.find((text) => text.endsWith(protocol)) ?? "";
  const [url = ""] = /^http:\/\/[^/ ]+/.exec(line) ?? [];
  return { host, intake, receiver, url };
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

interface Sending {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly agent?: Agent;
  /** With Content-Length; without it the body is chunked, as SDKs send theirs. */
  readonly length?: boolean;
}

/** Posts a body as an SDK does. */
export async function send(url: string, body: Uint8Array, sending: Sending = {}): Promise<Answer> {
  const { method = "POST", path = "/v1/logs", headers = {}, agent, length = false } = sending;
  const request = httpRequest(`${url}${path}`, {
    method,
    ...(agent && { agent }),
    headers: {
      "Content-Type": PROTOBUF,
      ...(length && { "Content-Length": String(body.length) }),
      ...headers,
    },
  });
  request.end(body);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return {
    status: response.statusCode!,
    headers: response.headers,
    body: await buffer(response),
  };
}

/** An upload that has sent that many bytes and occupies them in a budget of 100 kB. */
export async function startUpload(url: string, bytes: number): Promise<ClientRequest> {
  const upload = httpRequest(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": PROTOBUF },
  });
  upload.write(Buffer.alloc(bytes));
  await vi.waitFor(async () => {
    const { body } = await send(url, Buffer.alloc(100_000 - bytes + 1));
    expect(body.toString()).toContain(`already hold ${bytes} bytes`);
  });
  return upload;
}

/** A google.rpc.Status in protobuf: its code and its message. */
export function statusOf({ body }: Answer): { code: number; message: string } {
  expect([body[0], body[2]]).toEqual([0x08, 0x12]);
  const start = body[3]! < 0x80 ? 4 : 5;
  return { code: body[1]!, message: body.subarray(start).toString() };
}

export const json = { "Content-Type": JSON_TYPE };
export const gzip = { "Content-Encoding": "gzip" };

const FEED_MS = 10;

/**
 * Sends numbered records at a rate until the signal aborts. Records due while the gateway is down
 * are skipped.
 */
export async function feed(
  url: string,
  recordsPerSecond: number,
  signal: AbortSignal,
): Promise<void> {
  const startMs = performance.now();
  let sent = 0;
  while (!signal.aborted) {
    const due = Math.floor(((performance.now() - startMs) / 1000) * recordsPerSecond) - sent;
    if (due > 0) await sendNumbered(url, sent, due).catch(() => {});
    sent += due;
    await wait(FEED_MS);
  }
}

async function sendNumbered(url: string, from: number, count: number): Promise<void> {
  const logRecords = Array.from({ length: count }, (_, offset) => ({
    severityText: (from + offset) % 50 === 0 ? "ERROR" : "INFO",
    body: { stringValue: `record ${from + offset} ${"x".repeat((from + offset) % 100)}` },
  }));
  const resourceLogs = [{ scopeLogs: [{ scope: { name: "orchestrator.load" }, logRecords }] }];
  await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs }),
  });
}
