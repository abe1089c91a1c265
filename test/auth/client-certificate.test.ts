/** Clients that authenticate with a certificate, over HTTPS and gRPC. */

import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { chmod } from "node:fs/promises";
import { request, type RequestOptions } from "node:https";
import { text } from "node:stream/consumers";
import { connect, type ConnectionOptions } from "node:tls";
import { Client, credentials, Metadata, status, type ServiceError } from "@grpc/grpc-js";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { resolveConfig, startTailgate, type RunningTailgate } from "tailgate";
import { stringify } from "yaml";
import { namesOf } from "../../src/auth/certificate-names.ts";
import { issueCertificate, type TestCertificate } from "../harness/certificates.ts";
import { PYTHON } from "../harness/otlp.ts";
import { Workspace } from "../harness/workspace.ts";
import { METHOD } from "../plugins/otlp-receiver/raw-call.ts";

const AUTHORITY = issueCertificate("authority", { isAuthority: true });
const STRANGER = issueCertificate("stranger", { isAuthority: true });

const issued = (name: string, names: string[] = []): TestCertificate =>
  issueCertificate(name, { by: AUTHORITY, names });

const COLLECTOR = issued("collector-a", ["URI:spiffe://example.com/collector-a"]);
const DASHBOARD = issued("Viewer", ["DNS:Viewer.Example.com", "DNS:other.example.com"]);
const SENDER = issued("sender-1");
const PINNED = issued("pinned");
const UNKNOWN = issued("nobody");
const SELF_SIGNED = issueCertificate("sender-1", { names: [] });
const FOREIGN = issueCertificate("sender-1", { by: STRANGER, names: [] });
/** The name is the fingerprint of another certificate. */
const DISGUISED = issued(new X509Certificate(PINNED.cert).fingerprint256);

const CERTIFICATES = {
  "spiffe://example.com/collector-a": { scopes: ["ingest"] },
  "viewer.example.com": { scopes: ["read"], filter: "level:ERROR" },
  "sender-1": { scopes: ["ingest:system"] },
  [fingerprintOf(PINNED).toLowerCase()]: { scopes: ["metrics"] },
  short: { scopes: ["read"] },
};

function fingerprintOf({ cert }: TestCertificate): string {
  return createHash("sha256").update(new X509Certificate(cert).raw).digest("hex");
}

let workspace: Workspace;
let gateway: RunningTailgate;
let grpc: string;
const lines: string[] = [];

beforeAll(async () => {
  workspace = await Workspace.create();
  const server = issueCertificate("server", { by: AUTHORITY });
  await workspace.write("tls.pem", server.cert);
  await workspace.write("tls.key", server.key);
  await chmod(workspace.path("tls.key"), 0o600);
  await workspace.write("ca.pem", AUTHORITY.cert);
  const config = await resolveConfig({
    text: stringify({
      port: 0,
      log_dir: "logs",
      journal: { engine: "memory" },
      receivers: { otlp: { port: null, grpc_port: 0 } },
      exporters: { websocket: {} },
      tls: { certificate: "tls.pem", key: "tls.key", client_ca: "ca.pem" },
      auth: { tokens_file: "tokens.json", certificates: CERTIFICATES },
    }),
    env: {},
    flags: {},
    cwd: workspace.directory,
  });
  gateway = await startTailgate(config, { write: (line) => void lines.push(line) });
  grpc = new URL(gateway.listeners[1]!.split(" ", 1)[0]!).host;
});

afterAll(async () => {
  await gateway.stop();
  await workspace[Symbol.asyncDispose]();
});

const TRUST = { ca: AUTHORITY.cert, servername: "localhost" };

interface Answer {
  readonly status: number;
  readonly body: string;
}

async function get(
  path: string,
  certificate?: TestCertificate,
  options: RequestOptions = {},
): Promise<Answer> {
  const own = certificate && { cert: certificate.cert, key: certificate.key };
  const asked = request(gateway.url + path, { ...TRUST, ...own, agent: false, ...options }).end();
  const [response] = await once(asked, "response");
  return { status: response.statusCode, body: await text(response) };
}

