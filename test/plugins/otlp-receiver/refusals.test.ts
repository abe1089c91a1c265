/** Rejected HTTP requests and their responses. */

import { gzipSync } from "node:zlib";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { sendRaw } from "../../harness/http-server.ts";
import { TailgateError } from "tailgate";
import {
  gzip,
  startUpload,
  json,
  JSON_TYPE,
  NODE,
  openReceiver,
  PROTOBUF,
  PYTHON,
  send,
  statusOf,
} from "../../harness/otlp.ts";

describe("a rejection", () => {
  it("of another method is 405 with Allow", async () => {
    const { url } = await openReceiver();
    const answer = await send(url, Buffer.alloc(0), { method: "PUT" });
    expect(answer.status).toBe(405);
    expect(answer.headers.allow).toBe("POST");
    expect(statusOf(answer)).toEqual({ code: 12, message: "/v1/logs requires POST." });
  });

  it("of another content type is 415, as JSON", async () => {
    const { url } = await openReceiver();
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"]) {
      const answer = await send(url, NODE, { headers: { "Content-Type": type } });
      expect(answer.status).toBe(415);
      expect(answer.headers["content-type"]).toBe(JSON_TYPE);
      const message = `The Content-Type must be ${PROTOBUF} or ${JSON_TYPE}.`;
      expect(JSON.parse(answer.body.toString())).toEqual({ code: 3, message });
    }
  });

  it("of a browser's request is a status in JSON, too", async () => {
    const { url } = await openReceiver();
    const method = await fetch(`${url}/v1/logs`);
    expect(method.status).toBe(405);
    expect(await method.json()).toEqual({ code: 12, message: "/v1/logs requires POST." });
    const path = await fetch(`${url}/`);
    expect(path.status).toBe(404);
    expect(await path.json()).toEqual({
      code: 5,
      message: "Not found. Send logs to /v1/logs.",
    });
  });

  it("of what cannot be decoded is 400 with the path, in the request's type", async () => {
    const { url, intake } = await openReceiver();
    const wrong = await send(url, Buffer.from('{"resourceLogs":1}'), { headers: json });
    expect(wrong.status).toBe(400);
    expect(wrong.headers["content-type"]).toBe(JSON_TYPE);
    const mend =
      "No record of the request was stored. Send an ExportLogsServiceRequest as protobuf or JSON.";
    expect(JSON.parse(wrong.body.toString())).toEqual({
      code: 3,
      message: `The OTLP request is wrong at resourceLogs: a number is not an array. ${mend}`,
    });
    const cut = await send(url, PYTHON.subarray(0, 99));
    expect(cut.status).toBe(400);
    expect(statusOf(cut).message).toMatch(
      /^The OTLP request is wrong at byte \d+ of 99: a length of \d+ exceeds/,
    );
    expect(intake.received).toBe(0);
  });

  it.each([
    ["that is none", Buffer.from("no gzip")],
    ["that is cut off", gzipSync(PYTHON).subarray(0, 200)],
    ["that is cut off and large", gzipSync(noise(300_000)).subarray(0, 200_000)],
  ])("of gzip %s is 400", async (_, body) => {
    const { url } = await openReceiver();
    const answer = await send(url, body, { headers: gzip });
    expect(answer.status).toBe(400);
    expect(statusOf(answer)).toEqual({ code: 3, message: "The body is not valid gzip." });
  });

  it("of a body that is too large is 413, and reaches a client that is still sending", async () => {
    const { url } = await openReceiver({ max_body_bytes: 1000 });
    for (const length of [false, true]) {
      const answer = await send(url, Buffer.alloc(5_000_000), { length });
      expect(answer.status).toBe(413);
      expect(statusOf(answer).message).toBe(
        "The body is larger than 1000 bytes; send fewer records per request.",
      );
    }
    expect((await send(url, Buffer.alloc(0))).status).toBe(200);
  });

  it.each([
    ["small", gzipSync(Buffer.alloc(10_000_000))],
    ["large", Buffer.concat([gzipSync(noise(100_000)), gzipSync(Buffer.alloc(100_000_000))])],
  ])("of a gzip bomb that is %s is 413, and decompression stops at the limit", async (_, bomb) => {
    const { url } = await openReceiver({ max_inflated_bytes: 1_000_000 });
    const before = process.memoryUsage().arrayBuffers;
    let peak = before;
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().arrayBuffers);
    }, 1);
    onTestFinished(() => clearInterval(watch));
    const answer = await send(url, bomb, { headers: gzip });
    expect(answer.status).toBe(413);
    expect(statusOf(answer).message).toBe(
      "The body is larger than 1000000 bytes after decompression; send fewer records per request.",
    );
    expect(peak - before).toBeLessThan(30_000_000);
  });

  it("for lack of capacity for bodies in flight is 503 with Retry-After, until there is capacity again", async () => {
    const { url } = await openReceiver({ max_in_flight_bytes: 100_000 });
    const slow = await startUpload(url, 90_000);
    const answer = await send(url, Buffer.alloc(20_000));
    expect(answer.headers["retry-after"]).toBe("1");
    expect(statusOf(answer)).toEqual({
      code: 14,
      message: "Requests in flight already hold 90000 bytes.",
    });
    slow.destroy();
    slow.on("error", () => {});
    await vi.waitFor(async () => expect((await send(url, PYTHON)).status).toBe(200));
  });

  it("for lack of capacity releases its own share at once, even while still being sent", async () => {
    const { url } = await openReceiver({ max_in_flight_bytes: 100_000 });
    const slow = await startUpload(url, 90_000);
    slow.write(Buffer.alloc(20_000));
    await vi.waitFor(async () => expect((await send(url, Buffer.alloc(95_000))).status).toBe(400));
    slow.on("error", () => {}).destroy();
  });

  it("counts bodies decompressed in another thread as in flight too", async () => {
    const { url } = await openReceiver({ max_in_flight_bytes: 500_000 });
    const body = Buffer.concat([gzipSync(noise(100_000)), gzipSync(Buffer.alloc(1_000_000))]);
    expect((await send(url, body, { headers: gzip })).status).toBe(503);
    expect((await send(url, PYTHON)).status).toBe(200);
  });

  it.each([
    ["OVERLOADED", 429, 8],
    ["STOPPED", 503, 14],
  ] as const)("where the intake says %s is %i with Retry-After", async (code, status, rpc) => {
    const { url, intake } = await openReceiver();
    intake.error = new TailgateError(code, "No.");
    const answer = await send(url, PYTHON);
    expect(answer.status).toBe(status);
    expect(answer.headers["retry-after"]).toBe("1");
    expect(statusOf(answer)).toEqual({ code: rpc, message: (intake.error as Error).message });
  });

  it("after an internal error is 503, so that the client retains the records, and is logged", async () => {
    const { url, intake, host } = await openReceiver();
    intake.error = new RangeError("a bug");
    const answer = await send(url, PYTHON);
    expect(answer.status).toBe(503);
    expect(answer.headers["retry-after"]).toBe("1");
    expect(statusOf(answer).message).toBe("The request failed: a bug");
    expect(host.lines.join("\n")).toContain("A request failed.");
  });

  it("of another path names the right one", async () => {
    const { url } = await openReceiver();
    const other = await send(url, PYTHON, { path: "/" });
    expect(other.status).toBe(404);
    expect(statusOf(other)).toEqual({
      code: 5,
      message: "Not found. Send logs to /v1/logs.",
    });
    expect((await send(url, PYTHON, { path: "/v1/logs?x=1" })).status).toBe(200);
  });

  it("of a cross-site page, or of a host name that is not allowed, is 403", async () => {
    const { url, intake } = await openReceiver();
    const page = await send(url, NODE, { headers: { ...json, Origin: "http://evil.example" } });
    expect(page.status).toBe(403);
    const { code, message } = JSON.parse(page.body.toString()) as { code: number; message: string };
    expect(code).toBe(7);
    expect(message).toContain(
      'The Origin header "http://evil.example" is not a page of this gateway',
    );
    const rebound = await send(url, PYTHON, { headers: { Host: "evil.example" } });
    expect(rebound.status).toBe(403);
    expect(intake.received).toBe(0);
  });

  it("with two Host headers is 400, on both ports; with a host in its target it is served", async () => {
    const { url, host, intake } = await openReceiver();
    for (const at of [url, await host.listen()]) {
      const port = Number(new URL(at).port);
      const head = `Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`;
      const twice = `POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n${head}`;
      const refused = await sendRaw(port, twice);
      expect(refused).toMatch(/^HTTP\/1.1 400 /);
      expect(refused).toContain(
        '{"code":3,"message":"The request has more than one Host header."}',
      );
      const post = (target: string): string =>
        `POST ${target}/v1/logs HTTP/1.1\r\nHost: localhost\r\n${head}`;
      expect(await sendRaw(port, post("http://localhost"))).toMatch(/^HTTP\/1.1 200 /);
      expect(await sendRaw(port, post("http://evil.example"))).toMatch(/^HTTP\/1.1 403 /);
    }
    const foreign = { ...json, "Sec-Fetch-Site": "cross-site" };
    expect((await send(url, NODE, { headers: foreign })).status).toBe(403);
    expect(intake.received).toBe(0);
  });

  it("on the main port has the same form as on the receiver's own", async () => {
    const { host, intake } = await openReceiver({ port: null });
    const main = await host.listen();
    const rebound = await send(main, PYTHON, { headers: { Host: "evil.example" } });
    expect(rebound.status).toBe(403);
    expect(statusOf(rebound)).toMatchObject({ code: 7, message: expect.stringContaining("Host") });
    expect(intake.received).toBe(0);
  });
});

/** Incompressible bytes. */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 1;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}
