import { Agent, get, request as httpRequest } from "node:http";
import { connect, createServer } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, test, vi } from "vitest";
import { TailgateError } from "tailgate";
import type { RouteHandler } from "tailgate/plugin";
import { ask, handshake, sendRaw, HttpHarness } from "../harness/http-server.ts";

const ok: RouteHandler = (_request, response) => void response.end("ok");

describe("listening", () => {
  test("reports a port in use with the port and the option", async () => {
    const harness = await new HttpHarness().open();
    const second = new HttpHarness({ port: harness.port });
    const error = await second.open().catch((thrown: unknown) => thrown);
    expect(TailgateError.is(error, "PORT_IN_USE")).toBe(true);
    expect(String(error)).toBe(
      `TailgateError: Port ${harness.port} on 127.0.0.1 is already in use. Stop the program that listens there, or choose another port (0 picks a free one).`,
    );
    await second.server.close(AbortSignal.abort());
  });

  test("reports an address that this machine does not have", async () => {
    const error = await new HttpHarness({ host: "192.0.2.1", port: 8001 })
      .open()
      .catch((thrown: unknown) => thrown);
    expect(TailgateError.is(error, "LISTEN_FAILED")).toBe(true);
    expect(String(error)).toContain("Cannot listen on 192.0.2.1:8001: ");
  });

  test("shows IPv6 addresses in URL form", async () => {
    const harness = await new HttpHarness({ host: "::1" }).open();
    expect(harness.url).toBe(`http://[::1]:${harness.port}`);
    expect((await ask(`${harness.url}/healthz`)).status).toBe(200);
  });

  test("two gateways serve side by side in one process", async () => {
    const harnesses = [await new HttpHarness().open(), await new HttpHarness().open()];
    harnesses[0]!.component({ id: "mine" }).received = 7;
    const [one, other] = await Promise.all(harnesses.map(({ url }) => ask(`${url}/metrics`)));
    expect(one!.body).toContain(
      'tailgate_records_received_total{component="mine",kind="exporter"} 7',
    );
    expect(other!.body).not.toContain("mine");
  });
});

describe("plugin routes", () => {
  test("are called with Node's own request and response, by path and method", async () => {
    const harness = new HttpHarness();
    harness.server.plugins.route("POST", "/v1/logs", async (request, response) => {
      response.end(`got ${await text(request)}`);
    });
    harness.server.plugins.route(
      "*",
      "/any",
      (request, response) => void response.end(request.method),
    );
    await harness.open();
    const answer = await fetch(`${harness.url}/v1/logs?x=1`, { method: "POST", body: "records" });
    expect(await answer.text()).toBe("got records");
    expect((await ask(`${harness.url}/any`, { method: "PUT" })).body).toBe("PUT");
    const wrong = await ask(`${harness.url}/v1/logs`);
    expect(wrong.status).toBe(405);
    expect(wrong.headers["allow"]).toBe("POST");
    expect(wrong.body).toBe("Allowed methods: POST.\n");
  });

  test("have a handler for OPTIONS beside that for all methods, and serve other pages if they say so", async () => {
    const harness = new HttpHarness();
    const { plugins } = harness.server;
    const crossOrigin = { allows: (origin: string) => origin === "https://a.example", option: "o" };
    plugins.route("OPTIONS", "/v1/logs", (_, response) => void response.end("options"), {
      crossOrigin,
    });
    plugins.route("*", "/v1/logs", ok);
    expect(() => plugins.route("OPTIONS", "/v1/logs", ok)).toThrow("is already registered");
    expect(() => plugins.route("GET", "/v1/logs", ok)).toThrow("is already registered");
    await harness.open();
    const answer = (method: string, origin: string) =>
      ask(`${harness.url}/v1/logs`, { method, headers: { Origin: origin } });
    expect((await answer("OPTIONS", "https://a.example")).body).toBe("options");
    expect((await answer("OPTIONS", "https://b.example")).body).toContain("add it to o in the");
    expect((await answer("PUT", "https://a.example")).status).toBe(403);
  });

  test("cannot reuse a path of another plugin or of the gateway", () => {
    const { plugins } = new HttpHarness().server;
    plugins.route("GET", "/mine", ok);
    plugins.route("POST", "/mine", ok);
    plugins.upgrade("/ws", () => {});
    expect(() => plugins.route("GET", "/mine", ok)).toThrow(
      "The route GET /mine is already registered.",
    );
    expect(() => plugins.route("*", "/mine", ok)).toThrow(
      "The route * /mine is already registered.",
    );
    expect(() => plugins.upgrade("/ws", () => {})).toThrow(
      "WebSockets at /ws are already registered.",
    );
    expect(() => plugins.route("GET", "mine", ok)).toThrow(
      "The route mine does not start with a slash.",
    );
    for (const path of ["/", "/api/logs", "/metrics"]) {
      expect(() => plugins.route("GET", path, ok)).toThrow(
        `The route GET ${path} is already registered.`,
      );
    }
  });

  test("that throw, synchronously or later, are answered 500 and logged, in isolation", async () => {
    const harness = new HttpHarness();
    harness.server.plugins.route("GET", "/now", () => {
      throw new Error("broken now");
    });
    harness.server.plugins.route("GET", "/later", async (_request, response) => {
      response.write("begun");
      await Promise.resolve();
      throw new Error("broken later");
    });
    await harness.open();
    expect(await ask(`${harness.url}/now?key=secret`)).toMatchObject({
      status: 500,
      body: "The gateway failed to handle the request.\n",
    });
    await expect(ask(`${harness.url}/later`)).rejects.toThrow("aborted");
    expect(harness.lines).toEqual([
      "GET /now failed. broken now",
      "GET /later failed. broken later",
    ]);
    expect((await ask(`${harness.url}/healthz`)).status).toBe(200);
  });
});

