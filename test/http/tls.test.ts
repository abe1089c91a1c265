/** TLS on the main port and the ports of the OTLP receiver, with clients as users have them. */

import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { chmod, rename, rm, symlink } from "node:fs/promises";
import { Agent, request as httpsRequest, type RequestOptions } from "node:https";
import { connect as connectHttp2, type ClientHttp2Session } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { Client, credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { resolveConfig, startTailgate, type RunningTailgate } from "tailgate";
import { ServerTls, type ServerTlsOptions } from "../../src/tls/server-tls.ts";
import { issueCertificate, type TestCertificate } from "../harness/certificates.ts";
import { ask, handshake, HttpHarness, sendRaw } from "../harness/http-server.ts";
import { PYTHON, PYTHON_RECORDS } from "../harness/otlp.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";
import { METHOD } from "../plugins/otlp-receiver/raw-call.ts";

const AUTHORITY = issueCertificate("authority", { isAuthority: true });
const FIRST = issueCertificate("first", { by: AUTHORITY });
const SECOND = issueCertificate("second", { by: AUTHORITY });

const TRUST = { ca: AUTHORITY.cert, servername: "localhost" };

async function install(workspace: Workspace, { cert, key }: TestCertificate): Promise<void> {
  await workspace.write("tls.pem", cert);
  await workspace.write("tls.key", key);
  await chmod(workspace.path("tls.key"), 0o640);
}

/** Sends a GET request; resolves with the body. */
function get(url: string, options: RequestOptions = {}): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const request = httpsRequest(url, { ...TRUST, agent: false, ...options }, (response) => {
    text(response).then(resolve, reject);
  });
  request.on("error", reject).end();
  return promise;
}

/** Returns the name of the certificate that a new connection gets. */
async function certificateOf(url: string, options: ConnectionOptions = {}): Promise<string> {
  const socket = await connected(url, options);
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return subject.CN as string;
}

async function connected(url: string, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const port = Number(new URL(url).port);
  const socket = connectTls({ host: "127.0.0.1", port, ...TRUST, ...options });
  onTestFinished(() => void socket.destroy());
  await once(socket, "secureConnect");
  return socket;
}

async function connectedTcp(port: number): Promise<Socket> {
  const socket = connectTcp({ host: "127.0.0.1", port }).on("error", () => {});
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  return socket;
}

