/** What trusted proxies say about their clients, and where the gateway serves what under a path prefix. */

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Forwarding, publicBase } from "../../src/auth/proxies/public-base.ts";
import { hostLogger } from "../../src/gateway/host-log.ts";
import { ask, handshake, HttpHarness, sendRaw } from "../harness/http-server.ts";

interface ProxiedOptions {
  readonly trustedProxies?: readonly string[];
  readonly basePath?: string;
  readonly allowedHosts?: readonly string[];
}

/** A gateway whose route /base returns the request as its client has sent it. */
async function open(options: ProxiedOptions = {}): Promise<HttpHarness & { proxyLines: string[] }> {
  const { allowedHosts = ["logs.example.com"], trustedProxies = [], basePath = "" } = options;
  const lines: string[] = [];
  const log = hostLogger("tailgate.http", (line) => void lines.push(line));
  const forwarding = new Forwarding({ trustedProxies, basePath, log });
  const harness = new HttpHarness({ allowedHosts, forwarding });
  harness.server.plugins.route("*", "/base", (request, response) => {
    response.end(JSON.stringify({ url: request.url, ...publicBase(request) }));
  });
  harness.server.plugins.upgrade("/ws", (request, socket) => socket.end(request.url));
  return Object.assign(await harness.open(), { proxyLines: lines });
}

const FORWARDED = {
  "X-Forwarded-For": "198.51.100.1, 203.0.113.7",
  "X-Forwarded-Proto": "https",
  "X-Forwarded-Host": "logs.example.com",
  "X-Forwarded-Prefix": "/tailgate",
};

describe("X-Forwarded-*", () => {
  test("of a trusted proxy counts", async () => {
    const harness = await open({ trustedProxies: ["127.0.0.0/8"] });
    const { body } = await ask(`${harness.url}/base?a=1`, { headers: FORWARDED });
    expect(JSON.parse(body)).toEqual({
      url: "/base?a=1",
      scheme: "https",
      host: "logs.example.com",
      path: "/tailgate",
      address: "203.0.113.7",
    });
    expect((await ask(`${harness.url}/metrics`)).body).toContain(
      'tailgate_http_forwarded_headers_ignored_total{header="x-forwarded-for"} 0\n',
    );
  });

  test("of anyone else is ignored, counted, and logged once", async () => {
    const harness = await open({ trustedProxies: ["10.0.0.0/8", "127.0.0.2"] });
    for (const _ of [1, 2]) {
      const { body } = await ask(`${harness.url}/base`, { headers: FORWARDED });
      expect(JSON.parse(body)).toEqual({
        url: "/base",
        scheme: "http",
        host: `127.0.0.1:${harness.port}`,
        path: "",
        address: "127.0.0.1",
      });
    }
    const { body: metrics } = await ask(`${harness.url}/metrics`);
    for (const name of Object.keys(FORWARDED)) {
      const sample = `tailgate_http_forwarded_headers_ignored_total{header="${name.toLowerCase()}"} 2\n`;
      expect(metrics).toContain(sample);
    }
    expect(harness.proxyLines.map((line) => line.split(" - WARNING - ")[1])).toEqual([
      "The header x-forwarded-for of a request from 127.0.0.1 was ignored: the address is not in trusted_proxies. Further ones are counted in /metrics only.",
    ]);
  });

  test.each<readonly [string, string, string]>([
    ["X-Forwarded-Proto", "gopher", "is neither http nor https"],
    ...[
      ...["tailgate", "//evil.example", "/a//b", "/..", "/a/../b", "/a b", '/"><script>', "/a, /b"],
      ...["https://evil.example", "/%2e", "\\evil.example", "/a;b"],
    ].map((prefix) => ["X-Forwarded-Prefix", prefix, "is not a path such as /tailgate"] as const),
  ])("%s %j of a trusted proxy is a bad request", async (name, value, why) => {
    const harness = await open({ trustedProxies: ["127.0.0.1"] });
    const { status, body } = await ask(`${harness.url}/base`, { headers: { [name]: value } });
    expect([status, body]).toEqual([
      400,
      `The header ${name} of the proxy ${why}: ${JSON.stringify(value)}.\n`,
    ]);
  });

  test("with several values counts as the nearest proxy says", async () => {
    const harness = await open({ trustedProxies: ["127.0.0.1"] });
    const headers = {
      "X-Forwarded-Proto": "http, https",
      "X-Forwarded-Host": "evil.example, localhost",
    };
    const { body } = await ask(`${harness.url}/base`, { headers });
    expect(JSON.parse(body)).toMatchObject({ scheme: "https", host: "localhost" });
  });

  test("a forwarded host must be allowed, and so must Host", async () => {
    const harness = await open({ trustedProxies: ["127.0.0.1"] });
    const statusWith = async (headers: Record<string, string>): Promise<number> =>
      (await ask(`${harness.url}/base`, { headers })).status;
    expect(await statusWith({ "X-Forwarded-Host": "evil.example" })).toBe(403);
    expect(await statusWith({ Host: "evil.example", "X-Forwarded-Host": "localhost" })).toBe(403);
    const { body } = await ask(`${harness.url}/base`, {
      headers: { "X-Forwarded-Host": "evil.example" },
    });
    expect(body).toMatch(/^The X-Forwarded-Host header "evil.example" does not name this gateway/);
  });

  test("Origin must match the forwarded host and scheme", async () => {
    const harness = await open({
      trustedProxies: ["127.0.0.1"],
      allowedHosts: ["logs.example.com:443"],
    });
    const statusOf = async (origin: string, forwarded: Record<string, string>): Promise<number> => {
      const headers = { Host: "localhost:1", Origin: origin, ...forwarded };
      return (await ask(`${harness.url}/base`, { headers })).status;
    };
    const forwarded = { "X-Forwarded-Host": "logs.example.com", "X-Forwarded-Proto": "https" };
    expect(await statusOf("https://logs.example.com", forwarded)).toBe(200);
    expect(await statusOf("http://logs.example.com", forwarded)).toBe(403);
    expect(await statusOf("https://evil.example", forwarded)).toBe(403);
    const local = { "X-Forwarded-Host": "localhost:8443", "X-Forwarded-Proto": "https" };
    expect(await statusOf("https://localhost:8443", local)).toBe(200);
    expect(await statusOf("https://localhost:9000", local)).toBe(403);
  });
});

