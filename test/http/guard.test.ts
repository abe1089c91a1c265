import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ask, handshake, sendRaw, Stage } from "./stage.ts";

const ENDING = "If it is meant to, add it to allowed_hosts in the configuration.";

async function statusOf(stage: Stage, headers: Record<string, string>): Promise<number> {
  return (await ask(`${stage.url}/healthz`, { headers })).status;
}

/** What requests with each of these values of a header are answered. */
async function statuses(
  stage: Stage,
  header: "Host" | "Origin",
  values: readonly string[],
): Promise<Record<string, number>> {
  const answers: Record<string, number> = {};
  for (const value of values) answers[value] = await statusOf(stage, { [header]: value });
  return answers;
}

function each(values: readonly string[], status: number): Record<string, number> {
  return Object.fromEntries(values.map((value) => [value, status]));
}

describe("Host", () => {
  test("names of loopback are served with the port or without one", async () => {
    const stage = await new Stage().open();
    const names = ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"];
    const hosts = names.flatMap((name) => [name, `${name}:${stage.port}`]);
    expect(await statuses(stage, "Host", hosts)).toEqual(each(hosts, 200));
  });

  test("another name is refused, with the header, its value and the option", async () => {
    const stage = await new Stage().open();
    const { status, body, headers } = await ask(`${stage.url}/api/logs`, {
      headers: { Host: "evil.example" },
    });
    expect(status).toBe(403);
    expect(body).toBe(`The Host header "evil.example" does not name this gateway. ${ENDING}\n`);
    expect(headers["content-type"]).toBe("text/plain; charset=utf-8");
    expect(headers).not.toHaveProperty("access-control-allow-origin");
  });

  test("another port, a name that begins alike, a trailing dot and user information are refused", async () => {
    const stage = await new Stage().open();
    const { port } = stage;
    const others = [
      `localhost:${port + 1}`,
      "localhost.evil.example",
      "127.0.0.1.evil.example",
      `localhost.:${port}`,
      `user@localhost:${port}`,
      `localhost:${port}, localhost`,
      "[::2]",
      "127.0.0.2",
    ];
    expect(await statuses(stage, "Host", others)).toEqual(each(others, 403));
  });

  test("a request of HTTP/1.0 without Host is refused, one of HTTP/1.1 is bad", async () => {
    const stage = await new Stage().open();
    const answer = await sendRaw(stage.port, "GET /healthz HTTP/1.0\r\n\r\n");
    expect(answer).toMatch(/^HTTP\/1.1 403 /);
    expect(answer).toContain("The Host header (missing) does not name this gateway.");
    expect(await sendRaw(stage.port, "GET /healthz HTTP/1.1\r\n\r\n")).toMatch(/^HTTP\/1.1 400 /);
    const empty = "GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n";
    expect(await sendRaw(stage.port, empty)).toMatch(/^HTTP\/1.1 403 /);
  });

  test("allowed_hosts lets a name in with any port, or with the one that it gives", async () => {
    const allowedHosts = ["Logs.Example.com", "other.example:8443", "proxy.example:443", "fd00::1"];
    const stage = await new Stage({ allowedHosts }).open();
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
    expect(await statuses(stage, "Host", allowed)).toEqual(each(allowed, 200));
    expect(await statuses(stage, "Host", refused)).toEqual(each(refused, 403));
  });

  test("no host but those listed is let in", async () => {
    const stage = await new Stage({ allowedHosts: ["logs.example.com"] }).open();
    const names = fc.oneof(
      fc.domain(),
      fc.ipV4(),
      fc.ipV6().map((address) => `[${address}]`),
    );
    const property = fc.asyncProperty(names, fc.option(fc.nat(65_535)), async (name, port) => {
      fc.pre(!["logs.example.com", "127.0.0.1", "[::1]"].includes(name));
      const host = port === null ? name : `${name}:${port}`;
      expect(await statusOf(stage, { Host: host })).toBe(403);
    });
    await fc.assert(property, { numRuns: 60 });
  });
});

