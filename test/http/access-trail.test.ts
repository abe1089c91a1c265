import { expect, test, vi } from "vitest";
import { createToken, formatToken } from "../../src/auth/tokens/token.ts";
import { ask } from "../harness/http-server.ts";
import { json, send } from "../harness/otlp.ts";
import { startSecured, type SecuredGateway } from "../harness/secured-gateway.ts";
import { SubprotocolClient } from "../harness/subprotocol-client.ts";
import { Workspace } from "../harness/workspace.ts";

interface Envelope {
  readonly data: {
    readonly logger: string;
    readonly level: string;
    readonly message: string;
    readonly action: string;
    readonly metadata: { readonly details: Readonly<Record<string, unknown>> };
  };
}

/** Returns the events of the access trail, oldest first. */
async function trailOf(gateway: SecuredGateway): Promise<Envelope["data"][]> {
  const query = "logger=orchestrator.audit.access&order=asc&limit=1000";
  const { body } = await ask(`${gateway.url}/api/logs?${query}`, {
    headers: gateway.tokens.bearer("boss"),
  });
  return (JSON.parse(body) as { records: Envelope[] }).records.map(({ data }) => data);
}

function actionsOf(events: readonly Envelope["data"][]): string[] {
  return events.map(({ action, metadata: { details } }) =>
    [action, details["token"]].filter(Boolean).join(" "),
  );
}

const RECORD = Buffer.from(
  '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}}]}]}]}',
);