describe("a gateway with TLS", () => {
  let workspace: Workspace;
  let gateway: RunningTailgate;
  let otlp: string;
  let grpc: string;
  const lines: string[] = [];

  beforeAll(async () => {
    workspace = await Workspace.create({
      "tailgate.yaml": `{ port: 0, log_dir: logs, log_level: DEBUG, journal: { engine: memory }, exporters: { websocket: {} },
        tls: { certificate: tls.pem, key: tls.key, min_version: 1.3, hsts_seconds: 3600 },
        receivers: { otlp: { port: 0, grpc_port: 0 } } }`,
    });
    await install(workspace, FIRST);
    const config = await resolveConfig({ env: {}, flags: {}, cwd: workspace.directory });
    gateway = await startTailgate(config, { write: (line) => void lines.push(line) });
    const urls = gateway.listeners.map((line) => line.split(" ", 1)[0]!);
    otlp = new URL(urls[1]!).origin;
    grpc = new URL(urls[2]!).origin;
  });

  afterAll(async () => {
    await gateway.stop();
    await workspace[Symbol.asyncDispose]();
  });

  function callGrpc(): Promise<Error | null> {
    const client = new Client(
      new URL(grpc).host,
      credentials.createSsl(Buffer.from(AUTHORITY.cert)),
      { "grpc.ssl_target_name_override": "localhost" },
    );
    onTestFinished(() => client.close());
    const asIs = (bytes: Buffer): Buffer => bytes;
    return new Promise((resolve) => {
      client.makeUnaryRequest(METHOD, asIs, asIs, PYTHON, (error) => resolve(error));
    });
  }

  test("serves the API, the WebSocket, OTLP/HTTP and OTLP/gRPC", async () => {
    for (const line of gateway.listeners) expect(line).toMatch(/^https:\/\/127\.0\.0\.1:\d+/);
    const socket = new WebSocket(`${gateway.url.replace("https", "wss")}/ws/logs`, TRUST);
    onTestFinished(() => socket.terminate());
    let received = 0;
    socket.on("message", () => received++);
    await once(socket, "open");
    expect(await callGrpc()).toBeNull();
    const body = JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords: [{}] }] }] });
    const headers = { "Content-Type": "application/json" };
    const post = httpsRequest(`${otlp}/v1/logs`, { ...TRUST, method: "POST", headers });
    post.end(body);
    const [response] = await once(post, "response");
    expect(response.statusCode).toBe(200);
    await vi.waitFor(() => expect(received).toBe(PYTHON_RECORDS + 1));
    const { records } = JSON.parse(await get(`${gateway.url}/api/logs`));
    expect(records).toHaveLength(PYTHON_RECORDS + 1);
  });

  test("tells browsers to use HTTPS only, if configured", async () => {
    const request = httpsRequest(gateway.url, { ...TRUST, agent: false }).end();
    const [response] = await once(request, "response");
    expect(response.headers["strict-transport-security"]).toBe("max-age=3600");
    response.resume();
  });

  test("a page of the gateway's own origin is accepted, one of another is not", async () => {
    const origin = (value: string) => get(`${gateway.url}/healthz`, { headers: { Origin: value } });
    expect(await origin(gateway.url)).toContain("ok");
    expect(await origin("https://evil.example")).toContain("is not a page of this gateway");
  });

  test("a client without TLS is told so in clear text, counted, and logged once", async () => {
    for (const url of [gateway.url, otlp]) {
      const plain = url.replace("https", "http");
      for (const method of ["GET", "POST"]) {
        const answer = await ask(plain, { method, headers: { "User-Agent": `plain ${plain}` } });
        expect([answer.status, answer.body]).toEqual([
          400,
          "This port speaks TLS: use https://.\n",
        ]);
      }
      const logged = lines.filter((line) => line.includes(`"plain ${plain}"`));
      expect(logged).toEqual([expect.stringContaining("The client does not speak TLS.")]);
    }
    expect(await get(`${gateway.url}/metrics`)).toContain(
      'tailgate_requests_rejected_total{protocol="http",status="400"} 4\n',
    );
  });

  test("a gRPC client without TLS is told so in its own protocol", async () => {
    const session: ClientHttp2Session = connectHttp2(grpc.replace("https", "http"));
    session.on("error", () => {});
    const [code, , reason] = (await once(session, "goaway")) as [number, number, Buffer];
    expect([code, String(reason)]).toEqual([0xc, "This port speaks TLS: use https://."]);
    expect(lines.at(-1)).toContain("Rejected with protocol_error");
    session.destroy();
  });

  test("handshakes that fail are counted, and logged with the reason", async () => {
    const old = connected(gateway.url, { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" });
    await expect(old).rejects.toThrow(/protocol version/);
    await vi.waitFor(() =>
      expect(lines.at(-1)).toContain("are not accepted here (tls.min_version)"),
    );
    await expect(connected(grpc, { ALPNProtocols: ["http/1.1"] })).rejects.toThrow(/alert/);
    await vi.waitFor(() => expect(lines.at(-1)).toContain("does not offer the protocol"));
    const count = /status="tls_handshake"} (\d+)/g;
    const counts = [...(await get(`${gateway.url}/metrics`)).matchAll(count)];
    expect(counts.map(([, value]) => value)).toEqual(["1", "1"]);
  });

  test("a connection that is closed or reset during the handshake is not logged", async () => {
    const count = lines.length;
    const port = Number(new URL(gateway.url).port);
    (await connectedTcp(port)).destroy();
    const socket = await connectedTcp(port);
    socket.write(Buffer.from([0x16, 3, 1]), () => socket.resetAndDestroy());
    await once(socket, "close");
    await get(`${gateway.url}/healthz`);
    expect(lines.slice(count)).toEqual([]);
  });

  test("new connections get a renewed certificate, open ones stay up", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ...TRUST });
    onTestFinished(() => agent.destroy());
    let sockets = 0;
    const keepAlive = async (): Promise<string> => {
      const request = httpsRequest(`${gateway.url}/healthz`, { agent });
      request.once("socket", (socket) => socket.once("secureConnect", () => sockets++)).end();
      const [response] = await once(request, "response");
      return text(response);
    };
    await keepAlive();
    const webSocket = new WebSocket(`${gateway.url.replace("https", "wss")}/ws/logs`, TRUST);
    onTestFinished(() => webSocket.terminate());
    await once(webSocket, "open");
    const session = connectHttp2(grpc, TRUST);
    onTestFinished(() => session.destroy());
    await once(session, "remoteSettings");

    await install(workspace, SECOND);
    await gateway.reloadCertificate();
    for (const url of [gateway.url, otlp]) expect(await certificateOf(url)).toBe("second");
    expect(await certificateOf(grpc, { ALPNProtocols: ["h2"] })).toBe("second");
    expect(lines.at(-1)).toMatch(/The TLS files have changed\. The certificate is now \(DNS:/);
    await keepAlive();
    expect(sockets).toBe(1);
    const pong = once(webSocket, "pong");
    webSocket.ping();
    await pong;
    await new Promise<void>((resolve, reject) => {
      session.ping((error) => (error ? reject(error) : resolve()));
    });
    const [, expiry] = /expiry_timestamp_seconds (\d+)/.exec(await get(`${gateway.url}/metrics`))!;
    expect(Number(expiry)).toBeGreaterThan(Date.now() / 1000);
  });
});

