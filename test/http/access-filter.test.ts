/** Requests of principals that may read only some records, and of those whose access ends. */

import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import * as fc from "fast-check";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { LoggingManager } from "tailgate";
import type { Access } from "tailgate/plugin";
import { grantedAccess } from "../../src/auth/access.ts";
import { Authenticator } from "../../src/auth/authenticator.ts";
import { ask, HttpHarness, type Answer } from "../harness/http-server.ts";
import {
  accessOf,
  anyFilter,
  anyReader,
  marked,
  markedRecord,
  markersIn,
  READERS,
  STARTED_MS,
  type MarkedRecord,
} from "../harness/restricted-readers.ts";
import { SubprotocolClient } from "../harness/subprotocol-client.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Client } from "../harness/websocket.ts";
import { Workspace } from "../harness/workspace.ts";

const SYSTEM = READERS[0]!;
const TENANT = READERS[2]!;

/** A gateway with authentication, to which principals authenticate with their names. */
class ReaderGateway {
  readonly harness: HttpHarness;
  readonly #accesses = new Map<string, Access>();

  private constructor() {
    const authenticator = new Authenticator([
      { authenticate: ({ headers }) => this.#accesses.get(headers.authorization ?? "") },
    ]);
    this.harness = new HttpHarness({ authenticator });
  }

  static async open(
    accesses: Readonly<Record<string, Access>>,
    prepare: (harness: HttpHarness) => void = () => {},
  ): Promise<ReaderGateway> {
    const gateway = new ReaderGateway();
    for (const [name, access] of Object.entries(accesses)) gateway.#accesses.set(name, access);
    prepare(gateway.harness);
    await gateway.harness.open();
    return gateway;
  }

  get(path: string, name: string): Promise<Answer> {
    return ask(`${this.harness.url}${path}`, { headers: { Authorization: name } });
  }

  async json(path: string, name: string): Promise<Answer & { readonly value: unknown }> {
    const answer = await this.get(path, name);
    return { ...answer, value: JSON.parse(answer.body) };
  }
}

/** Returns the path of a search. */
function target(path: string, parameters: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  return `${path}?${new URLSearchParams(given as [string, string][]).toString()}`;
}

interface Stats {
  readonly tail: object;
  readonly audit: { readonly head: string } | null;
  readonly components: readonly { readonly trouble: string }[];
}

interface Page {
  readonly records: readonly { readonly type: string; readonly data: object }[];
  readonly gaps: readonly object[];
  readonly next_cursor: string | null;
}

const EVERYTHING = grantedAccess("token:all", { scopes: ["read"] });
const BOSS = grantedAccess("token:boss", { scopes: ["admin"] });

describe("a reader that may read only some records", () => {
  test("finds, counts and exports what a gateway that has only these has, and nothing of others", async () => {
    const property = fc.asyncProperty(
      fc.record({
        records: fc.array(markedRecord, { maxLength: 80 }),
        who: anyReader,
        other: anyReader,
        filter: anyFilter,
        order: fc.constantFrom("asc", "desc"),
        limit: fc.integer({ min: 1, max: 40 }),
        since: fc.option(fc.nat({ max: 5000 }), { nil: undefined }),
      }),
      async ({ records, who, other, filter, order, limit, since }) => {
        const logged = marked(records);
        const full = await ReaderGateway.open({ who: accessOf(who), other: accessOf(other) });
        const oracle = await ReaderGateway.open({ who: EVERYTHING });
        if (records.length > 0) await full.harness.log(...logged);
        const own = logged.filter((_, index) => who.reads(records[index]!));
        if (own.length > 0) await oracle.harness.log(...own);
        const bounds = {
          ...filter,
          order,
          since: since === undefined ? undefined : String(STARTED_MS + since),
        };
        let bytes = "";
        const pages = async (gateway: ReaderGateway): Promise<Page[]> => {
          const all: Page[] = [];
          let cursor: string | undefined;
          do {
            const search = target("/api/logs", { ...bounds, limit: String(limit), cursor });
            const { body, value } = await gateway.json(search, "who");
            if (gateway === full) bytes += body;
            const page = value as Page;
            all.push(page);
            cursor = page.next_cursor ?? undefined;
          } while (cursor !== undefined);
          return all;
        };
        const counts = async (gateway: ReaderGateway): Promise<object> => {
          const facets = "logger,action,instance_id,service";
          const search = target("/api/counts", { ...bounds, facets });
          const { body, value } = await gateway.json(search, "who");
          if (gateway === full) bytes += body;
          return { ...(value as object), epoch: "", counted: "" };
        };
        const lines = async (gateway: ReaderGateway): Promise<object[]> => {
          const search = target("/api/logs", { ...bounds, format: "ndjson", limit: "1000" });
          const { body, headers } = await gateway.get(search, "who");
          if (gateway === full) bytes += body + JSON.stringify(headers);
          const found = body.split("\n").filter((line) => line !== "");
          return found.map((line) => ({ ...JSON.parse(line), sequence: 0 }));
        };
        const tail = async (gateway: ReaderGateway): Promise<object> => {
          const { body, value } = await gateway.json("/api/stats", "who");
          if (gateway === full) bytes += body;
          return { ...(value as Stats).tail, from: 0, to: 0 };
        };
        // The other reader asks for the same and must not fill a cache for this one.
        const search = target("/api/logs", bounds);
        const others = await Promise.all([
          full.get(search, "other"),
          full.get("/api/stats", "other"),
        ]);
        const [found, expected] = [await pages(full), await pages(oracle)];
        expect(found.flatMap(recordsOf)).toEqual(expected.flatMap(recordsOf));
        expect(found.flatMap(({ gaps }) => gaps)).toEqual([]);
        expect(await counts(full)).toEqual(await counts(oracle));
        expect(await lines(full)).toEqual(await lines(oracle));
        expect(await tail(full)).toEqual(await tail(oracle));
        const readable = (marker: number): boolean => who.reads(records[marker]!);
        expect(markersIn(bytes).filter((marker) => !readable(marker))).toEqual([]);
        const othersBytes = others.map(({ body }) => body).join("\n");
        expect(markersIn(othersBytes).every((marker) => other.reads(records[marker]!))).toBe(true);
        await full.harness.server.close(AbortSignal.abort());
        await oracle.harness.server.close(AbortSignal.abort());
      },
    );
    await fc.assert(property, { numRuns: 30 });
  });

  test("waits until a record arrives that it may read, however many others do", async () => {
    // Matching takes so long that these records are more than one response may search.
    const terms = Array.from({ length: 60 }, (_, index) => `-"never ${index}"`);
    const filter = [...terms, TENANT.filter].join(" ");
    const who = grantedAccess("token:slow", { scopes: ["read"], filter });
    const gateway = await ReaderGateway.open({ who, boss: BOSS });
    const { harness } = gateway;
    const hidden: MarkedRecord = {
      tenant: "theirs",
      isAudit: false,
      severityText: "INFO",
      micros: 0,
      padding: 100_000,
    };
    const flood = async (): Promise<void> => {
      for (let count = 0; count < 80; count++) await harness.log(...marked([hidden]));
    };
    await flood();
    const socket = connect(harness.port, "127.0.0.1");
    const head = "Host: localhost\r\nAuthorization: who\r\nConnection: close";
    socket.write(`GET /api/logs?order=asc&wait=30 HTTP/1.1\r\n${head}\r\n\r\n`);
    const answer = text(socket);
    await untilWaiting(gateway, 1);
    await flood();
    // It has searched them when it waits again for the next record.
    await untilWaiting(gateway, 1);
    expect(socket.bytesRead).toBe(0);
    await harness.log(...marked([{ ...hidden, tenant: "mine", padding: 0 }], 7));
    expect(await answer).toContain("message zq7zq");
  });

  test("hears of components that have trouble, and of the hash chain, no more than it may read", async () => {
    const trail = grantedAccess("token:trail", { scopes: ["read:audit"] });
    const gateway = await ReaderGateway.open(
      { all: EVERYTHING, trail, tenant: accessOf(TENANT), system: accessOf(SYSTEM) },
      (harness) => {
        harness.component({ lastError: "POST https://x.example/?key=1 failed" });
        harness.audit = { chain: { count: 3, seq: 9, head: "abc" }, checkpoint: undefined };
      },
    );
    const seen = async (name: string): Promise<unknown[]> => {
      const stats = (await gateway.json("/api/stats", name)).value as Stats;
      const ready = (await gateway.json("/readyz", name)).value as Pick<Stats, "components">;
      const troubles = [stats, ready].map(({ components }) => components[0]!.trouble);
      return [
        stats.audit?.head ?? null,
        ...troubles.map((trouble) => trouble.includes("x.example")),
      ];
    };
    expect(await seen("all")).toEqual(["abc", true, true]);
    expect(await seen("trail")).toEqual(["abc", false, false]);
    expect(await seen("tenant")).toEqual([null, false, false]);
    expect(await seen("system")).toEqual([null, false, false]);
    const stranger = await ask(`${gateway.harness.url}/readyz`);
    expect(stranger.status).toBe(200);
    expect(stranger.body).toContain("has reported an error");
    expect(stranger.body).not.toContain("x.example");
  });
});

function recordsOf({ records }: Page): object[] {
  return records.map(({ type, data }) => ({ type, data }));
}

/** Resolves when this many requests wait for records, and no search runs. */
async function untilWaiting(gateway: ReaderGateway, count: number): Promise<void> {
  await vi.waitFor(
    async () => {
      const { body } = await gateway.get("/metrics", "boss");
      expect(body).toMatch(new RegExp(`^tailgate_http_waiting ${count}$`, "m"));
      expect(body).toMatch(/^tailgate_http_searches 0$/m);
    },
    { timeout: 10_000, interval: 5 },
  );
}

describe("when the access of a reader ends", () => {
  const LARGE: MarkedRecord = {
    tenant: "mine",
    isAudit: false,
    severityText: "INFO",
    micros: 0,
    padding: 1 << 20,
  };

  test("a request that waits is answered 401, and others stay", async () => {
    const ended = new AbortController();
    const gateway = await ReaderGateway.open({
      who: accessOf(TENANT, ended.signal),
      all: EVERYTHING,
      boss: BOSS,
    });
    const [answer, other] = ["who", "all"].map((name) =>
      gateway.json("/api/logs?order=asc&wait=30", name),
    );
    await untilWaiting(gateway, 2);
    ended.abort();
    const { status, headers, value } = await answer!;
    expect(status).toBe(401);
    expect(headers["www-authenticate"]).toBe('Bearer realm="tailgate", error="invalid_token"');
    expect(value).toEqual({
      error: {
        code: "UNAUTHENTICATED",
        message: "The credentials have expired or were revoked.",
      },
    });
    await untilWaiting(gateway, 1);
    await gateway.harness.log({});
    expect(((await other!).value as Page).records).toHaveLength(1);
  });

  test("a response that it has not read is cut", async () => {
    const ended = new AbortController();
    const gateway = await ReaderGateway.open({
      who: accessOf(TENANT, ended.signal),
      boss: BOSS,
    });
    for (let count = 0; count < 6; count++) await gateway.harness.log(...marked([LARGE]));
    const socket = connect(gateway.harness.port, "127.0.0.1");
    socket.write("GET /api/logs HTTP/1.1\r\nHost: localhost\r\nAuthorization: who\r\n\r\n");
    const [chunk] = (await once(socket, "data")) as [Buffer];
    socket.pause();
    const length = Number(/content-length: (\d+)/i.exec(chunk.toString())![1]);
    ended.abort();
    socket.on("error", () => {});
    socket.resume();
    await once(socket, "close");
    expect(length).toBeGreaterThan(6 << 20);
    expect(socket.bytesRead).toBeLessThan(length);
  });
});

test("with tokens: a filter limits all that is read, and revoking ends streams and waiting requests", async () => {
  const workspace = await Workspace.create();
  const tokens = await TestTokens.create(workspace, {
    tenant: { scopes: ["read"], filter: 'tenant:"mine"' },
  });
  await workspace.write("tailgate.yaml", `auth: { tokens_file: ${tokens.path} }\n`);
  const manager = await LoggingManager.start({
    config: workspace.path("tailgate.yaml"),
    port: 0,
    logDir: workspace.path("logs"),
    exporters: { websocket: {} },
    registerGlobally: false,
    write: () => {},
  });
  onTestFinished(async () => {
    await manager.stop();
    await workspace[Symbol.asyncDispose]();
  });
  const logger = manager.getLogger("orchestrator.server");
  const log = (body: string, tenant: string): void => logger.info(body, { tenant });
  log("one", "mine");
  log("two", "theirs");
  const url = new URL("/ws/logs", manager.url.replace("http", "ws"));
  url.password = tokens.text("tenant");
  const client = await SubprotocolClient.subscribe(url.href, { replay: 10 });
  const plain = await Client.open(`${url.href}?replay=10`);
  log("three", "theirs");
  log("four", "mine");
  await client.poll(() => expect(messagesOf(client)).toEqual(["one", "four"]));
  await vi.waitFor(() => expect(plain.messages).toEqual(["one", "four"]));
  const get = (query: string): Promise<Answer> =>
    ask(`${manager.url}/api/logs?${query}`, { headers: tokens.bearer("tenant") });
  const { body } = await get("order=asc");
  const page = JSON.parse(body) as { records: { sequence: number; data: { message: string } }[] };
  expect(page.records.map(({ data }) => data.message)).toEqual(["one", "four"]);
  const waiting = get(`order=asc&wait=30&q=nothing`);
  await tokens.revoke("tenant");
  const closed = { code: 1008, reason: "unauthorized: access expired or was revoked" };
  expect(await client.closed).toEqual(closed);
  expect(await plain.closed).toEqual(closed);
  expect((await waiting).status).toBe(401);
});

function messagesOf({ ledger }: SubprotocolClient): string[] {
  return Array.from(ledger.envelopes.values(), ({ data }) => data.message);
}