test("failures, exports and changed tokens become audit events without secrets", async () => {
  const gateway = await startSecured({
    boss: { scopes: ["admin"] },
    ci: { scopes: ["ingest"] },
    late: { scopes: ["read"], expires_at: "2026-01-01T00:00:00.000Z" },
  });
  const { url, otlpUrl, tokens } = gateway;
  const get = (path: string, headers: Record<string, string> = {}) =>
    ask(`${url}${path}`, { headers });
  const id = tokens.text("ci").slice(4, 16);
  const forged = formatToken({ ...createToken(), id });
  const unknown = formatToken(createToken());

  // Without credentials it is no attempt.
  await get("/api/logs");
  await get("/api/whoami");
  await get("/api/whoami", { Authorization: `Bearer ${forged}` });
  for (let count = 0; count < 3; count++) {
    await get("/api/logs", { Authorization: `Bearer ${unknown}` });
  }
  await get("/api/logs", tokens.bearer("late"));
  await get("/metrics", tokens.bearer("ci"));
  await get("/api/logs", { Origin: "https://evil.example.com" });
  await send(otlpUrl, RECORD, { headers: { ...json, Authorization: "Bearer nonsense" } });
  await send(otlpUrl, RECORD, { headers: { ...json, ...tokens.bearer("ci") } });
  await get("/api/logs?format=ndjson&level=INFO", tokens.bearer("boss"));
  const post = (path: string, body: object, headers: Record<string, string> = {}) =>
    fetch(`${url}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
  await post("/api/login", { token: forged });
  const login = await post("/api/login", { token: tokens.text("boss") });
  const cookie = login.headers.get("set-cookie")!.split(";", 1)[0]!;
  await post("/api/logout", {}, { Cookie: cookie, Origin: url });

  const events = await trailOf(gateway);
  const address = "127.0.0.1";
  const denied = { action: "access_denied", level: "WARNING" };
  expect(events).toMatchObject([
    { action: "token_created", level: "INFO", metadata: { details: { token: "boss" } } },
    { action: "token_created", metadata: { details: { token: "ci", id, scopes: "ingest" } } },
    { action: "token_created", metadata: { details: { token: "late" } } },
    { action: "token_expired", metadata: { details: { token: "late" } } },
    { ...denied, metadata: { details: { address, reason: "The token is not valid.", id } } },
    { ...denied, metadata: { details: { address, reason: "The token is not valid." } } },
    {
      ...denied,
      message: "Access was denied: The token late expired on 2026-01-01T00:00:00.000Z.",
    },
    { ...denied, message: "Access was denied: token:ci lacks the scope metrics." },
    { action: "origin_refused", metadata: { details: { address } } },
    { ...denied, message: expect.stringContaining("The credentials are not a token") },
    {
      action: "logs_exported",
      message: "token:boss exported logs.",
      metadata: {
        details: {
          principal: "token:boss",
          address,
          requests: 1,
          records: expect.any(Number),
          query: "format=ndjson&level=INFO",
        },
      },
    },
    { action: "login_failed", message: "A login failed: The token is not valid." },
    {
      action: "login",
      message: "token:boss logged in.",
      metadata: { details: { address, by: "token" } },
    },
    { action: "logout", message: "token:boss logged out." },
  ]);

  await tokens.add("new", { scopes: ["read"] });
  await vi.waitFor(async () => {
    expect(actionsOf(await trailOf(gateway)).at(-1)).toBe("token_created new");
  }, 5_000);
  await tokens.revoke("new");
  await vi.waitFor(async () => {
    expect(actionsOf(await trailOf(gateway)).at(-1)).toBe("token_revoked new");
  }, 5_000);

  const { body: metrics } = await get("/metrics", tokens.bearer("boss"));
  expect(metrics).toContain(
    'tailgate_access_events_total{event="access_denied",outcome="recorded"} 5\n',
  );
  expect(metrics).toContain(
    'tailgate_access_events_total{event="access_denied",outcome="summarized"} 2\n',
  );
  const everything = JSON.stringify([await trailOf(gateway), gateway.lines, metrics]);
  for (const text of [forged, unknown, tokens.text("boss"), tokens.text("ci")]) {
    expect(everything).not.toContain(text.slice(17, 40));
  }
  expect(everything).not.toContain("nonsense");
  expect(everything).not.toContain(cookie.split("=")[1]);
});

test("records that are read over a WebSocket are exported, too", async () => {
  const gateway = await startSecured({ boss: { scopes: ["admin"] }, ui: { scopes: ["read"] } });
  const { url, otlpUrl, tokens } = gateway;
  const logRecords = Array.from({ length: 10_000 }, () => ({ body: { stringValue: "a" } }));
  const body = Buffer.from(JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] }));
  await send(otlpUrl, body, { headers: { ...json, ...tokens.bearer("boss") } });
  const address = new URL("/ws/logs", url.replace("http", "ws"));
  address.password = tokens.text("ui");
  const live = await SubprotocolClient.subscribe(address.href);
  const recent = await SubprotocolClient.subscribe(address.href, { replay: 1000 });
  const actions = async (): Promise<string[]> =>
    actionsOf(await trailOf(gateway)).filter((action) => action === "logs_exported");
  expect(await actions()).toEqual([]);
  const client = await SubprotocolClient.subscribe(address.href, { since: 0 });
  await vi.waitFor(async () => expect(await actions()).toHaveLength(1));
  const event = (await trailOf(gateway)).find(({ action }) => action === "logs_exported");
  expect(event).toMatchObject({ message: "token:ui exported logs." });
  expect(Number(event!.metadata.details["records"])).toBeGreaterThan(11_000);
  for (const { socket } of [live, recent, client]) socket.terminate();
});

test("what happened to tokens while the gateway was stopped is recorded once when it starts", async () => {
  await using workspace = await Workspace.create();
  const given = { boss: { scopes: ["admin"] }, ci: { scopes: ["ingest"] } };
  const first = await startSecured(given, { workspace });
  await first.stop();
  // The file of the second one is new, and so are the ids of its tokens.
  const second = await startSecured({ boss: { scopes: ["admin"] } }, { workspace });
  expect(actionsOf(await trailOf(second))).toEqual([
    "token_created boss",
    "token_created ci",
    "token_created boss",
    "token_removed boss",
    "token_removed ci",
  ]);
  const { url, tokens } = second;
  const wrong = { headers: { Authorization: "Bearer tgw_wrong" } };
  for (let count = 0; count < 5; count++) await ask(`${url}/api/logs`, wrong);
  await second.stop();
  const third = await startSecured(given, { workspace });
  const events = await trailOf(third);
  expect(actionsOf(events.slice(5, 7))).toEqual(["access_denied", "access_failures"]);
  expect(events[6]!.message).toBe("4 further failures from one address.");
  expect(tokens.path).toBe(third.tokens.path);
});

test("without the trail, nobody is told, and the gateway works", async () => {
  const gateway = await startSecured(
    { boss: { scopes: ["admin"] } },
    { auth: "access_trail: false" },
  );
  await ask(`${gateway.url}/api/logs`, { headers: { Authorization: "Bearer tgw_wrong" } });
  expect(await trailOf(gateway)).toEqual([]);
});