describe("base_path", () => {
  test("everything is below it, and nothing but health and metrics outside of it", async () => {
    const harness = await open({ basePath: "/tailgate" });
    const statusOf = async (path: string): Promise<number> =>
      (await ask(harness.url + path)).status;
    for (const path of [
      "/",
      "/api/logs",
      "/api/stats",
      "/healthz",
      "/readyz",
      "/metrics",
      "/base",
    ]) {
      expect(await statusOf(`/tailgate${path}`)).toBe(200);
    }
    for (const path of ["/healthz", "/readyz", "/metrics"]) expect(await statusOf(path)).toBe(200);
    for (const path of ["/", "/api/logs", "/base", "/tailgateway/"]) {
      const { status, body } = await ask(harness.url + path);
      expect([status, body]).toEqual([
        404,
        `There is nothing at "${path}": the gateway is at /tailgate/.\n`,
      ]);
    }
    const { body } = await ask(`${harness.url}/tailgate/base?a=1`);
    expect(JSON.parse(body)).toMatchObject({ url: "/base?a=1", path: "/tailgate" });
    const missing = await ask(`${harness.url}/tailgate/nothing`);
    expect(missing.body).toContain('There is nothing at \\"/tailgate/nothing\\".');
    expect(missing.body).toContain("/tailgate/api/logs");
  });

  test("without its slash it is redirected, also as the client knows it", async () => {
    const harness = await open({ basePath: "/tailgate", trustedProxies: ["127.0.0.1"] });
    const location = async (headers: Record<string, string>): Promise<unknown> => {
      const answer = await ask(`${harness.url}/tailgate?q=a?b`, { headers });
      return [answer.status, answer.headers.location];
    };
    expect(await location({})).toEqual([308, "/tailgate/?q=a?b"]);
    expect(await location({ "X-Forwarded-Prefix": "/apps/" })).toEqual([
      308,
      "/apps/tailgate/?q=a?b",
    ]);
    expect(await location({ "X-Forwarded-Prefix": "/tailgate" })).toEqual([
      308,
      "/tailgate/?q=a?b",
    ]);
    const post = await ask(`${harness.url}/tailgate`, { method: "POST" });
    expect(post.status).toBe(404);
  });

  test("WebSockets are below it", async () => {
    const harness = await open({ basePath: "/tailgate" });
    const upgrade = (path: string): Promise<string> =>
      sendRaw(harness.port, handshake(path, { Host: "localhost" }));
    expect(await upgrade("/tailgate/ws?replay=1")).toBe("/ws?replay=1");
    expect(await upgrade("/ws")).toMatch(/^HTTP\/1.1 404 /);
    expect(await upgrade("/tailgate//ws")).toMatch(/^HTTP\/1.1 400 /);
    expect(await upgrade("http://localhost/tailgate/ws")).toBe("/ws");
  });

  test("a link from another site opens the dashboard there and nothing else", async () => {
    const harness = await open({ basePath: "/tailgate" });
    const headers = {
      "Sec-Fetch-Site": "cross-site",
      "Sec-Fetch-Mode": "navigate",
      "Sec-Fetch-Dest": "document",
    };
    const statusOf = async (path: string): Promise<number> =>
      (await ask(harness.url + path, { headers })).status;
    expect(await statusOf("/tailgate/")).toBe(200);
    expect(await statusOf("/tailgate/api/logs")).toBe(403);
    expect(await statusOf("/")).toBe(403);
  });
});

test("an ambiguous path is a bad request, and no such path reaches a route", async () => {
  const plain = await open();
  const below = await open({ basePath: "/tailgate" });
  const send = (port: number, path: string): Promise<string> =>
    sendRaw(port, `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  for (const path of [
    "/base/../base",
    "//base",
    "/./base",
    "/%2e/base",
    "/a\\..\\base",
    "/base#x",
  ]) {
    expect(await send(plain.port, path)).toMatch(/^HTTP\/1.1 400 /);
    expect(await send(below.port, `/tailgate${path}`)).toMatch(/^HTTP\/1.1 400 /);
  }
  const piece = fc.constantFrom(
    "/",
    "//",
    "..",
    ".",
    "%2f",
    "%2F",
    "%62",
    "\\",
    "base",
    "tailgate",
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { minLength: 1 }), async (pieces) => {
      const path = `/${pieces.join("")}`;
      const answer = await send(below.port, path);
      const isServed = answer.startsWith("HTTP/1.1 200 ");
      expect(isServed).toBe(["/tailgate/base", "/tailgate/"].includes(path));
    }),
    { numRuns: 100 },
  );
});