describe("the gateway's own responses", () => {
  test("have the security headers, and no CORS headers", async () => {
    const harness = await new HttpHarness().open();
    for (const path of ["/", "/api/logs", "/metrics", "/healthz", "/nowhere"]) {
      const { headers } = await ask(harness.url + path, { headers: { Origin: harness.url } });
      expect(headers).toMatchObject({
        "content-security-policy":
          "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": path === "/" ? "no-cache" : "no-store",
      });
      expect(Object.keys(headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
    }
  });

  test("an unknown path is answered 404 with the known paths", async () => {
    const harness = await new HttpHarness().open();
    const { status, body, headers } = await ask(`${harness.url}/api/log?x`);
    expect(status).toBe(404);
    expect(headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(JSON.parse(body)).toEqual({
      error: {
        code: "NOT_FOUND",
        message:
          'There is nothing at "/api/log". Available paths: /, /login, /api/logs, /api/logs/{sequence}, /api/counts, /api/fields, /api/fields/{name}/values, /api/patterns, /api/stats, /api/whoami, /api/tickets, /healthz, /readyz, /metrics.',
      },
    });
  });

  test("other methods than GET and HEAD are answered 405", async () => {
    const harness = await new HttpHarness().open();
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      const { status, headers, body } = await ask(`${harness.url}/api/logs`, { method });
      expect(status).toBe(405);
      expect(headers["allow"]).toBe("GET, HEAD");
      expect(JSON.parse(body).error).toEqual({
        code: "METHOD_NOT_ALLOWED",
        message: `/api/logs supports GET and HEAD, not ${method}.`,
      });
    }
    const head = await ask(`${harness.url}/api/logs`, { method: "HEAD" });
    expect(head).toMatchObject({ status: 200, body: "" });
    expect(Number(head.headers["content-length"])).toBeGreaterThan(0);
  });

  test("an internal error is answered 500 without its details, which are logged", async () => {
    const harness = new HttpHarness();
    Object.defineProperty(harness.view, "components", {
      get: () => {
        throw new Error("secret detail");
      },
    });
    await harness.open();
    const { status, body } = await ask(`${harness.url}/readyz`);
    expect(status).toBe(500);
    expect(JSON.parse(body)).toEqual({
      error: {
        code: "INTERNAL",
        message: "The gateway failed to handle the request; see its log on stderr.",
      },
    });
    expect(harness.lines).toEqual(["GET /readyz failed. secret detail"]);
  });

  test("requests are answered 503 until the gateway is ready", async () => {
    const harness = new HttpHarness();
    const url = await harness.server.listen();
    expect(await ask(`${url}/api/logs`)).toMatchObject({
      status: 503,
      body: "The gateway is starting.\n",
    });
    await harness.server.close(AbortSignal.abort());
  });

  test("invalid requests are answered 400, and unterminated headers 431", async () => {
    const harness = await new HttpHarness().open();
    expect(await sendRaw(harness.port, "\0\x01garbage\r\n\r\n")).toMatch(/^HTTP\/1.1 400 /);
    const flood = `GET / HTTP/1.1\r\nHost: localhost\r\nX-Flood: ${"x".repeat(17_000)}\r\n\r\n`;
    expect(await sendRaw(harness.port, flood)).toMatch(/^HTTP\/1.1 431 /);
  });
});

describe("upgrades", () => {
  test("are passed to the path's handler with their socket, regardless of the query", async () => {
    const harness = new HttpHarness();
    harness.server.plugins.upgrade("/ws/logs", (request, socket) => {
      socket.end(`HTTP/1.1 101 Switching Protocols\r\n\r\nhello ${request.url}`);
    });
    await harness.open();
    const answer = await sendRaw(
      harness.port,
      handshake("/ws/logs?replay=5", { Host: "localhost" }),
    );
    expect(answer).toMatch(/hello \/ws\/logs\?replay=5$/);
  });

  test("to unknown paths are answered 404 on the socket, which is then closed", async () => {
    const harness = await new HttpHarness().open();
    const answer = await sendRaw(harness.port, handshake("/ws/other?x", { Host: "localhost" }));
    expect(answer).toBe(
      'HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 38\r\n\r\nThere is no WebSocket at "/ws/other".\n',
    );
  });

  test("that are rejected leave no half-open connection to a client that keeps its side open", async () => {
    const harness = await new HttpHarness().open();
    const client = connect({ port: harness.port, host: "127.0.0.1", allowHalfOpen: true });
    client.on("error", () => {});
    client.write(handshake("/nowhere", { Host: "localhost" }));
    expect(await text(client)).toContain("404 Not Found");
    await vi.waitFor(() => {
      client.write("more");
      expect(client.destroyed).toBe(true);
    });
  });

  test("to other protocols are served as plain requests", async () => {
    const harness = new HttpHarness();
    harness.server.plugins.route("POST", "/v1/logs", async (request, response) => {
      response.end(`got ${await text(request)}`);
    });
    await harness.open();
    const h2c =
      "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__";
    const request = `POST /v1/logs HTTP/1.1\r\nHost: localhost\r\n${h2c}\r\nContent-Length: 7\r\n\r\nrecords`;
    const answer = await sendRaw(harness.port, request);
    expect(answer).toMatch(/^HTTP\/1.1 200 OK\r\n/);
    expect(answer).toContain("got records");
  });

  test("a plain request to a WebSocket path is answered with the required upgrade", async () => {
    const harness = new HttpHarness();
    harness.server.plugins.upgrade("/ws/logs", (_request, socket) => socket.destroy());
    await harness.open();
    const { status, headers, body } = await ask(`${harness.url}/ws/logs`);
    expect(status).toBe(426);
    expect(headers["upgrade"]).toBe("websocket");
    expect(body).toBe("Connect to this path with a WebSocket.\n");
  });

  test("handlers that throw and sockets that fail are isolated", async () => {
    const harness = new HttpHarness();
    const sockets: { destroyed: boolean }[] = [];
    harness.server.plugins.upgrade("/throws", () => {
      throw new Error("broken");
    });
    harness.server.plugins.upgrade("/breaks", (_request, socket) => {
      sockets.push(socket);
      socket.destroy(new Error("reset"));
    });
    await harness.open();
    expect(await sendRaw(harness.port, handshake("/throws", { Host: "localhost" }))).toBe("");
    expect(await sendRaw(harness.port, handshake("/breaks", { Host: "localhost" }))).toBe("");
    const reset = connect(harness.port, "127.0.0.1");
    reset.write(handshake("/nowhere", { Host: "localhost" }), () => reset.resetAndDestroy());
    await vi.waitFor(() => expect(reset.destroyed).toBe(true));
    expect(harness.lines).toEqual(["The WebSocket upgrade of /throws failed. broken"]);
    expect((await ask(`${harness.url}/healthz`)).status).toBe(200);
  });
});

describe("shutdown", () => {
  test("answers new requests and upgrades 503, still answers health, and finishes requests in flight", async () => {
    const harness = new HttpHarness();
    const begun = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    harness.server.plugins.route("GET", "/slow", async (_request, response) => {
      begun.resolve();
      await finish.promise;
      response.end("finished");
    });
    harness.server.plugins.route(
      "POST",
      "/own",
      (_request, response) => void response.end("served"),
      {
        refuse: (_request, response, refusal) =>
          response.writeHead(refusal.status).end("my own words"),
      },
    );
    harness.server.plugins.upgrade("/ws/logs", (_request, socket) => socket.destroy());
    await harness.open();
    const slow = ask(`${harness.url}/slow`);
    await begun.promise;
    harness.server.stopAccepting();

    const refused = await ask(`${harness.url}/slow`);
    expect(refused).toMatchObject({ status: 503, body: "The gateway is stopping.\n" });
    expect(refused.headers["connection"]).toBe("close");
    const own = await ask(`${harness.url}/own`, { method: "POST" });
    expect(own).toMatchObject({ status: 503, body: "my own words" });
    expect(own.headers["connection"]).toBe("close");
    expect((await ask(`${harness.url}/api/logs`)).status).toBe(503);
    const upgrade = await sendRaw(harness.port, handshake("/ws/logs", { Host: "localhost" }));
    expect(upgrade).toMatch(/^HTTP\/1.1 503 [^]*\r\n\r\nThe gateway is stopping.\n$/);
    expect((await ask(`${harness.url}/healthz`)).status).toBe(200);
    const readiness = await ask(`${harness.url}/readyz`);
    expect(readiness.status).toBe(503);
    expect(JSON.parse(readiness.body)).toMatchObject({ status: "not_ready", reason: "stopping" });

    const closed = harness.server.close(new AbortController().signal);
    await vi.waitFor(() => expect(ask(`${harness.url}/healthz`)).rejects.toThrow("ECONNREFUSED"));
    finish.resolve();
    expect((await slow).body).toBe("finished");
    await closed;
  });

  test("disconnects what does not finish when the signal aborts", async () => {
    const harness = new HttpHarness();
    const begun = Promise.withResolvers<void>();
    harness.server.plugins.route("GET", "/never", () => begun.resolve());
    await harness.open();
    const never = ask(`${harness.url}/never`);
    never.catch(() => {});
    await begun.promise;
    const controller = new AbortController();
    const closed = harness.server.close(controller.signal);
    controller.abort();
    await closed;
    await expect(never).rejects.toThrow("socket hang up");
  });

  test("closes idle connections and open sockets, and frees the port", async () => {
    const harness = new HttpHarness();
    harness.server.plugins.upgrade("/ws/logs", (_request, socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    });
    await harness.open();
    const agent = new Agent({ keepAlive: true });
    await text(
      await new Promise((resolve) => void get(`${harness.url}/healthz`, { agent }, resolve)),
    );
    const upgraded = connect(harness.port, "127.0.0.1");
    const ended = text(upgraded);
    upgraded.write(handshake("/ws/logs", { Host: "localhost" }));
    await vi.waitFor(() => expect(upgraded.bytesRead).toBeGreaterThan(0));

    await harness.server.close(new AbortController().signal);
    await ended;
    await vi.waitFor(() => expect(Object.keys(agent.freeSockets)).toEqual([]));
    const again = createServer();
    await new Promise<void>((resolve) => void again.listen(harness.port, "127.0.0.1", resolve));
    again.close();
    await harness.server.close(AbortSignal.abort());
  });

  test("a server that never listened can be closed", async () => {
    const harness = new HttpHarness();
    await expect(harness.server.close(new AbortController().signal)).resolves.toBeUndefined();
  });
});

test("a client that disconnects during a request leaves nothing in flight", async () => {
  const harness = new HttpHarness();
  const begun = Promise.withResolvers<void>();
  harness.server.plugins.route("POST", "/v1/logs", (request) => {
    request.resume();
    begun.resolve();
  });
  await harness.open();
  const request = httpRequest(`${harness.url}/v1/logs`, { method: "POST", agent: false });
  request.on("error", () => {});
  request.write("part");
  await begun.promise;
  request.destroy();
  await expect(harness.server.close(new AbortController().signal)).resolves.toBeUndefined();
});