test("the access trail tells which certificate was renewed, and which one is not used", async () => {
  await using workspace = await Workspace.create();
  const tokens = await TestTokens.create(workspace, { auditor: { scopes: ["read:audit"] } });
  await workspace.write(
    "tailgate.yaml",
    `{ port: 0, log_dir: logs, journal: { engine: memory }, exporters: {}, receivers: {},
      auth: { tokens_file: ${tokens.path} }, tls: { certificate: tls.pem, key: tls.key } }`,
  );
  await install(workspace, FIRST);
  const config = await resolveConfig({ env: {}, flags: {}, cwd: workspace.directory });
  const gateway = await startTailgate(config, { write: () => {} });
  onTestFinished(() => gateway.stop());
  await install(workspace, SECOND);
  await gateway.reloadCertificate();
  await workspace.write("tls.key", FIRST.key);
  await gateway.reloadCertificate();
  const history = `${gateway.url}/api/logs?order=asc&q=certificate`;
  const events = await vi.waitFor(async () => {
    const { records } = JSON.parse(await get(history, { headers: tokens.bearer("auditor") }));
    expect(records).toHaveLength(2);
    return (records as { data: object }[]).map(({ data }) => data);
  });
  const { fingerprint256 } = new X509Certificate(SECOND.cert);
  expect(events).toMatchObject([
    {
      logger: "orchestrator.audit.access",
      message: "The TLS certificate was renewed.",
      action: "certificate_renewed",
      metadata: { details: { fingerprint: fingerprint256 } },
    },
    {
      message: "The TLS certificate has changed and is not used.",
      action: "certificate_rejected",
      metadata: { details: { reason: expect.stringContaining("key") } },
    },
  ]);
});

