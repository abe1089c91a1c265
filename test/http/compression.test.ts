/** Responses are compressed as the client asks for it; Node's zlib decompresses them. */

import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { buffer } from "node:stream/consumers";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { LoggingManager } from "tailgate";
import { Workspace } from "../harness/workspace.ts";

const RECORDS = 3000;

let workspace: Workspace;
let logging: LoggingManager;

beforeAll(async () => {
  workspace = await Workspace.create();
  logging = await LoggingManager.start({
    port: 0,
    logDir: workspace.path("logs"),
    exporters: {},
    registerGlobally: false,
    write: () => {},
  });
  const log = logging.getLogger("orchestrator.server");
  for (let index = 0; index < RECORDS; index++) log.info(`Instance inst-${index} finished: é`);
  await logging.flush();
});

afterAll(async () => {
  await logging.stop();
  await workspace[Symbol.asyncDispose]();
});

async function get(
  path: string,
  acceptEncoding?: string,
  method = "GET",
): Promise<IncomingMessage> {
  const headers = acceptEncoding === undefined ? {} : { "Accept-Encoding": acceptEncoding };
  const [response] = (await once(
    request(new URL(path, logging.url), { method, headers }).end(),
    "response",
  )) as [IncomingMessage];
  return response;
}

const DECOMPRESS: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  gzip: gunzipSync,
  br: brotliDecompressSync,
  zstd: zstdDecompressSync,
};

const PAGE = `/api/logs?limit=1000`;
const LINES = `/api/logs?limit=1000&format=ndjson`;

test.each(["gzip", "br", "zstd"])("records are compressed with %s", async (coding) => {
  for (const path of [PAGE, LINES]) {
    const plain = await get(path);
    const whole = await buffer(plain);
    expect(plain.headers["content-encoding"]).toBe(undefined);
    expect(plain.headers["vary"]).toBe("Accept-Encoding");
    expect(Number(plain.headers["content-length"])).toBe(whole.length);
    const response = await get(path, coding);
    expect(response.headers).toMatchObject({
      "content-encoding": coding,
      "content-type": plain.headers["content-type"],
      vary: "Accept-Encoding",
    });
    const bytes = await buffer(response);
    expect(bytes.length / whole.length).toBeLessThan(0.2);
    expect(DECOMPRESS[coding]!(bytes)).toEqual(whole);
  }
});

test.each([
  ["gzip, deflate, br, zstd", "zstd"],
  ["gzip;q=0.5, br;q=0.9", "br"],
  ["zstd;q=0, br;q=0, *", "gzip"],
  ["identity, gzip;q=0.1", "gzip"],
  ["deflate", undefined],
  ["gzip;q=0", undefined],
])("of %s, %s is chosen", async (accepted, coding) => {
  const response = await get(PAGE, accepted);
  expect(response.headers["content-encoding"]).toBe(coding);
  await buffer(response);
});

test("small responses and health checks are not compressed", async () => {
  for (const path of ["/api/logs?limit=1", "/healthz"]) {
    const response = await get(path, "gzip");
    expect([path, response.headers["content-encoding"]]).toEqual([path, undefined]);
    await buffer(response);
  }
  const head = await get(PAGE, "gzip", "HEAD");
  expect(head.headers["content-encoding"]).toBe("gzip");
  expect(await buffer(head)).toHaveLength(0);
});

test("a client that leaves during a compressed response holds no memory", async () => {
  const response = await get(LINES, "zstd");
  response.destroy();
  await vi.waitFor(async () => {
    const metrics = String(await buffer(await get("/metrics")));
    expect(/^tailgate_http_answer_bytes (\d+)$/m.exec(metrics)?.[1]).toBe("0");
  });
});
