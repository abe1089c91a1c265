import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { SessionFile } from "../../src/auth/sessions/session-file.ts";
import {
  Sessions,
  SESSIONS_MAX,
  SESSIONS_PER_TOKEN_MAX,
  type SessionEnd,
} from "../../src/auth/sessions/sessions.ts";
import { OPEN_ACCESS, type Access } from "../../src/plugin/access.ts";

const START_MS = Date.UTC(2026, 10, 30, 9);
const MINUTE_MS = 60_000;
const IDLE_MS = 60 * MINUTE_MS;
const ABSOLUTE_MS = 12 * 60 * MINUTE_MS;
const FROM = { address: "192.0.2.1", userAgent: "Firefox" };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START_MS });
});

afterEach(() => {
  vi.useRealTimers();
});

/** Tokens that can be revoked. */
class Tokens {
  readonly #tokens = new Map<string, { access: Access; controller: AbortController }>();

  add(id: string): void {
    const controller = new AbortController();
    const access = { ...OPEN_ACCESS, principal: `token:${id}`, signal: controller.signal };
    this.#tokens.set(id, { access, controller });
  }

  revoke(id: string): void {
    const token = this.#tokens.get(id);
    this.#tokens.delete(id);
    token?.controller.abort();
  }

  accessOf(id: string): Access | undefined {
    return this.#tokens.get(id)?.access;
  }
}

function openSessions(file?: SessionFile) {
  const tokens = new Tokens();
  tokens.add("a");
  tokens.add("b");
  const ends: SessionEnd[] = [];
  const sessions = new Sessions({
    tokens,
    instance: "0a1b2c3d",
    idleMs: IDLE_MS,
    absoluteMs: ABSOLUTE_MS,
    file,
    ended: (_, reason) => ends.push(reason),
  });
  onTestFinished(() => sessions.close());
  return { tokens, sessions, ends };
}

function advance(ms: number): void {
  vi.setSystemTime(Date.now() + ms);
}

function sessionFile(): { file: SessionFile; path: string } {
  const directory = mkdtempSync(join(tmpdir(), "tailgate-sessions-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "sessions.json");
  return { file: new SessionFile(path), path };
}

test("a session has the access of its token until the user signs out", () => {
  const { sessions, tokens, ends } = openSessions();
  const { secret, session } = sessions.open({ tokenId: "a", ...FROM })!;
  const { access } = sessions.use(secret)!;
  expect(access).toMatchObject({ principal: "token:a", filter: OPEN_ACCESS.filter });
  expect(access.scopes).toBe(tokens.accessOf("a")!.scopes);
  expect(sessions.use(secret)!.access).toBe(access);
  expect(sessions.logout(secret)).toMatchObject({ id: session.id, principal: "token:a" });
  expect(access.signal!.aborted).toBe(true);
  expect(sessions.use(secret)).toBeUndefined();
  expect(ends).toEqual(["logout"]);
  expect(tokens.accessOf("a")!.signal!.aborted).toBe(false);
});

test("there is no session without a valid token", () => {
  const { sessions, tokens } = openSessions();
  expect(sessions.open({ tokenId: "unknown", ...FROM })).toBeUndefined();
  tokens.revoke("a");
  expect(sessions.open({ tokenId: "a", ...FROM })).toBeUndefined();
  expect(sessions.count).toBe(0);
});

test("revoking a token ends its sessions at once, and no others", () => {
  const { sessions, tokens, ends } = openSessions();
  const opened = ["a", "b", "a"].map((tokenId) => sessions.open({ tokenId, ...FROM })!.secret);
  const signals = opened.map((secret) => sessions.use(secret)!.access.signal!);
  tokens.revoke("a");
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, false, true]);
  expect(sessions.list().map(({ tokenId }) => tokenId)).toEqual(["b"]);
  expect(ends).toEqual(["token", "token"]);
});

test("a session ends when it was not used for an hour, and twelve hours after the login", () => {
  const { sessions, ends } = openSessions();
  const { secret } = sessions.open({ tokenId: "a", ...FROM })!;
  for (let minutes = 0; minutes < 12 * 60; minutes += 59) {
    const { access } = sessions.use(secret)!;
    advance(59 * MINUTE_MS);
    sessions.sweep();
    expect(access.signal!.aborted).toBe(minutes + 59 >= 12 * 60);
  }
  expect(ends).toEqual(["expired"]);
  const unused = sessions.use(sessions.open({ tokenId: "a", ...FROM })!.secret)!.access;
  advance(IDLE_MS - 1);
  sessions.sweep();
  expect(unused.signal!.aborted).toBe(false);
  advance(1);
  sessions.sweep();
  expect(unused.signal!.aborted).toBe(true);
  expect(ends).toEqual(["expired", "idle"]);
});

