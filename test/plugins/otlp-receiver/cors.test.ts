/** Requests of web pages of other origins. A real browser sends them in cors.browser.ts. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import * as fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { TailgateError } from "tailgate";
import otlpReceiver from "../../../plugins/otlp-receiver.ts";
import { CorsOrigins } from "../../../plugins/otlp-receiver/cors.ts";
import { JSON_TYPE, json, NODE, NODE_RECORDS, openReceiver, send } from "../../harness/otlp.ts";

const ORIGIN = "https://shop.example.com";
const CORS_ORIGINS = [ORIGIN, "http://localhost:*"];
const PATHS = ["/v1/logs", "/v1/traces", "/v1/metrics"];
const PREFLIGHT = { "Access-Control-Request-Method": "POST" };

test("preflight requests of accepted pages are answered on both ports, those of other pages are not", async () => {
  const { host, url } = await openReceiver({ cors_origins: CORS_ORIGINS });
  const main = await host.listen();
  const ask = (base: string, path: string, headers: Record<string, string>) =>
    send(base, Buffer.alloc(0), { method: "OPTIONS", path, headers });
  for (const base of [url, main]) {
    for (const path of PATHS) {
      const accepted = await ask(base, path, { ...PREFLIGHT, Origin: ORIGIN });
      expect(accepted.status).toBe(204);
      expect(accepted.headers).toMatchObject({
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": expect.stringMatching(
          /^authorization, .*content-type, traceparent/,
        ) as string,
        "access-control-max-age": "7200",
        vary: "Origin",
      });
      expect(accepted.headers).not.toHaveProperty("access-control-allow-private-network");
    }
    const local = { ...PREFLIGHT, Origin: "http://localhost:5173" };
    const fromPublic = { ...local, "Access-Control-Request-Private-Network": "true" };
    const { headers } = await ask(base, "/v1/logs", fromPublic);
    expect(headers).toMatchObject({
      "access-control-allow-origin": "http://localhost:5173",
      "access-control-allow-private-network": "true",
    });
    const other = await ask(base, "/v1/logs", { ...PREFLIGHT, Origin: "https://evil.example" });
    expect(other.status).toBe(403);
    expect(other.headers).not.toHaveProperty("access-control-allow-origin");
    expect(other.body.toString()).toContain(
      'The Origin header "https://evil.example" is not a page of this gateway. To let it send, add it to receivers.otlp.cors_origins in the configuration, or to allowed_hosts if its own server forwards the request.',
    );
    // Neither a preflight request, nor one of a page.
    for (const sent of [{ Origin: ORIGIN }, PREFLIGHT]) {
      expect((await ask(base, "/v1/logs", sent)).status).toBe(405);
    }
    // Other routes do not serve the pages.
    expect((await ask(main, "/healthz", { ...PREFLIGHT, Origin: ORIGIN })).status).toBe(403);
  }
});

test("an accepted page can read the response, whatever its status, and its records are stored", async () => {
  const options = { cors_origins: CORS_ORIGINS, max_body_bytes: 100_000, metrics: "reject" };
  const { host, intake, url } = await openReceiver(options);
  const main = await host.listen();
  const page = { ...json, Origin: ORIGIN };
  for (const base of [url, main]) {
    const readable = async (status: number, sending: object, body: Uint8Array = NODE) => {
      const answer = await send(base, body, { headers: page, ...sending });
      expect(answer.status).toBe(status);
      expect(answer.headers).toMatchObject({
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "Retry-After, WWW-Authenticate",
        vary: "Origin",
      });
      return answer;
    };
    const { received } = intake;
    expect((await readable(200, {})).body.toString()).toBe("{}");
    await readable(200, { path: "/v1/traces" });
    expect(intake.received).toBe(received + NODE_RECORDS);
    await readable(400, {}, Buffer.from("{"));
    await readable(404, { path: "/v1/metrics" });
    await readable(405, { method: "PUT" });
    await readable(413, {}, Buffer.alloc(100_001));
    await readable(415, { headers: { ...page, "Content-Type": "text/html" } });
    intake.error = new TailgateError("OVERLOADED", "The queue is full.");
    expect((await readable(429, {})).headers["retry-after"]).toBe("1");
    intake.error = new TailgateError("STOPPED", "The gateway is stopping.");
    await readable(503, {});
    intake.error = undefined;
    expect(intake.received).toBe(received + NODE_RECORDS);
  }
});

test("no other sender gets the headers, and no other page can send", async () => {
  const { host, intake, url } = await openReceiver({ cors_origins: CORS_ORIGINS });
  const main = await host.listen();
  for (const base of [url, main]) {
    const program = await send(base, NODE, { headers: json });
    expect([program.status, program.headers.vary]).toEqual([200, undefined]);
    for (const Origin of ["https://evil.example", `${ORIGIN}:8443`, "null", "http://127.0.0.1:1"]) {
      const other = await send(base, NODE, { headers: { ...json, Origin } });
      expect([Origin, other.status]).toEqual([Origin, 403]);
      expect(other.headers).not.toHaveProperty("access-control-allow-origin");
    }
    // Accepted as pages of the gateway's own, which need no CORS.
    const own = await send(base, NODE, { headers: { ...json, Origin: "http://localhost:3000" } });
    expect([own.status, own.headers["access-control-allow-origin"]]).toEqual([
      200,
      "http://localhost:3000",
    ]);
    const host2 = await send(base, NODE, { headers: { ...json, Origin: ORIGIN, Host: "evil" } });
    expect(host2.status).toBe(403);
  }
  expect(intake.received).toBe(4 * NODE_RECORDS);
});

test("the text of a beacon is OTLP in JSON on accepted pages only, and is forwarded as that", async () => {
  const types: unknown[] = [];
  const collector = createServer(async (request, response) => {
    types.push(request.headers["content-type"], String(await buffer(request)));
    response.end();
  }).listen(0, "127.0.0.1");
  await once(collector, "listening");
  onTestFinished(() => void collector.close());
  const to = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  const options = { cors_origins: CORS_ORIGINS, traces: { pass_on_to: to } };
  const { intake, url } = await openReceiver(options);
  const text = { "Content-Type": "text/plain;charset=UTF-8" };
  const stored = await send(url, NODE, { headers: { ...text, Origin: ORIGIN } });
  expect([stored.status, stored.headers["content-type"]]).toEqual([200, JSON_TYPE]);
  expect(intake.received).toBe(NODE_RECORDS);
  expect((await send(url, NODE, { headers: text })).status).toBe(415);
  const headers = { ...text, Origin: ORIGIN };
  await send(url, Buffer.from("{}"), { headers, path: "/v1/traces" });
  expect(types).toEqual([JSON_TYPE, "{}"]);
  expect(intake.received).toBe(NODE_RECORDS);
});

test("cors_origins accepts origins, and a star as the port alone", () => {
  const parse = (origin: string): boolean =>
    otlpReceiver.options.safeParse({ cors_origins: [origin] }).success;
  const valid = [
    "https://shop.example.com",
    "https://shop.example.com/",
    "HTTP://[::1]:3000",
    "capacitor://localhost",
  ];
  const invalid = ["*", "null", "https://*.example.com", "shop.example.com", "http://a/path", ""];
  expect(valid.filter((origin) => !parse(origin))).toEqual([]);
  expect(invalid.filter((origin) => parse(origin))).toEqual([]);
});

/** As the URL standard serializes the origin of a page. */
const origins = fc
  .tuple(
    fc.constantFrom("http", "https"),
    fc.oneof(fc.domain(), fc.ipV4(), fc.constant("[::1]")),
    fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined, freq: 2 }),
  )
  .map(([scheme, name, port]) => ({
    listed: `${scheme}://${name}${port === undefined ? "" : `:${port}`}`,
    anyPort: `${scheme}://${name}:*`,
  }))
  .map(({ listed, anyPort }) => ({ listed, anyPort, origin: new URL(listed).origin }));

test("an origin is accepted if and only if it is listed, with its port or with any", () => {
  fc.assert(
    fc.property(origins, origins, ({ listed, anyPort, origin }, other) => {
      const exact = new CorsOrigins([listed], "option");
      expect(exact.allows(origin)).toBe(true);
      expect(exact.allows(other.origin)).toBe(other.origin === origin);
      const any = new CorsOrigins([anyPort], "option");
      const hostOf = (url: string): string => `${new URL(url).protocol}${new URL(url).hostname}`;
      expect(any.allows(origin)).toBe(true);
      expect(any.allows(other.origin)).toBe(hostOf(other.origin) === hostOf(origin));
    }),
  );
});
