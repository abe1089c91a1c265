import { once } from "node:events";
import { connect } from "node:net";
import { chmod, rm, writeFile } from "node:fs/promises";
import { onTestFinished, beforeAll, afterAll, describe, expect, test, vi } from "vitest";
import { LoggingManager } from "tailgate";
import { createToken, formatToken } from "../../src/auth/tokens/token.ts";
import { Client } from "../harness/websocket.ts";
import { ask, handshake, sendRaw } from "../harness/http-server.ts";
import { TestTokens, type TestToken } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";

interface Secured {
  readonly url: string;
  readonly tokens: TestTokens;
  readonly lines: readonly string[];
}

async function startSecured(
  tokens: Readonly<Record<string, TestToken>>,
  finished: (cleanUp: () => Promise<void>) => void = onTestFinished,
): Promise<Secured> {
  const workspace = await Workspace.create();
  const file = await TestTokens.create(workspace, tokens);
  await workspace.write("tailgate.yaml", `auth: { tokens_file: ${file.path} }\n`);
  const lines: string[] = [];
  const manager = await LoggingManager.start({
    config: workspace.path("tailgate.yaml"),
    port: 0,
    logDir: workspace.path("logs"),
    exporters: { websocket: {} },
    registerGlobally: false,
    write: (line) => void lines.push(line),
  });
  finished(async () => {
    await manager.stop();
    await workspace[Symbol.asyncDispose]();
  });
  return { url: manager.url, tokens: file, lines };
}

describe("a gateway with authentication", () => {
  let gateway: Secured;
  const cleanUps: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    gateway = await startSecured(
      {
        reader: { scopes: ["read"] },
        prometheus: { scopes: ["metrics"] },
        boss: { scopes: ["admin"] },
        late: { scopes: ["admin"], expires_at: "2026-01-01T00:00:00.000Z" },
        gone: { scopes: ["admin"], revoked_at: "2026-01-01T00:00:00.000Z" },
      },
      (cleanUp) => cleanUps.push(cleanUp),
    );
  });
  afterAll(async () => {
    for (const cleanUp of cleanUps) await cleanUp();
  });

  const get = (path: string, headers: Record<string, string> = {}) =>
    ask(`${gateway.url}${path}`, { headers });

  test("serves the page and health checks to everyone", async () => {
    for (const path of ["/", "/healthz", "/readyz"]) expect((await get(path)).status).toBe(200);
  });

  test("rejects a request without credentials with a challenge that names no error", async () => {
    const { status, headers, body } = await get("/api/logs");
    expect(status).toBe(401);
    expect(headers["www-authenticate"]).toBe('Bearer realm="tailgate"');
    expect(JSON.parse(body)).toEqual({
      error: {
        code: "UNAUTHENTICATED",
        message:
          "This gateway requires authentication. Send a token in the header Authorization: Bearer.",
      },
    });
  });

  test("serves the holder of a token, as bearer or as the password of basic credentials", async () => {
    const text = gateway.tokens.text("reader");
    const basic = Buffer.from(`anyone:${text}`).toString("base64");
    for (const Authorization of [`Bearer ${text}`, `bearer  ${text}`, `Basic ${basic}`]) {
      expect((await get("/api/logs", { Authorization })).status).toBe(200);
    }
  });

  test("tells only the holder of a token why it is not valid", async () => {
    const { tokens } = gateway;
    const late = await get("/api/logs", tokens.bearer("late"));
    expect(JSON.parse(late.body).error.message).toBe(
      "The token late expired on 2026-01-01T00:00:00.000Z.",
    );
    const gone = await get("/api/logs", tokens.bearer("gone"));
    expect(JSON.parse(gone.body).error.message).toBe("The token gone was revoked.");
    const id = tokens.text("late").slice(4, 16);
    const forged = formatToken({ ...createToken(), id });
    for (const text of [forged, formatToken(createToken())]) {
      const { status, body, headers } = await get("/api/logs", { Authorization: `Bearer ${text}` });
      expect(status).toBe(401);
      expect(headers["www-authenticate"]).toBe('Bearer realm="tailgate", error="invalid_token"');
      expect(JSON.parse(body).error.message).toBe("The token is not valid.");
    }
  });

  test("rejects a token that lacks the scope and names it", async () => {
    const { status, headers, body } = await get("/metrics", gateway.tokens.bearer("reader"));
    expect(status).toBe(403);
    expect(headers["www-authenticate"]).toBe(
      'Bearer realm="tailgate", error="insufficient_scope", scope="metrics"',
    );
    expect(JSON.parse(body).error.message).toBe("token:reader lacks the scope metrics.");
    expect((await get("/metrics", gateway.tokens.bearer("prometheus"))).status).toBe(200);
  });

  test("an admin may do everything", async () => {
    for (const path of [
      "/api/logs",
      "/api/counts",
      "/api/fields",
      "/api/patterns",
      "/api/stats",
      "/metrics",
    ]) {
      expect((await get(path, gateway.tokens.bearer("boss"))).status).toBe(200);
    }
  });

  test("a WebSocket needs a token, too", async () => {
    const statusOf = async (headers: Record<string, string>): Promise<number> => {
      const { host, port } = new URL(gateway.url);
      const socket = connect(Number(port), "127.0.0.1");
      socket.write(handshake("/ws/logs", { Host: host, ...headers }));
      const [head] = (await once(socket, "data")) as [Buffer];
      socket.destroy();
      return Number(/^HTTP\/1\.1 (\d+)/.exec(head.toString())?.[1]);
    };
    expect(await statusOf({})).toBe(401);
    expect(await statusOf(gateway.tokens.bearer("prometheus"))).toBe(403);
    expect(await statusOf(gateway.tokens.bearer("reader"))).toBe(101);
  });

  test("it does not warn of pages that need credentials of their own", () => {
    expect(gateway.lines.join("\n")).not.toContain("Pages of http://localhost:3000");
  });

  test("its log has no secrets", async () => {
    const text = formatToken(createToken());
    await get("/api/logs", { Authorization: `Bearer ${text}` });
    expect(gateway.lines.join("\n")).not.toContain(text.slice(17, 40));
  });
});

