import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ask, handshake, sendRaw, HttpHarness } from "../harness/http-server.ts";

const ENDING = "If it is meant to, add it to allowed_hosts in the configuration.";

async function statusOf(harness: HttpHarness, headers: Record<string, string>): Promise<number> {
  return (await ask(`${harness.url}/healthz`, { headers })).status;
}

/** Returns the status of a request for each of these values of a header. */
async function statuses(
  harness: HttpHarness,
  header: "Host" | "Origin",
  values: readonly string[],
): Promise<Record<string, number>> {
  const answers: Record<string, number> = {};
  for (const value of values) answers[value] = await statusOf(harness, { [header]: value });
  return answers;
}

function each(values: readonly string[], status: number): Record<string, number> {
  return Object.fromEntries(values.map((value) => [value, status]));
}

describe("Host", () => {
  test("accepts loopback names with any port, as for port forwards, or without one", async () => {
    const harness = await new HttpHarness().open();
    const names = ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"];
    const hosts = names.flatMap((name) => [name, `${name}:${harness.port}`, `${name}:9001`]);
    expect(await statuses(harness, "Host", hosts)).toEqual(each(hosts, 200));
  });

  test("rejects another name, reporting the header, its value and the option", async () => {
    const harness = await new HttpHarness().open();
    const { status, body, headers } = await ask(`${harness.url}/api/logs`, {
      headers: { Host: "evil.example" },
    });
    expect(status).toBe(403);
    expect(body).toBe(`The Host header "evil.example" does not name this gateway. ${ENDING}\n`);
    expect(headers["content-type"]).toBe("text/plain; charset=utf-8");
    expect(headers).not.toHaveProperty("access-control-allow-origin");
  });

  test("rejects names with the same prefix, trailing dots, invalid ports and user information", async () => {
    const harness = await new HttpHarness().open();
    const { port } = harness;
    const others = [
      "localhost:65536",
      "localhost.evil.example",
      "127.0.0.1.evil.example",
      `localhost.:${port}`,
      `user@localhost:${port}`,
      `localhost:${port}, localhost`,
      "[::2]",
      "127.0.0.2",
    ];
    expect(await statuses(harness, "Host", others)).toEqual(each(others, 403));
  });

  test("serves only health and metrics to HTTP/1.0 without Host; HTTP/1.1 without Host is a bad request", async () => {
    const harness = await new HttpHarness().open();
    for (const path of ["/healthz", "/readyz?verbose", "/metrics"]) {
      const answer = await sendRaw(harness.port, `GET ${path} HTTP/1.0\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1.1 200 /);
    }
    for (const path of ["/", "/api/logs", "/v1/logs", "/ws/logs", "/healthz/"]) {
      const answer = await sendRaw(harness.port, `GET ${path} HTTP/1.0\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1.1 403 /);
      expect(answer).toContain("The Host header (missing) does not name this gateway.");
    }
    const foreign = "GET /metrics HTTP/1.0\r\nOrigin: https://evil.example\r\n\r\n";
    expect(await sendRaw(harness.port, foreign)).toMatch(/^HTTP\/1.1 403 /);
    expect(await sendRaw(harness.port, "GET /healthz HTTP/1.1\r\n\r\n")).toMatch(/^HTTP\/1.1 400 /);
    const empty = "GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n";
    expect(await sendRaw(harness.port, empty)).toMatch(/^HTTP\/1.1 403 /);
  });

  test("rejects two Host headers as a bad request, whatever their values, also for an upgrade", async () => {
    const harness = await new HttpHarness().open();
    const heads = [
      "Host: localhost\r\nHost: localhost",
      "Host: localhost\r\nHost: evil.example",
      "HOST: evil.example\r\nX: y\r\nhost: localhost",
    ];
    for (const head of heads) {
      const request = `GET /api/logs HTTP/1.1\r\n${head}\r\nConnection: close\r\n\r\n`;
      expect(await sendRaw(harness.port, request)).toMatch(/^HTTP\/1.1 400 /);
      const upgrade = handshake("/ws/logs", {}).replace("\r\n", `\r\n${head}\r\n`);
      expect(await sendRaw(harness.port, upgrade)).toMatch(/^HTTP\/1.1 400 /);
    }
  });

  test("serves an absolute-form target by its path, and checks its host like the header", async () => {
    const harness = new HttpHarness();
    harness.server.plugins.route(
      "GET",
      "/mine",
      (request, response) => void response.end(request.url),
    );
    harness.server.plugins.upgrade("/ws", (request, socket) => socket.end(request.url));
    await harness.open();
    const answerTo = (target: string, host = "localhost"): Promise<string> =>
      sendRaw(harness.port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect(await answerTo("http://LOCALHOST:9/healthz")).toMatch(/^HTTP\/1.1 200 /);
    expect(await answerTo("http://localhost/mine?a=1")).toMatch(/200 OK[^]*\/mine\?a=1/);
    expect(await answerTo("http://localhost?a=1")).toMatch(/^HTTP\/1.1 200 /);
    expect(await answerTo("http://evil.example/healthz")).toMatch(/^HTTP\/1.1 403 /);
    expect(await answerTo("http://user@localhost/mine")).toMatch(/^HTTP\/1.1 403 /);
    expect(await answerTo("http://localhost/mine", "evil.example")).toMatch(/^HTTP\/1.1 403 /);
    expect(await answerTo("ftp://localhost/mine")).toMatch(/^HTTP\/1.1 400 /);
    const upgrade = (target: string): Promise<string> =>
      sendRaw(harness.port, handshake(target, { Host: "localhost" }));
    expect(await upgrade("http://localhost/ws?replay=1")).toBe("/ws?replay=1");
    expect(await upgrade("http://evil.example/ws")).toMatch(/^HTTP\/1.1 403 /);
  });

  test("allowed_hosts accepts a name with any port, or with the given port", async () => {
    const allowedHosts = ["Logs.Example.com", "other.example:8443", "proxy.example:443", "fd00::1"];
    const harness = await new HttpHarness({ allowedHosts }).open();
    const allowed = [
      "logs.example.com",
      "logs.example.com:444",
      "other.example:8443",
      "proxy.example",
      "[fd00::1]:9",
    ];
    const refused = [
      "other.example",
      "other.example:8444",
      "www.logs.example.com",
      "proxy.example:80",
    ];
    expect(await statuses(harness, "Host", allowed)).toEqual(each(allowed, 200));
    expect(await statuses(harness, "Host", refused)).toEqual(each(refused, 403));
  });

  test("accepts no other host than the listed ones", async () => {
    const harness = await new HttpHarness({ allowedHosts: ["logs.example.com"] }).open();
    const names = fc.oneof(
      fc.domain(),
      fc.ipV4(),
      fc.ipV6().map((address) => `[${address}]`),
    );
    const property = fc.asyncProperty(names, fc.option(fc.nat(65_535)), async (name, port) => {
      fc.pre(!["logs.example.com", "127.0.0.1", "[::1]"].includes(name));
      const host = port === null ? name : `${name}:${port}`;
      expect(await statusOf(harness, { Host: host })).toBe(403);
    });
    await fc.assert(property, { numRuns: 60 });
  });
});

describe("Origin", () => {
  test("serves pages of this gateway and of the original frontend", async () => {
    const harness = await new HttpHarness().open();
    const { port } = harness;
    const origins = [
      `http://localhost:${port}`,
      `http://127.0.0.1:${port}`,
      `http://[::1]:${port}`,
      `https://localhost:${port}`,
      "http://localhost:3000",
      "http://127.0.0.1:3000",
    ];
    expect(await statuses(harness, "Origin", origins)).toEqual(each(origins, 200));
  });

  test("rejects another site, reporting the header, its value and the option", async () => {
    const harness = await new HttpHarness().open();
    const { status, body } = await ask(`${harness.url}/api/logs`, {
      headers: { Origin: "https://evil.example" },
    });
    expect(status).toBe(403);
    expect(body).toBe(
      `The Origin header "https://evil.example" is not a page of this gateway. ${ENDING}\n`,
    );
  });

  test("rejects other ports of this machine, opaque origins and look-alikes", async () => {
    const harness = await new HttpHarness().open();
    const { port } = harness;
    const others = [
      "null",
      "",
      "http://localhost",
      `http://localhost:${port + 1}`,
      "https://localhost:3000",
      "http://localhost:3000.evil.example",
      `http://localhost:${port}/`,
      `http://user@localhost:${port}`,
      `ftp://localhost:${port}`,
      "chrome-extension://abcdefgh",
    ];
    expect(await statuses(harness, "Origin", others)).toEqual(each(others, 403));
  });

  test("through a port forward, only pages of the forwarded port are the gateway's own", async () => {
    const harness = await new HttpHarness().open();
    const own = [
      ["localhost:9001", "http://localhost:9001"],
      ["127.0.0.1:9001", "http://127.0.0.1:9001"],
      ["[::1]:9001", "http://[::1]:9001"],
      ["localhost", "http://localhost"],
      ["localhost", "https://localhost"],
    ];
    const others = [
      ["localhost:9001", "http://localhost:5000"],
      ["localhost:9001", "http://localhost"],
      ["localhost:9001", `http://localhost:${harness.port}`],
      [`localhost:${harness.port}`, "http://localhost:9001"],
      ["localhost:9001", "null"],
      ["evil.example:9001", "http://evil.example:9001"],
    ];
    for (const [status, pairs] of [
      [200, own],
      [403, others],
    ] as const) {
      for (const [Host = "", Origin = ""] of pairs) {
        expect({ Host, Origin, status: await statusOf(harness, { Host, Origin }) }).toEqual({
          Host,
          Origin,
          status,
        });
      }
    }
  });

  test("rejects pages of the original frontend if they are not trusted, unless they are listed", async () => {
    const origin = "http://localhost:3000";
    const harness = await new HttpHarness({ trustsDefaultOrigins: false }).open();
    expect(await statusOf(harness, { Origin: origin })).toBe(403);
    expect(await statusOf(harness, { Origin: "http://127.0.0.1:3000" })).toBe(403);
    expect(await statusOf(harness, { Origin: harness.url })).toBe(200);
    const listed = await new HttpHarness({
      trustsDefaultOrigins: false,
      allowedHosts: [origin],
    }).open();
    expect(await statusOf(listed, { Origin: origin })).toBe(200);
  });

  test("allowed_hosts accepts the pages of a host and of an origin, which does not count as a host", async () => {
    const allowedHosts = ["logs.example.com", "https://app.example:443/", "http://localhost:5173"];
    const harness = await new HttpHarness({ allowedHosts }).open();
    const origins = ["https://logs.example.com", "https://app.example", "http://localhost:5173"];
    expect(await statuses(harness, "Origin", origins)).toEqual(each(origins, 200));
    expect(await statusOf(harness, { Origin: "http://app.example" })).toBe(403);
    expect(await statusOf(harness, { Host: "app.example" })).toBe(403);
  });
});

describe("Sec-Fetch-Site", () => {
  const PATHS = [
    "/api/logs",
    "/api/counts",
    "/api/fields",
    "/api/stats",
    "/metrics",
    "/healthz",
    "/v1/logs",
  ];

  async function statusAt(
    harness: HttpHarness,
    path: string,
    headers: Record<string, string>,
  ): Promise<number> {
    return (await ask(harness.url + path, { headers })).status;
  }

  test("rejects requests of other sites without an Origin, such as images, on every path", async () => {
    const harness = new HttpHarness();
    harness.server.plugins.route("*", "/v1/logs", (_request, response) => void response.end());
    await harness.open();
    for (const path of PATHS) {
      for (const site of ["cross-site", "same-site", "Cross-Site", "same-origin, cross-site"]) {
        expect(await statusAt(harness, path, { "Sec-Fetch-Site": site })).toBe(403);
      }
      for (const site of ["same-origin", "none"]) {
        expect(await statusAt(harness, path, { "Sec-Fetch-Site": site })).toBe(200);
      }
    }
    const { body } = await ask(`${harness.url}/api/logs`, {
      headers: { "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image" },
    });
    expect(body).toBe(
      'A page of another site made the request (Sec-Fetch-Site "cross-site"), and it has no Origin header. Pages whose origin is in allowed_hosts can open the WebSocket.\n',
    );
  });

  test("serves requests with an accepted Origin from any site", async () => {
    const harness = await new HttpHarness().open();
    for (const site of ["cross-site", "same-site"]) {
      const headers = { "Sec-Fetch-Site": site, Origin: "http://localhost:3000" };
      expect(await statusAt(harness, "/api/logs", headers)).toBe(200);
      const foreign = { ...headers, Origin: "https://evil.example" };
      expect(await statusAt(harness, "/api/logs", foreign)).toBe(403);
    }
  });

  test("a link from another site opens only the dashboard", async () => {
    const harness = await new HttpHarness().open();
    const link = {
      "Sec-Fetch-Site": "cross-site",
      "Sec-Fetch-Mode": "navigate",
      "Sec-Fetch-Dest": "document",
    };
    expect(await statusAt(harness, "/", link)).toBe(200);
    expect(await statusAt(harness, "/?q=error", link)).toBe(200);
    expect(await statusAt(harness, "/api/logs", link)).toBe(403);
    expect(await statusAt(harness, "/", { ...link, "Sec-Fetch-Dest": "iframe" })).toBe(403);
    expect(await statusAt(harness, "/", { ...link, "Sec-Fetch-Mode": "no-cors" })).toBe(403);
    expect(await statusAt(harness, "/", { ...link, Host: "evil.example" })).toBe(403);
    const post = await ask(`${harness.url}/`, { method: "POST", headers: link });
    expect(post.status).toBe(403);
  });

  test("rejects an upgrade without an Origin from another site's page", async () => {
    const harness = new HttpHarness();
    harness.server.plugins.upgrade("/ws/logs", (_request, socket) => socket.end("taken"));
    await harness.open();
    const foreign = { Host: "localhost", "Sec-Fetch-Site": "cross-site" };
    const answer = await sendRaw(harness.port, handshake("/ws/logs", foreign));
    expect(answer).toMatch(/^HTTP\/1.1 403 /);
    const frontend = { ...foreign, Origin: "http://localhost:3000" };
    expect(await sendRaw(harness.port, handshake("/ws/logs", frontend))).toBe("taken");
    const forwarded = { Host: "localhost:9001", Origin: "http://localhost:9001" };
    expect(await sendRaw(harness.port, handshake("/ws/logs", forwarded))).toBe("taken");
  });
});

test("an invalid entry of allowed_hosts fails at startup", () => {
  for (const entry of ["*", "a b", "http://", "http://*.example.com", "host:port", ""]) {
    expect(() => new HttpHarness({ allowedHosts: [entry] })).toThrow(
      `allowed_hosts: ${JSON.stringify(entry)} is neither a host (logs.example.com), nor a host with a port, nor an origin (https://app.example.com).`,
    );
  }
});

test("accepts the bind host as a name of the gateway", async () => {
  const harness = await new HttpHarness({ host: "127.0.0.2" }).open();
  expect(harness.url).toBe(`http://127.0.0.2:${harness.port}`);
  expect(await statusOf(harness, {})).toBe(200);
});

test("guards upgrades and plugin routes alike", async () => {
  const harness = new HttpHarness();
  harness.server.plugins.upgrade("/ws/logs", (_request, socket) => socket.destroy());
  harness.server.plugins.route(
    "POST",
    "/v1/logs",
    (_request, response) => void response.end("taken"),
  );
  await harness.open();
  const cross = { Host: "localhost", Origin: "https://evil.example" };
  const answer = await sendRaw(harness.port, handshake("/ws/logs", cross));
  expect(answer).toMatch(/^HTTP\/1.1 403 Forbidden\r\nConnection: close\r\n/);
  expect(answer).toContain(
    'The Origin header "https://evil.example" is not a page of this gateway.',
  );
  const post = await ask(`${harness.url}/v1/logs`, { method: "POST", headers: cross });
  expect(post.status).toBe(403);
});

test("neither logs nor repeats user information before a host, which may be a password", async () => {
  const harness = await new HttpHarness().open();
  const { port } = harness;
  const requests = [
    `GET http://me:hidden@localhost:${port}/ HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: me:hidden@localhost:${port}\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: localhost:${port}\r\nOrigin: http://me:hidden@localhost:${port}\r\n\r\n`,
  ];
  const texts: string[] = [];
  for (const request of requests) {
    const answer = await sendRaw(port, request.replace("\r\n", "\r\nConnection: close\r\n"));
    expect(answer).toMatch(/^HTTP\/1.1 403 /);
    texts.push(answer);
  }
  expect(texts[0]).toContain(`The Host header "***@localhost:${port}" does not name`);
  expect(texts[2]).toContain(`The Origin header "http://***@localhost:${port}" is not`);
  expect([...texts, ...harness.lines].join("\n")).not.toContain("hidden");
});

test("logs each rejection once, without letting strangers flood the log", async () => {
  const harness = await new HttpHarness().open();
  for (let index = 0; index < 30; index++) {
    await statusOf(harness, { Host: `evil${index}.example` });
    await statusOf(harness, { Host: `evil${index}.example` });
  }
  expect(harness.lines).toHaveLength(20);
  expect(harness.lines[0]).toBe(
    `A request was rejected. The Host header "evil0.example" does not name this gateway. ${ENDING}`,
  );
  const { body } = await ask(`${harness.url}/metrics`);
  expect(body).toContain("\ntailgate_http_requests_refused_total 60\n");
});

test("guards a receiver's own port alike", async () => {
  const { createServer } = await import("node:http");
  const harness = await new HttpHarness().open();
  const receiver = createServer((request, response) => {
    response.end(harness.server.plugins.refusal(request) ?? "served");
  });
  await new Promise<void>((resolve) => void receiver.listen(0, "127.0.0.1", resolve));
  const { port } = receiver.address() as { port: number };
  const hosts = [`localhost:${port}`, "localhost:9001", "evil.example"];
  const answers = await Promise.all(
    hosts.map((host) => ask(`http://127.0.0.1:${port}/`, { headers: { Host: host } })),
  );
  receiver.close();
  expect(answers.map(({ body }) => body)).toEqual([
    "served",
    "served",
    `The Host header "evil.example" does not name this gateway. ${ENDING}`,
  ]);
});