describe("connection limits with TLS", () => {
  async function openHarness(limits: object): Promise<HttpHarness> {
    const workspace = await Workspace.create();
    onTestFinished(() => workspace[Symbol.asyncDispose]());
    await install(workspace, FIRST);
    const files = filesOf(workspace);
    const log = { info: () => {}, warning: () => {}, error: () => {} };
    const tls = await ServerTls.open({ files, minVersion: "TLSv1.2", log });
    onTestFinished(() => tls.close());
    const harness = new HttpHarness({ tls, limits });
    harness.server.plugins.upgrade("/ws/logs", (_request, socket) => void socket.write("taken"));
    return harness.open();
  }

  test("connections count before their handshake, and WebSockets do not", async () => {
    const { url, port, lines } = await openHarness({ connectionsMax: 2 });
    for (let count = 0; count < 3; count++) {
      const socket = await connected(url);
      socket.write(handshake("/ws/logs", { Host: "localhost" }));
      expect(String((await once(socket, "data"))[0])).toBe("taken");
    }
    await connectedTcp(port);
    const last = await connectedTcp(port);
    await expect(connected(url)).rejects.toThrow(/disconnected|ECONNRESET/);
    expect(lines.at(-1)).toContain("All 2 connections are in use");
    last.destroy();
    await vi.waitFor(() => get(`${url}/healthz`));
  });

  test("an idle connection makes room for a new one", async () => {
    const { url } = await openHarness({ connectionsMax: 1 });
    const idle = await connected(url);
    idle.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await once(idle, "data");
    const closed = once(idle, "close");
    expect(await get(`${url}/healthz`)).toContain("ok");
    await closed;
  });

  test("slow handshakes are cut, with or without a first byte", async () => {
    const { url, port, lines } = await openHarness({ handshakeTimeoutMs: 100 });
    await text(await connectedTcp(port));
    expect(lines).toEqual([]);
    const slow = await connectedTcp(port);
    slow.write(Buffer.from([0x16, 3, 1, 2, 0, 1]));
    await text(slow);
    expect(lines).toEqual(["A TLS handshake took longer than 0.1 s."]);
    const fast = await connected(url);
    fast.write("GET /api/logs?order=asc&wait=0.3 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(String((await once(fast, "data"))[0])).toMatch(/^HTTP\/1.1 200 /);
  });

  test("a client that does not read its response is disconnected", async () => {
    const harness = await openHarness({ writeTimeoutMs: 200 });
    const body = "x".repeat(1 << 20);
    for (let index = 0; index < 8; index++) await harness.log({ body });
    const socket = await connected(harness.url);
    socket.on("error", () => {}).pause();
    for (let index = 0; index < 4; index++) {
      socket.write("GET /api/logs HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    await vi.waitFor(() => {
      expect(harness.lines.at(-1)).toContain("it did not read its response for 0.2 s");
    }, 10_000);
  });

  test("the gateway stops although a handshake is not complete", async () => {
    const { server, port } = await openHarness({});
    const socket = await connectedTcp(port);
    await vi.waitFor(() => sendRaw(port, "GET / HTTP/1.1\r\n\r\n"));
    await server.close(AbortSignal.abort());
    await text(socket).catch(() => {});
  });
});

function filesOf(workspace: Workspace): { certificate: string; key: string; clientCa: undefined } {
  return {
    certificate: workspace.path("tls.pem"),
    key: workspace.path("tls.key"),
    clientCa: undefined,
  };
}

describe("files that change", () => {
  interface Renewal extends AsyncDisposable {
    readonly workspace: Workspace;
    readonly tls: ServerTls;
    readonly lines: string[];
    /** The name in the certificate that is in use. */
    name(): string | undefined;
  }

  async function openRenewal(
    times: Pick<ServerTlsOptions, "pollMs" | "retryMs"> = {},
  ): Promise<Renewal> {
    const workspace = await Workspace.create();
    await install(workspace, FIRST);
    const lines: string[] = [];
    const log = {
      info: (line: string) => lines.push(line),
      warning: (line: string) => lines.push(line),
      error: (line: string, cause?: unknown) => lines.push(`${line} ${(cause as Error).message}`),
    };
    const files = filesOf(workspace);
    const tls = await ServerTls.open({ files, minVersion: "TLSv1.2", log, ...times });
    return {
      workspace,
      tls,
      lines,
      name: () => tls.certificate.toLegacyObject().subject.CN as string,
      [Symbol.asyncDispose]: async () => {
        tls.close();
        await workspace[Symbol.asyncDispose]();
      },
    };
  }

  test("are found by polling, also behind symbolic links as Kubernetes has them", async () => {
    await using renewal = await openRenewal({ pollMs: 20 });
    const { workspace, tls, name } = renewal;
    tls.watch();
    for (const [folder, { cert, key }] of Object.entries({ one: FIRST, two: SECOND })) {
      await workspace.write(`${folder}/tls.pem`, cert);
      await workspace.write(`${folder}/tls.key`, key);
      await chmod(workspace.path(`${folder}/tls.key`), 0o600);
    }
    await symlink("one", workspace.path("..data"));
    for (const file of ["tls.pem", "tls.key"]) {
      await rm(workspace.path(file));
      await symlink(`..data/${file}`, workspace.path(file));
    }
    expect(name()).toBe("first");
    await symlink("two", workspace.path("..next"));
    await rename(workspace.path("..next"), workspace.path("..data"));
    await vi.waitFor(() => expect(name()).toBe("second"), 5000);
  });

  test("the key may arrive a moment after its certificate", async () => {
    await using renewal = await openRenewal();
    const { workspace, tls, lines, name } = renewal;
    await workspace.write("tls.pem", SECOND.cert);
    const reloaded = tls.reload();
    await workspace.write("tls.key", SECOND.key);
    await reloaded;
    expect(name()).toBe("second");
    expect([tls.reloads, lines.length]).toEqual([{ success: 1, failure: 0 }, 1]);
  });

  const expired = issueCertificate("expired", { toMs: -1000 });
  test.each<[string, (workspace: Workspace) => Promise<void>, string]>([
    [
      "half of a certificate",
      (workspace) => workspace.write("tls.pem", SECOND.cert.slice(0, 300)),
      "is incomplete: a certificate has no end",
    ],
    ["an empty file", (workspace) => workspace.write("tls.pem", ""), "contains no certificate"],
    [
      "half of a key",
      (workspace) => workspace.write("tls.key", FIRST.key.slice(0, 100)),
      "is not a private key in PEM format",
    ],
    [
      "the key of another certificate",
      (workspace) => workspace.write("tls.key", SECOND.key),
      "does not belong to the certificate",
    ],
    ["a missing file", (workspace) => rm(workspace.path("tls.pem")), "cannot be read (ENOENT"],
    [
      "a key for all users",
      (workspace) => chmod(workspace.path("tls.key"), 0o644),
      "is accessible to all users (mode 0644)",
    ],
    ["an expired certificate", (workspace) => install(workspace, expired), "expired at 20"],
  ])("%s changes nothing, is logged once, and can be corrected", async (_, spoil, why) => {
    await using renewal = await openRenewal({ retryMs: 10 });
    const { workspace, tls, lines, name } = renewal;
    await spoil(workspace);
    await tls.reload();
    await tls.reload();
    expect(name()).toBe("first");
    expect(lines).toEqual([expect.stringContaining(why)]);
    expect(lines[0]).toContain("The changed TLS files are not used");
    await install(workspace, SECOND);
    await tls.reload();
    expect([name(), tls.reloads]).toEqual(["second", { success: 1, failure: 1 }]);
  });

  test("a certificate that expires soon, or has expired, is announced at the start", async () => {
    await using workspace = await Workspace.create();
    const day = 86_400_000;
    for (const [toMs, why] of [
      [13.5 * day, "expires in 13 days"],
      [1.5 * day, "expires in 1 day."],
      [-day, "expired at 20"],
      [15 * day, undefined],
    ] as const) {
      await install(workspace, issueCertificate("old", { toMs, fromMs: -2 * day }));
      const lines: string[] = [];
      const log = { info: () => {}, warning: (line: string) => lines.push(line), error: () => {} };
      const tls = await ServerTls.open({ files: filesOf(workspace), minVersion: "TLSv1.2", log });
      tls.close();
      expect(lines).toEqual(why === undefined ? [] : [expect.stringContaining(why)]);
    }
  });
});