describe("Origin", () => {
  test("pages of this gateway are served, and those of the original's frontend", async () => {
    const stage = await new Stage().open();
    const { port } = stage;
    const origins = [
      `http://localhost:${port}`,
      `http://127.0.0.1:${port}`,
      `http://[::1]:${port}`,
      `https://localhost:${port}`,
      "http://localhost:3000",
      "http://127.0.0.1:3000",
    ];
    expect(await statuses(stage, "Origin", origins)).toEqual(each(origins, 200));
  });

  test("another site is refused, with the header, its value and the option", async () => {
    const stage = await new Stage().open();
    const { status, body } = await ask(`${stage.url}/api/logs`, {
      headers: { Origin: "https://evil.example" },
    });
    expect(status).toBe(403);
    expect(body).toBe(
      `The Origin header "https://evil.example" is not a page of this gateway. ${ENDING}\n`,
    );
  });

  test("other ports of this machine, opaque origins and look-alikes are refused", async () => {
    const stage = await new Stage().open();
    const { port } = stage;
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
    expect(await statuses(stage, "Origin", others)).toEqual(each(others, 403));
  });

  test("allowed_hosts lets in pages of a host, and pages of an origin, which is no host", async () => {
    const allowedHosts = ["logs.example.com", "https://app.example:443/", "http://localhost:5173"];
    const stage = await new Stage({ allowedHosts }).open();
    const origins = ["https://logs.example.com", "https://app.example", "http://localhost:5173"];
    expect(await statuses(stage, "Origin", origins)).toEqual(each(origins, 200));
    expect(await statusOf(stage, { Origin: "http://app.example" })).toBe(403);
    expect(await statusOf(stage, { Host: "app.example" })).toBe(403);
    expect(await statusOf(stage, { Host: "localhost:5173" })).toBe(403);
  });
});

test("an entry of allowed_hosts that says nothing is an error at the start", () => {
  for (const entry of ["*", "a b", "http://", "http://*.example.com", "host:port", ""]) {
    expect(() => new Stage({ allowedHosts: [entry] })).toThrow(
      `allowed_hosts: ${JSON.stringify(entry)} is neither a host (logs.example.com), nor a host with a port, nor an origin (https://app.example.com).`,
    );
  }
});

test("the bind host is a name of its own", async () => {
  const stage = await new Stage({ host: "127.0.0.2" }).open();
  expect(stage.url).toBe(`http://127.0.0.2:${stage.port}`);
  expect(await statusOf(stage, {})).toBe(200);
});

test("upgrades and plugins' routes are guarded alike", async () => {
  const stage = new Stage();
  stage.server.plugins.upgrade("/ws/logs", (_request, socket) => socket.destroy());
  stage.server.plugins.route(
    "POST",
    "/v1/logs",
    (_request, response) => void response.end("taken"),
  );
  await stage.open();
  const cross = { Host: "localhost", Origin: "https://evil.example" };
  const answer = await sendRaw(stage.port, handshake("/ws/logs", cross));
  expect(answer).toMatch(/^HTTP\/1.1 403 Forbidden\r\nConnection: close\r\n/);
  expect(answer).toContain(
    'The Origin header "https://evil.example" is not a page of this gateway.',
  );
  const post = await ask(`${stage.url}/v1/logs`, { method: "POST", headers: cross });
  expect(post.status).toBe(403);
});

test("each refusal is logged once, and strangers cannot fill the log", async () => {
  const stage = await new Stage().open();
  for (let index = 0; index < 30; index++) {
    await statusOf(stage, { Host: `evil${index}.example` });
    await statusOf(stage, { Host: `evil${index}.example` });
  }
  expect(stage.lines).toHaveLength(20);
  expect(stage.lines[0]).toBe(
    `A request was refused. The Host header "evil0.example" does not name this gateway. ${ENDING}`,
  );
});

test("a receiver's own port is the gateway's too, with that port", async () => {
  const { createServer } = await import("node:http");
  const stage = await new Stage().open();
  const receiver = createServer((request, response) => {
    response.end(stage.server.plugins.refusal(request) ?? "served");
  });
  await new Promise<void>((resolve) => void receiver.listen(0, "127.0.0.1", resolve));
  const { port } = receiver.address() as { port: number };
  const hosts = [`localhost:${port}`, `localhost:${stage.port}`];
  const answers = await Promise.all(
    hosts.map((host) => ask(`http://127.0.0.1:${port}/`, { headers: { Host: host } })),
  );
  receiver.close();
  expect(answers.map(({ body }) => body)).toEqual([
    "served",
    `The Host header "localhost:${stage.port}" does not name this gateway. ${ENDING}`,
  ]);
});