test("administrators see all sessions without their secrets, and can end them", () => {
  const { sessions, ends } = openSessions();
  const first = sessions.open({ tokenId: "a", ...FROM })!;
  advance(MINUTE_MS);
  const second = sessions.open({ tokenId: "b", address: "::1", userAgent: undefined })!;
  expect(sessions.list()).toEqual([
    {
      id: second.session.id,
      tokenId: "b",
      principal: "token:b",
      address: "::1",
      userAgent: "",
      createdAtMs: START_MS + MINUTE_MS,
      usedAtMs: START_MS + MINUTE_MS,
      expiresAtMs: START_MS + MINUTE_MS + ABSOLUTE_MS,
    },
    expect.objectContaining({ id: first.session.id, userAgent: "Firefox" }),
  ]);
  expect(JSON.stringify(sessions.list())).not.toContain(first.secret);
  expect(sessions.revoke("unknown")).toBeUndefined();
  expect(sessions.revoke(first.session.id)).toMatchObject({ principal: "token:a" });
  expect(sessions.use(first.secret)).toBeUndefined();
  expect(ends).toEqual(["revoked"]);
});

test("the session that was unused for the longest time makes room for a new one", () => {
  const { tokens, sessions, ends } = openSessions();
  const opened = Array.from({ length: SESSIONS_MAX }, (_, index) => {
    const tokenId = `token ${index % 20}`;
    tokens.add(tokenId);
    return sessions.open({ tokenId, ...FROM })!.secret;
  });
  sessions.use(opened[0]!);
  const last = sessions.open({ tokenId: "b", ...FROM })!.secret;
  expect(sessions.count).toBe(SESSIONS_MAX);
  expect(sessions.use(opened[0]!)).toBeDefined();
  expect(sessions.use(opened[1]!)).toBeUndefined();
  expect(sessions.use(last)).toBeDefined();
  expect(ends).toEqual(["evicted"]);
});

test("a token with too many sessions ends its own, not those of others", () => {
  const { sessions, ends } = openSessions();
  const other = sessions.open({ tokenId: "b", ...FROM })!.secret;
  const own = Array.from(
    { length: SESSIONS_PER_TOKEN_MAX + 2 },
    () => sessions.open({ tokenId: "a", ...FROM })!.secret,
  );
  expect(sessions.count).toBe(SESSIONS_PER_TOKEN_MAX + 1);
  expect(own.map((secret) => sessions.use(secret) === undefined).indexOf(false)).toBe(2);
  expect(sessions.use(other)).toBeDefined();
  expect(ends).toEqual(["evicted", "evicted"]);
});

test("sessions survive a restart in a file with mode 0600 and without their secrets", () => {
  const { file, path } = sessionFile();
  const before = openSessions(file);
  const { secret, session } = before.sessions.open({ tokenId: "a", ...FROM })!;
  before.sessions.open({ tokenId: "b", ...FROM });
  advance(MINUTE_MS);
  before.sessions.use(secret);
  before.sessions.close();
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readFileSync(path, "utf8")).not.toContain(secret);

  advance(IDLE_MS - MINUTE_MS);
  const after = openSessions(file);
  expect(after.sessions.instance).toBe(before.sessions.instance);
  expect(after.sessions.list()).toEqual([{ ...session, usedAtMs: START_MS + MINUTE_MS }]);
  const { access } = after.sessions.use(secret)!;
  after.tokens.revoke("a");
  expect(access.signal!.aborted).toBe(true);
});

test("a session whose token was revoked while the gateway was down is not restored", () => {
  const { file } = sessionFile();
  const { secret } = openSessions(file).sessions.open({ tokenId: "a", ...FROM })!;
  const { sessions, tokens, ends } = openSessions(file);
  tokens.revoke("a");
  expect(sessions.use(secret)).toBeUndefined();
  expect(ends).toEqual(["token"]);
});

test("a file that cannot be used is ignored", () => {
  const { file, path } = sessionFile();
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      writeFileSync(path, text);
      expect(openSessions(file).sessions.count).toBe(0);
    }),
    { numRuns: 50 },
  );
});