/** Exports over gRPC; returns the status. */
function callGrpc(certificate?: TestCertificate): Promise<ServiceError | null> {
  const [key, cert] = [certificate?.key, certificate?.cert].map((pem) => pem && Buffer.from(pem));
  const secure = credentials.createSsl(Buffer.from(AUTHORITY.cert), key || null, cert || null);
  const client = new Client(grpc, secure, { "grpc.ssl_target_name_override": "localhost" });
  onTestFinished(() => client.close());
  const asIs = (bytes: Buffer): Buffer => bytes;
  return new Promise((resolve) => {
    client.makeUnaryRequest(METHOD, asIs, asIs, PYTHON, new Metadata(), (error) => resolve(error));
  });
}

describe("a client certificate", () => {
  test.each([
    [
      "by its URI",
      COLLECTOR,
      "/metrics",
      403,
      "certificate:spiffe://example.com/collector-a lacks",
    ],
    ["by its DNS name, in any case", DASHBOARD, "/api/logs", 200, "records"],
    [
      "by its common name without other names",
      SENDER,
      "/metrics",
      403,
      "certificate:sender-1 lacks",
    ],
    ["by its fingerprint", PINNED, "/metrics", 200, "tailgate_"],
    [
      "not by a name that is not configured",
      UNKNOWN,
      "/metrics",
      403,
      'nobody\\" may not use this gateway',
    ],
    ["not by a name that is a fingerprint", DISGUISED, "/metrics", 403, "may not use this gateway"],
  ])("is identified %s", async (_, certificate, path, expected, body) => {
    const answer = await get(path, certificate);
    expect([answer.status, answer.body]).toEqual([expected, expect.stringContaining(body)]);
  });

  test.each([
    ["nobody has signed", SELF_SIGNED],
    ["another authority has signed", FOREIGN],
    ["is missing", undefined],
  ])("that %s gives no access", async (_, certificate) => {
    const { status: code, body } = await get("/api/logs", certificate);
    expect([code, body]).toEqual([401, expect.stringContaining("requires authentication")]);
    expect((await callGrpc(certificate))?.code).toBe(status.UNAUTHENTICATED);
    expect((await get("/healthz", certificate)).status).toBe(200);
  });

  test("is the principal of what it sends over gRPC", async () => {
    expect(await callGrpc(COLLECTOR)).toBeNull();
    expect(await callGrpc(SENDER)).toBeNull();
    expect(await callGrpc(DASHBOARD)).toMatchObject({
      code: status.PERMISSION_DENIED,
      details: expect.stringContaining("certificate:Viewer.Example.com lacks the scope"),
    });
    expect(await callGrpc(UNKNOWN)).toMatchObject({ code: status.PERMISSION_DENIED });
  });

  test("reads only what its filter matches", async () => {
    const { records } = JSON.parse((await get("/api/logs", DASHBOARD)).body);
    const levels = records.map(({ data }: { data: { level: string } }) => data.level);
    expect(new Set(levels)).toEqual(new Set(["CRITICAL", "ERROR"]));
  });

  test("does not count if there is a token", async () => {
    const headers = { Authorization: "Bearer tgw_nothing" };
    const { status: code, body } = await get("/metrics", PINNED, { headers });
    expect([code, body]).toEqual([401, expect.not.stringContaining("certificate")]);
  });

  test.each(["TLSv1.2", "TLSv1.3"] as const)(
    "is not replaced by a resumed session of %s without one",
    async (version) => {
      let session: Buffer | undefined;
      const exchange = async (options: ConnectionOptions): Promise<string> => {
        const port = Number(new URL(gateway.url).port);
        const socket = connect({
          ...{ host: "127.0.0.1", port, ...TRUST, session },
          ...{ minVersion: version, maxVersion: version, ...options },
        });
        socket.on("session", (next) => (session = next));
        socket.write("GET /api/logs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        await once(socket, "secureConnect");
        const isReused = socket.isSessionReused();
        return `${isReused} ${(await text(socket)).slice(0, 12)}`;
      };
      expect(await exchange({})).toBe("false HTTP/1.1 401");
      expect(await exchange({})).toBe("true HTTP/1.1 401");
      session = undefined;
      expect(await exchange(DASHBOARD)).toBe("false HTTP/1.1 200");
      expect(await exchange(DASHBOARD)).toBe("true HTTP/1.1 200");
    },
  );

  test("counts in pages of the gateway only: the browser sends it with requests of others, too", async () => {
    const from = async (Origin: string): Promise<Answer> =>
      get("/api/logs", DASHBOARD, { headers: { Origin } });
    expect((await from(gateway.url)).status).toBe(200);
    const { status: code, body } = await from("http://localhost:3000");
    expect([code, body]).toEqual([403, expect.stringContaining("does not belong to this gateway")]);
    expect((await from(gateway.url.replace("https", "http"))).status).toBe(403);
  });

  test("that a wrong clock has ended is valid again when the clock is right", async () => {
    const certificate = issueCertificate("short", { by: AUTHORITY, names: [] });
    const lastMs = new X509Certificate(certificate.cert).validToDate.getTime();
    vi.useFakeTimers({ toFake: ["Date"], now: lastMs - 200 });
    onTestFinished(() => void vi.useRealTimers());
    const { cert, key } = certificate;
    const url = `${gateway.url.replace("https", "wss")}/ws/logs`;
    const socket = new WebSocket(url, { ...TRUST, cert, key });
    await once(socket, "open");
    vi.setSystemTime(lastMs);
    await once(socket, "close");
    vi.useRealTimers();
    expect((await get("/api/logs", certificate)).status).toBe(200);
  });

  test("that expires ends the streams that it has opened", async () => {
    const short = issueCertificate("short", { by: AUTHORITY, names: [], toMs: 2000 });
    const { cert, key } = short;
    const url = `${gateway.url.replace("https", "wss")}/ws/logs`;
    const socket = new WebSocket(url, { ...TRUST, cert, key });
    await once(socket, "open");
    await once(socket, "close");
    expect(await get("/api/logs", short)).toMatchObject({ status: 401 });
  });
});

describe("the names in a certificate", () => {
  const namesIn = (commonName: string, names: string[] = []): string[] =>
    namesOf(new X509Certificate(issueCertificate(commonName, { names }).cert));

  test("are those in its encoded form, whatever they contain", () => {
    expect(namesIn("cn", ["DNS:a", "URI:spiffe://b"])).toEqual(["spiffe://b", "a"]);
    expect(namesIn("cn", ["IP:127.0.0.1"])).toEqual(["cn"]);
    expect(namesIn("a, CN=b\nCN=c")).toEqual(["a, CN=b\nCN=c"]);
    const ascii = fc.string({ unit: "binary-ascii", maxLength: 300 });
    const name = fc.oneof(ascii, fc.constantFrom('x", DNS:evil', "a, URI:spiffe://evil", "a\0b"));
    const names = fc.array(fc.tuple(fc.constantFrom("DNS", "URI"), name), { maxLength: 4 });
    fc.assert(
      fc.property(names, (given) => {
        const expected = ["URI", "DNS"].flatMap((kind) =>
          given.filter(([one]) => one === kind).map(([, value]) => value),
        );
        const found = namesIn(
          "cn",
          given.map(([kind, value]) => `${kind}:${value}`),
        );
        expect(found).toEqual(expected.length === 0 ? ["cn"] : expected);
      }),
      { numRuns: 50 },
    );
  });

  test("are none if the certificate is damaged", () => {
    const { cert } = issueCertificate("cn", { names: ["DNS:a", "URI:spiffe://b"] });
    const { raw } = new X509Certificate(cert);
    fc.assert(
      fc.property(fc.nat(raw.length - 1), fc.nat(255), (at, byte) => {
        const damaged = Buffer.from(raw);
        damaged[at] = byte;
        const names = namesOf({
          raw: damaged,
          toLegacyObject: () => ({ subject: {} }),
        } as unknown as X509Certificate);
        expect(names.length).toBeLessThanOrEqual(2);
      }),
      { numRuns: 2000 },
    );
  });
});