test("accepts a new token and rejects a revoked one without a restart", async () => {
  const { url, tokens } = await startSecured({ one: { scopes: ["read"] } });
  const status = async (name: string): Promise<number> =>
    (await ask(`${url}/api/logs`, { headers: tokens.bearer(name) })).status;
  expect(await status("one")).toBe(200);
  await tokens.add("two", { scopes: ["read"] });
  await vi.waitFor(async () => expect(await status("two")).toBe(200), 5_000);
  await tokens.revoke("one");
  await vi.waitFor(async () => expect(await status("one")).toBe(401), 5_000);
  expect(await status("two")).toBe(200);
});

test("a token that a wrong clock has ended comes back, and still loses its streams when it is revoked", async () => {
  const expires = new Date(Date.now() + 3_600_000).toISOString();
  const { url, tokens } = await startSecured({ one: { scopes: ["read"], expires_at: expires } });
  const headers = tokens.bearer("one");
  const socketUrl = new URL("/ws/logs", url.replace("http", "ws"));
  socketUrl.password = tokens.text("one");
  const expectStatus = (wanted: number): Promise<void> =>
    vi.waitFor(async () => {
      expect((await ask(`${url}/api/logs`, { headers })).status).toBe(wanted);
    }, 5_000);
  await expectStatus(200);
  const early = await Client.open(socketUrl.href);
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 7_200_000 });
  onTestFinished(() => void vi.useRealTimers());
  await early.closed;
  vi.setSystemTime(Date.now() - 7_200_000);
  await expectStatus(200);
  const late = await Client.open(socketUrl.href);
  await tokens.revoke("one");
  expect((await late.closed).code).toBe(1008);
});

test.each([
  ["is not JSON", (path: string) => writeFile(path, "{")],
  ["is readable by others", (path: string) => chmod(path, 0o604)],
  ["is gone", (path: string) => rm(path)],
])("while the tokens file %s, known tokens stay valid and others get 503", async (_, spoil) => {
  const { url, tokens, lines } = await startSecured({ one: { scopes: ["admin"] } });
  const readable = async (): Promise<string | undefined> => {
    const { body } = await ask(`${url}/metrics`, { headers: tokens.bearer("one") });
    return /^tailgate_tokens_file_readable (\d)$/m.exec(body)?.[1];
  };
  expect(await readable()).toBe("1");
  await spoil(tokens.path);
  await vi.waitFor(() => expect(lines.join("\n")).toContain("could not be reloaded"), 5_000);
  expect((await ask(`${url}/api/logs`, { headers: tokens.bearer("one") })).status).toBe(200);
  const Authorization = `Bearer ${formatToken(createToken())}`;
  const { status, headers } = await ask(`${url}/api/logs`, { headers: { Authorization } });
  expect(status).toBe(503);
  expect(headers["retry-after"]).toBe("2");
  expect(await readable()).toBe("0");
});

test("no spelling of a path gets around authentication", async () => {
  const { url } = await startSecured({});
  const port = Number(new URL(url).port);
  const targets = ["/api/logs", "/metrics", "/api/stats", "/api/counts"].flatMap((path) => [
    path,
    `${path}?`,
    `${path}#x`,
    `${path}?#`,
    `${path} #`,
    `/${path}`,
    `${path}/`,
    `/x/..${path}`,
    `/.${path}`,
    path.replace("/", "/%2e/"),
    path.replace("s", "%73"),
    path.toUpperCase(),
    `${path}\u00a0`,
    `${path};x`,
    `http://localhost:${port}${path}`,
    `http://localhost:${port}${path}#x`,
    `HTTP://LOCALHOST:${port}${path}?x`,
  ]);
  const served: string[] = [];
  for (const target of targets) {
    const answer = await sendRaw(
      port,
      `GET ${target} HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: close\r\n\r\n`,
    );
    if (!/^HTTP\/1\.1 (400|401|403|404) /.test(answer)) served.push(target);
  }
  expect(served).toEqual([]);
});
