/** Users whom a trusted proxy has authenticated, on each port of a gateway. */

import { Client, credentials, Metadata, status, type ServiceError } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { resolveConfig, startTailgate, type RunningTailgate } from "tailgate";
import { ask, handshake, sendRaw } from "../harness/http-server.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";

const METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

let workspace: Workspace;
let gateway: RunningTailgate;
let otlp: string;
let grpc: string;
let token: string;

beforeAll(async () => {
  workspace = await Workspace.create();
  const tokens = await TestTokens.create(workspace, { ci: { scopes: ["metrics"] } });
  token = tokens.text("ci");
  await workspace.write(
    "tailgate.yaml",
    `{ port: 0, log_dir: logs, journal: { engine: memory }, exporters: { websocket: {} },
      receivers: { otlp: { port: 0, grpc_port: 0 } }, trusted_proxies: [127.0.0.1],
      auth: { tokens_file: ${tokens.path}, proxy: {
        user_header: X-Forwarded-User, groups_header: X-Forwarded-Groups,
        groups: { dev: { scopes: [read], filter: "type:audit" } },
        users: { robot: { scopes: [ingest] } } } } }`,
  );
  const config = await resolveConfig({ env: {}, flags: {}, cwd: workspace.directory });
  gateway = await startTailgate(config, { write: () => {} });
  const urls = gateway.listeners.map((line) => line.split(" ", 1)[0]!);
  otlp = new URL(urls[1]!).origin;
  grpc = new URL(urls[2]!).host;
});

afterAll(async () => {
  await gateway.stop();
  await workspace[Symbol.asyncDispose]();
});

const ALICE = { "X-Forwarded-User": "alice", "X-Forwarded-Groups": "staff,dev" };

async function statusOf(path: string, headers: Record<string, string>): Promise<number> {
  return (await ask(gateway.url + path, { headers })).status;
}

describe("a user of the proxy", () => {
  test("has the rights of the groups, over HTTP and the WebSocket", async () => {
    expect(await statusOf("/api/logs", ALICE)).toBe(200);
    expect(await statusOf("/metrics", ALICE)).toBe(403);
    const upgrade = async (headers: Record<string, string>): Promise<string> => {
      const request = handshake("/ws/logs", { Host: "localhost", ...headers });
      return (await sendRaw(port(), request)).split("\r\n", 1)[0]!;
    };
    expect(await upgrade({})).toContain(" 401 ");
    expect(await upgrade({ ...ALICE, "X-Forwarded-Groups": "staff" })).toContain(" 403 ");
  });

  test("without access learns why from whoami, for the page", async () => {
    const answer = await ask(`${gateway.url}/api/whoami`, {
      headers: { "X-Forwarded-User": "bob" },
    });
    expect(answer).toMatchObject({ status: 403 });
    expect(answer.body).toContain("user:bob may not use this gateway");
    expect(await statusOf("/api/whoami", {})).toBe(200);
  });

  test("counts before credentials that the proxy passes on", async () => {
    const basic = { Authorization: `Basic ${btoa("alice:password of the proxy")}` };
    expect(await statusOf("/api/logs", { ...ALICE, ...basic })).toBe(200);
    expect(await statusOf("/api/logs", basic)).toBe(401);
    expect(await statusOf("/metrics", { Authorization: `Bearer ${token}` })).toBe(200);
  });

  test("cannot be chosen by a client whose header the proxy does not replace", async () => {
    const lines = Object.entries(ALICE).map((pair) => pair.join(": "));
    const head = [...lines, "x-forwarded-user: root", "Host: localhost", "Connection: close"];
    const answer = await sendRaw(port(), `GET /api/logs HTTP/1.1\r\n${head.join("\r\n")}\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1.1 400 [^]*more than one header x-forwarded-user/);
  });

  test("counts in pages of the gateway only: the browser sends the proxy's cookie for others, too", async () => {
    const [own, trusted] = [gateway.url, "http://localhost:3000"];
    expect(await statusOf("/api/logs", { ...ALICE, Origin: own })).toBe(200);
    const { status: code, body } = await ask(`${gateway.url}/api/logs`, {
      headers: { ...ALICE, Origin: trusted },
    });
    expect([code, body]).toEqual([
      403,
      expect.stringContaining(`The page \\"${trusted}\\" does not belong`),
    ]);
    const upgrade = async (Origin: string): Promise<string> => {
      const headers = { Host: new URL(gateway.url).host, ...ALICE, Origin };
      return (await sendRaw(port(), handshake("/ws/logs", headers))).split("\r\n", 1)[0]!;
    };
    expect(await upgrade(trusted)).toContain(" 403 ");
    const forwarded = {
      ...ALICE,
      "X-Forwarded-Host": `localhost:${port()}`,
      "X-Forwarded-Proto": "https",
    };
    const fromPage = (Origin: string) => statusOf("/api/logs", { ...forwarded, Origin });
    expect(await fromPage(`https://localhost:${port()}`)).toBe(200);
    expect(await fromPage(`http://localhost:${port()}`)).toBe(403);
    expect(await statusOf("/", { ...ALICE, Origin: trusted })).toBe(200);
  });

  test("may send over OTLP/HTTP with the scope", async () => {
    const post = async (headers: Record<string, string>): Promise<number> => {
      const type = { "Content-Type": "application/json" };
      const body = '{"resourceLogs":[]}';
      const all = { method: "POST", headers: { ...type, ...headers }, body };
      return (await fetch(`${otlp}/v1/logs`, all)).status;
    };
    expect(await post({ "X-Forwarded-User": "robot" })).toBe(200);
    expect(await post(ALICE)).toBe(403);
    expect(await post({})).toBe(401);
  });

  test("may send over OTLP/gRPC with the scope", async () => {
    const client = new Client(grpc, credentials.createInsecure());
    onTestFinished(() => client.close());
    const call = async (headers: readonly (readonly [string, string])[]): Promise<number> => {
      const metadata = new Metadata();
      for (const [name, value] of headers) metadata.add(name, value);
      const asIs = (bytes: Buffer): Buffer => bytes;
      const error = await new Promise<ServiceError | null>((resolve) => {
        client.makeUnaryRequest(METHOD, asIs, asIs, Buffer.alloc(0), metadata, resolve);
      });
      return error?.code ?? status.OK;
    };
    const robot = ["x-forwarded-user", "robot"] as const;
    expect(await call([robot])).toBe(status.OK);
    expect(await call(Object.entries(ALICE))).toBe(status.PERMISSION_DENIED);
    expect(await call([])).toBe(status.UNAUTHENTICATED);
    expect(await call([robot, ["x-forwarded-user", "alice"]])).toBe(status.INVALID_ARGUMENT);
  });
});

function port(): number {
  return Number(new URL(gateway.url).port);
}
