import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { LoggingManager } from "tailgate";
import { SUBPROTOCOL } from "tailgate/plugin";
import { WebSocket } from "ws";
import { createToken, formatToken } from "../../src/auth/tokens/token.ts";
import { exchange, type Received } from "../harness/openapi.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";

const JSON_BODY = { "Content-Type": "application/json" };

/** A browser: it keeps the cookie, and sends Origin where browsers do. */
class Browser {
  readonly #url: string;
  cookie: string | undefined;
  origin: string;

  constructor(url: string) {
    this.#url = url;
    this.origin = url;
  }

  async send(
    method: string,
    path: string,
    { body, headers = {} }: { body?: object; headers?: Record<string, string> } = {},
  ): Promise<Received> {
    const received = await exchange(this.#url + path, {
      method,
      headers: {
        ...(this.cookie !== undefined && { Cookie: this.cookie }),
        ...(method !== "GET" && { Origin: this.origin }),
        "Sec-Fetch-Site": "same-origin",
        "User-Agent": "Mozilla/5.0 Firefox/140.0",
        ...(body !== undefined && JSON_BODY),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const [set] = received.headers["set-cookie"] ?? [];
    if (set !== undefined) this.cookie = set.includes("Max-Age=0") ? undefined : set.split(";")[0];
    return received;
  }

  login(body: object): Promise<Received> {
    return this.send("POST", "/api/login", { body });
  }

  async whoami(): Promise<Record<string, unknown>> {
    const { body } = await this.send("GET", "/api/whoami");
    return JSON.parse(body);
  }
}

function messageOf({ body }: Received): string {
  return JSON.parse(body).error.message;
}

interface Gateway extends AsyncDisposable {
  readonly url: string;
  readonly tokens: TestTokens;
  readonly lines: readonly string[];
}

async function startGateway(auth = ""): Promise<Gateway> {
  const workspace = await Workspace.create();
  const tokens = await TestTokens.create(workspace, {
    reader: { scopes: ["read"], filter: "logger:app" },
    boss: { scopes: ["admin"] },
    ci: { scopes: ["ingest"], expires_at: "2999-01-01T00:00:00.000Z" },
    spare: { scopes: ["read"] },
  });
  const config = `auth: { tokens_file: ${tokens.path}, ${auth} }\nallowed_hosts: ["https://app.example.com"]\n`;
  await workspace.write("tailgate.yaml", config);
  const lines: string[] = [];
  const manager = await LoggingManager.start({
    config: workspace.path("tailgate.yaml"),
    port: 0,
    logDir: workspace.path("logs"),
    exporters: { websocket: {} },
    registerGlobally: false,
    write: (line) => void lines.push(line),
  });
  return {
    url: manager.url,
    tokens,
    lines,
    async [Symbol.asyncDispose]() {
      await manager.stop();
      await workspace[Symbol.asyncDispose]();
    },
  };
}

/** Resolves with the outcome of a handshake: the status, or 101 with the subprotocol. */
async function connect(
  url: string,
  protocols: string[],
  headers: Record<string, string> = {},
): Promise<{ status: number; protocol?: string; socket: WebSocket }> {
  const socket = new WebSocket(`${url.replace("http", "ws")}/ws/logs`, protocols, { headers });
  socket.on("error", () => {});
  const status = await new Promise<number>((resolve) => {
    socket.on("open", () => resolve(101));
    socket.on("unexpected-response", (_, response) => {
      response.resume();
      resolve(response.statusCode!);
    });
  });
  if (status !== 101) socket.terminate();
  return { status, protocol: socket.protocol, socket };
}

describe("signing in", () => {
  let gateway: Gateway;

  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const signedIn = async (name: string): Promise<Browser> => {
    const browser = new Browser(gateway.url);
    expect((await browser.login({ token: gateway.tokens.text(name) })).status).toBe(200);
    return browser;
  };

  test("a token starts a session with a cookie that scripts cannot read", async () => {
    const browser = new Browser(gateway.url);
    const { status, headers, body } = await browser.login({ token: gateway.tokens.text("reader") });
    expect(status).toBe(200);
    expect(headers["set-cookie"]).toEqual([
      expect.stringMatching(
        /^tailgate-[0-9a-f]{8}=[\w-]{43}; Path=\/; Max-Age=43200; HttpOnly; SameSite=Strict$/,
      ),
    ]);
    expect(JSON.parse(body)).toMatchObject({ principal: "token:reader", filter: "logger:app" });
    expect(await browser.whoami()).toEqual({
      authentication: "on",
      principal: "token:reader",
      scopes: ["read:system", "read:audit"],
      filter: "logger:app",
      expires_at: null,
      session: {
        id: expect.stringMatching(/^[\w-]{12}$/),
        created_at: expect.any(String),
        used_at: expect.any(String),
        expires_at: expect.any(String),
      },
    });
    expect((await browser.send("GET", "/api/logs")).status).toBe(200);
    expect((await browser.send("GET", "/metrics")).status).toBe(403);
  });

  test("whoami tells programs who they are, and rejects a token that is not valid", async () => {
    const whoami = (headers: Record<string, string>) =>
      exchange(`${gateway.url}/api/whoami`, { headers });
    const ci = await whoami(gateway.tokens.bearer("ci"));
    expect(JSON.parse(ci.body)).toMatchObject({
      principal: "token:ci",
      scopes: ["ingest:system", "ingest:audit"],
      filter: null,
      expires_at: "2999-01-01T00:00:00.000Z",
      session: null,
    });
    const nobody = await whoami({});
    expect(nobody.status).toBe(200);
    expect(JSON.parse(nobody.body)).toMatchObject({ principal: null, scopes: [], session: null });
    const wrong = await whoami({ Authorization: `Bearer ${formatToken(createToken())}` });
    expect([wrong.status, messageOf(wrong)]).toEqual([401, "The token is not valid."]);
    expect(wrong.headers["www-authenticate"]).toContain('error="invalid_token"');
  });

  test("the cookie counts in requests of the gateway's own pages only", async () => {
    const { cookie } = await signedIn("boss");
    const { host } = new URL(gateway.url);
    const Cookie = cookie!;
    const statuses = async (method: string, path: string, sent: Record<string, string>[]) =>
      Promise.all(
        sent.map(async (headers) => {
          const all = { Cookie, ...headers };
          return (await exchange(gateway.url + path, { method, headers: all })).status;
        }),
      );
    const port = new URL(gateway.url).port;
    const foreign = [
      { Origin: "http://localhost:3000" },
      { Origin: "https://app.example.com" },
      { Origin: `http://localhost:${port}` },
      { Origin: gateway.url, "Sec-Fetch-Site": "same-site" },
      { Origin: `https://${host}` },
    ];
    expect(await statuses("GET", "/api/logs", foreign.slice(0, 3))).toEqual([401, 401, 401]);
    expect(await statuses("GET", "/api/logs", [{ "Sec-Fetch-Site": "none" }, {}])).toEqual([
      200, 200,
    ]);
    // Without Origin, an unsafe method is nobody's.
    const posts = [...foreign.slice(0, 4), {}, { Origin: gateway.url }];
    expect(await statuses("POST", "/api/tickets", posts)).toEqual([401, 401, 401, 401, 401, 201]);
    const sockets = [{}, ...foreign.slice(0, 3), { Origin: gateway.url }];
    const outcomes: number[] = [];
    for (const headers of sockets) {
      const { status, socket } = await connect(gateway.url, [SUBPROTOCOL], { Cookie, ...headers });
      socket.close();
      outcomes.push(status);
    }
    expect(outcomes).toEqual([401, 401, 401, 401, 101]);
  });

  test("a page of another origin can neither sign its user in nor out", async () => {
    const browser = await signedIn("reader");
    browser.origin = "https://app.example.com";
    const login = await browser.login({ token: gateway.tokens.text("boss") });
    expect([login.status, JSON.parse(login.body).error.code]).toEqual([403, "FORBIDDEN"]);
    expect((await browser.send("POST", "/api/logout")).status).toBe(403);
    browser.origin = gateway.url;
    expect(await browser.whoami()).toMatchObject({ principal: "token:reader" });
  });

  test("a form cannot log in, and the body must be one credential in JSON", async () => {
    const post = (body: string, type = "application/json") =>
      exchange(`${gateway.url}/api/login`, {
        method: "POST",
        headers: { "Content-Type": type },
        body,
      });
    const token = gateway.tokens.text("reader");
    const form = await post(`{"token":"${token}"}`, "text/plain");
    expect([form.status, form.headers["accept"]]).toEqual([415, "application/json"]);
    expect((await post("{")).status).toBe(400);
    expect((await post("null")).status).toBe(400);
    expect((await post(JSON.stringify({ token, code: token }))).status).toBe(400);
    expect((await post(JSON.stringify({ token: "x".repeat(5000) }))).status).toBe(413);
    // A program needs no Origin.
    expect((await post(JSON.stringify({ token: ` ${token}\n` }))).status).toBe(200);
  });

  test("a login replaces the session of the browser, and a logout ends it", async () => {
    const browser = await signedIn("reader");
    const { cookie } = browser;
    await browser.login({ token: gateway.tokens.text("boss") });
    expect(browser.cookie).not.toBe(cookie);
    expect(await browser.whoami()).toMatchObject({ principal: "token:boss" });
    const kept = browser.cookie;
    const { status, headers } = await browser.send("POST", "/api/logout");
    expect(status).toBe(204);
    expect(headers["set-cookie"]).toEqual([
      expect.stringMatching(/^tailgate-[0-9a-f]{8}=; Path=\/; Max-Age=0; HttpOnly/),
    ]);
    for (const ended of [cookie, kept]) {
      browser.cookie = ended;
      expect((await browser.send("GET", "/api/logs")).status).toBe(401);
    }
    expect((await browser.send("POST", "/api/logout")).status).toBe(204);
  });

  test("two cookies of the same name with valid sessions are ambiguous", async () => {
    const one = await signedIn("reader");
    const other = await signedIn("boss");
    const [mine, theirs] = [one.cookie!, other.cookie!];
    one.cookie = `${mine}; ${theirs}`;
    expect((await one.send("GET", "/api/logs")).status).toBe(401);
    one.cookie = `${mine}; ${mine}; ${mine.split("=")[0]}=old`;
    expect(await one.whoami()).toMatchObject({ principal: "token:reader" });
  });

  test("administrators list the sessions and end them, with what they have open", async () => {
    const admin = await signedIn("boss");
    const reader = await signedIn("reader");
    const list = async () => JSON.parse((await admin.send("GET", "/api/sessions")).body).sessions;
    const sessions: { id: string; principal: string; is_current: boolean }[] = await list();
    expect(sessions.filter(({ is_current: isCurrent }) => isCurrent)).toEqual([
      expect.objectContaining({
        principal: "token:boss",
        address: "127.0.0.1",
        user_agent: "Mozilla/5.0 Firefox/140.0",
      }),
    ]);
    const { session } = (await reader.whoami()) as { session: { id: string } };
    expect((await reader.send("GET", "/api/sessions")).status).toBe(403);
    expect((await reader.send("DELETE", `/api/sessions/${session.id}`)).status).toBe(403);
    expect((await admin.send("DELETE", `/api/sessions/${session.id}`)).status).toBe(204);
    expect((await admin.send("DELETE", `/api/sessions/${session.id}`)).status).toBe(404);
    expect((await reader.send("GET", "/api/logs")).status).toBe(401);
  });

  test("revoking the token ends its sessions", async () => {
    const browser = await signedIn("spare");
    await gateway.tokens.revoke("spare");
    await vi.waitFor(async () => {
      expect((await browser.send("GET", "/api/logs")).status).toBe(401);
    }, 5_000);
    const again = await browser.login({ token: gateway.tokens.text("spare") });
    expect([again.status, messageOf(again)]).toEqual([401, "The token spare was revoked."]);
  });

  test("a ticket opens one WebSocket, and its name is never selected", async () => {
    const origin = "https://app.example.com";
    const issue = async (headers: Record<string, string>): Promise<string> => {
      const url = `${gateway.url}/api/tickets`;
      const { status, body } = await exchange(url, { method: "POST", headers });
      expect(status).toBe(201);
      const { ticket, expires_in: seconds } = JSON.parse(body);
      expect(seconds).toBe(30);
      return `tailgate.ticket.${ticket}`;
    };
    const bearer = gateway.tokens.bearer("reader");
    const ticket = await issue({ ...bearer, Origin: origin });
    const opened = await connect(gateway.url, [SUBPROTOCOL, ticket], { Origin: origin });
    expect([opened.status, opened.protocol]).toEqual([101, SUBPROTOCOL]);
    opened.socket.close();
    const used = await connect(gateway.url, [SUBPROTOCOL, ticket], { Origin: origin });
    expect(used.status).toBe(401);
    const bound = await issue({ ...bearer, Origin: origin });
    expect((await connect(gateway.url, [SUBPROTOCOL, bound])).status).toBe(401);
    // Without an origin, it is for the backend of a page, which passes it on.
    const passed = await issue(bearer);
    const plain = await connect(gateway.url, ["tailgate.plain", passed], { Origin: origin });
    expect([plain.status, plain.protocol]).toEqual([101, "tailgate.plain"]);
    plain.socket.close();
    // It is no credential of other requests.
    const headers = { "Sec-WebSocket-Protocol": await issue(bearer) };
    const offers = { ...headers, Connection: "Upgrade", Upgrade: "h2c" };
    expect((await exchange(`${gateway.url}/api/logs`, { headers })).status).toBe(401);
    expect((await exchange(`${gateway.url}/api/logs`, { headers: offers })).status).toBe(401);
    // The scopes of the token count.
    const ci = await issue(gateway.tokens.bearer("ci"));
    expect((await connect(gateway.url, [SUBPROTOCOL, ci])).status).toBe(403);
  });

  test("the streams of a session end with it", async () => {
    const browser = await signedIn("boss");
    const headers = { Cookie: browser.cookie!, Origin: gateway.url };
    const { socket } = await connect(gateway.url, [SUBPROTOCOL], headers);
    const closed = once(socket, "close");
    await browser.send("POST", "/api/logout");
    await closed;
  });

  test("credentials in URLs are rejected and not logged, wherever they are", async () => {
    const token = gateway.tokens.text("boss");
    const encoded = token.replace("tgw", "%74%67%77");
    const paths = [
      `/api/logs?token=${token}`,
      `/api/logs?Access_Token=anything`,
      `/api/logs?q=${encoded}`,
      `/?next=${token}`,
      `/ws/logs?token=${token}`,
      `/${token}`,
    ];
    for (const path of paths) {
      const { status, body } = await exchange(gateway.url + path);
      expect([path, status, body]).toEqual([
        path,
        400,
        expect.stringContaining("POST /api/tickets"),
      ]);
    }
    const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/ws/logs?token=${token}`);
    socket.on("error", () => {});
    const [, response] = await once(socket, "unexpected-response");
    expect(response.statusCode).toBe(400);
    socket.terminate();
    const log = gateway.lines.join("\n");
    expect(log).toContain("Credentials in URLs are rejected");
    expect(log).not.toContain(token.slice(17));
  });

  test("the log and /metrics have no secret", async () => {
    const browser = await signedIn("boss");
    const secret = browser.cookie!.split("=")[1]!;
    const { body } = await browser.send("GET", "/metrics");
    expect(body).toMatch(/^tailgate_sessions [1-9]\d*$/m);
    expect(body).toMatch(/^tailgate_logins_total\{outcome="accepted"\} [1-9]\d*$/m);
    expect(body).toMatch(/^tailgate_sessions_ended_total\{reason="logout"\} [1-9]\d*$/m);
    for (const text of [body, gateway.lines.join("\n")]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(gateway.tokens.text("boss").slice(17));
    }
  });
});

test("failed logins are delayed by address, and tokens of programs are not", async () => {
  await using gateway = await startGateway();
  const browser = new Browser(gateway.url);
  const wrong = { token: formatToken(createToken()) };
  for (let failures = 0; failures < 5; failures++) {
    const answer = await browser.login(wrong);
    expect([answer.status, messageOf(answer)]).toEqual([401, "The token is not valid."]);
  }
  const right = { token: gateway.tokens.text("reader") };
  const delayed = await browser.login(right);
  expect(delayed.status).toBe(429);
  expect(delayed.headers["retry-after"]).toBe("1");
  expect(messageOf(delayed)).toBe("Too many failed logins from this address. Try again in 1 s.");
  const headers = gateway.tokens.bearer("reader");
  expect((await exchange(`${gateway.url}/api/logs`, { headers })).status).toBe(200);
  await vi.waitFor(async () => expect((await browser.login(right)).status).toBe(200), 5_000);
});

test("a session ends when it is not used, with what it has open", async () => {
  await using gateway = await startGateway("sessions: { idle_minutes: 0.005 }");
  const browser = new Browser(gateway.url);
  await browser.login({ token: gateway.tokens.text("reader") });
  const headers = { Cookie: browser.cookie!, Origin: gateway.url };
  const { socket } = await connect(gateway.url, [SUBPROTOCOL], headers);
  await once(socket, "close");
  expect((await browser.send("GET", "/api/logs")).status).toBe(401);
});

test("a session survives a restart if that is configured, and none does by default", async () => {
  for (const survives of [true, false]) {
    await using workspace = await Workspace.create();
    const tokens = await TestTokens.create(workspace, { reader: { scopes: ["read"] } });
    const config = `auth: { tokens_file: ${tokens.path}, sessions: { survive_restart: ${survives} } }`;
    await workspace.write("tailgate.yaml", config);
    let cookie: string | undefined;
    const principals: unknown[] = [];
    for (let run = 0; run < 2; run++) {
      const manager = await LoggingManager.start({
        config: workspace.path("tailgate.yaml"),
        port: 0,
        logDir: workspace.path("logs"),
        exporters: {},
        registerGlobally: false,
        write: () => {},
      });
      const browser = new Browser(manager.url);
      browser.cookie = cookie;
      if (run === 0) await browser.login({ token: tokens.text("reader") });
      principals.push((await browser.whoami())["principal"]);
      ({ cookie } = browser);
      await manager.stop();
    }
    expect(principals).toEqual(["token:reader", survives ? "token:reader" : null]);
  }
});

test("without authentication, whoami says so, and tickets are harmless", async () => {
  await using workspace = await Workspace.create();
  const manager = await LoggingManager.start({
    port: 0,
    logDir: workspace.path("logs"),
    exporters: { websocket: {} },
    registerGlobally: false,
    write: () => {},
  });
  try {
    const { body } = await exchange(`${manager.url}/api/whoami`);
    expect(JSON.parse(body)).toMatchObject({ authentication: "off", principal: null });
    expect((await exchange(`${manager.url}/api/login`, { method: "POST" })).status).toBe(404);
    const issued = await exchange(`${manager.url}/api/tickets`, { method: "POST" });
    const { ticket } = JSON.parse(issued.body);
    const names = [SUBPROTOCOL, `tailgate.ticket.${ticket}`];
    const { status, protocol, socket } = await connect(manager.url, names);
    expect([status, protocol]).toEqual([101, SUBPROTOCOL]);
    socket.close();
  } finally {
    await manager.stop();
  }
});
