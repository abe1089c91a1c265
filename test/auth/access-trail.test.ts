import fc from "fast-check";
import { expect, test } from "vitest";
import { AccessTrail, type AccessEvent } from "../../src/auth/access-trail.ts";
import { createToken, formatToken } from "../../src/auth/tokens/token.ts";
import type { LogRecord } from "../../src/plugin/record.ts";

const EXPORT = { records: 1_000, isExport: false, query: "level=ERROR" };

/** A trail whose events end up in a list. */
function openTrail(store: (event: LogRecord) => Promise<void> = async () => {}) {
  const events: LogRecord[] = [];
  const lines: string[] = [];
  const trail = new AccessTrail({
    store: async (event) => {
      events.push(event);
      await store(event);
    },
    log: {
      info: (text) => lines.push(text),
      warning: (text) => lines.push(text),
      error: (text) => lines.push(text),
    },
  });
  return { trail, events, lines };
}

function detailsOf({ attributes }: LogRecord): Record<string, unknown> {
  return Object.fromEntries(attributes.get("details") as Map<string, unknown>);
}

function typeOf({ attributes }: LogRecord): unknown {
  return attributes.get("event_type");
}

function outcomesOf({ metrics }: AccessTrail): Record<string, number> {
  const samples = [...metrics[0]!.read()].filter(({ value }) => value > 0);
  return Object.fromEntries(
    samples.map(({ labels, value }) => [`${labels["event"]} ${labels["outcome"]}`, value]),
  );
}

const denied = (address: string, reason = "The token is not known."): AccessEvent => ({
  type: "access_denied",
  address,
  reason,
});

test("an event says who did what from where, as an audit event of the trail's own logger", async () => {
  const { trail, events } = openTrail();
  trail.record({ type: "login", principal: "token:ci", address: "10.0.0.7" });
  trail.record({ ...denied("10.0.0.8"), principal: undefined });
  trail.record({ type: "token_revoked", details: { token: "ci", id: "abc", by: undefined } });
  await trail.close();
  expect(events.map(({ scope }) => scope.name)).toEqual(
    events.map(() => "orchestrator.audit.access"),
  );
  expect(events.map(({ body, severityText }) => [severityText, body])).toEqual([
    ["INFO", "token:ci logged in."],
    ["WARNING", "Access was denied: The token is not known."],
    ["INFO", "The token ci was revoked."],
  ]);
  expect(events.map((event) => [typeOf(event), detailsOf(event)])).toEqual([
    ["login", { principal: "token:ci", address: "10.0.0.7" }],
    ["access_denied", { address: "10.0.0.8", reason: "The token is not known." }],
    ["token_revoked", { token: "ci", id: "abc" }],
  ]);
});

test("a token in what a request has sent is not recorded", async () => {
  const { trail, events } = openTrail();
  const text = formatToken(createToken());
  trail.record({ type: "origin_refused", reason: `The Origin header "http://a/${text}" is not` });
  trail.read({ ...EXPORT, isExport: true, principal: "token:ci", address: undefined, query: text });
  await trail.close();
  const recorded = JSON.stringify(events.map((event) => [event.body, detailsOf(event)]));
  expect(recorded.split(`${text.slice(0, 17)}***`)).toHaveLength(4);
  expect(recorded).not.toContain(text.slice(17, 30));
});

test("the logger is a child of the first audit logger", async () => {
  const loggers: string[] = [];
  const trail = new AccessTrail({
    auditLoggers: ["billing.audit", "orchestrator.audit"],
    store: async ({ scope }) => void loggers.push(scope.name),
    log: { info() {}, warning() {}, error() {} },
  });
  trail.record({ type: "logout", principal: "token:ci" });
  await trail.close();
  expect(loggers).toEqual(["billing.audit.access"]);
});

test("a stranger causes a bounded number of events, and a summary counts all the others", async () => {
  const failures = fc.array(
    fc.record({
      type: fc.constantFrom("access_denied", "login_failed", "origin_refused"),
      address: fc.nat(40).map((last) => `10.0.0.${last}`),
      reason: fc.constantFrom("The token is not known.", "The token ci has expired."),
    }),
    { maxLength: 300 },
  );
  await fc.assert(
    fc.asyncProperty(failures, async (given) => {
      const { trail, events } = openTrail();
      for (const failure of given) trail.record(failure);
      await trail.close();
      const last = events.at(-1);
      const summary = last && typeOf(last) === "access_failures" ? last : undefined;
      const own = summary ? events.slice(0, -1) : events;
      for (const type of ["access_denied", "login_failed", "origin_refused"]) {
        const ofType = own.filter((event) => typeOf(event) === type).map(detailsOf);
        const sent = given.filter((failure) => failure.type === type);
        expect(ofType.length).toBeLessThanOrEqual(20);
        expect(new Set(ofType.map((details) => JSON.stringify(details))).size).toBe(ofType.length);
        const counted = summary ? ((detailsOf(summary)[type] as number | undefined) ?? 0) : 0;
        expect(ofType.length + counted).toBe(sent.length);
      }
    }),
    { numRuns: 30 },
  );
});

test("equal failures are one event; the summary says from how many addresses the others came", async () => {
  const { trail, events } = openTrail();
  for (let index = 0; index < 500; index++) trail.record(denied("10.0.0.8"));
  for (let index = 0; index < 25; index++) trail.record(denied(`10.0.1.${index}`));
  await trail.close();
  expect(events).toHaveLength(21);
  expect(events.at(-1)!.body).toBe("505 further failures from 7 addresses.");
  expect(detailsOf(events.at(-1)!)).toEqual({
    since: expect.stringMatching(/^2.*Z$/),
    access_denied: 505,
    addresses: 7,
  });
  expect(outcomesOf(trail)).toEqual({
    "access_denied recorded": 20,
    "access_denied summarized": 505,
    "access_failures recorded": 1,
  });
});

test("a window ends by itself, and equal failures are then recorded again", async () => {
  const summarized = Promise.withResolvers<void>();
  const events: unknown[] = [];
  const trail = new AccessTrail({
    store: async (event) => {
      events.push(typeOf(event));
      if (typeOf(event) === "access_failures") summarized.resolve();
    },
    log: { info() {}, warning() {}, error() {} },
    windowMs: 20,
  });
  trail.record(denied("10.0.0.8"));
  trail.record(denied("10.0.0.8"));
  await summarized.promise;
  trail.record(denied("10.0.0.8"));
  await trail.close();
  expect(events).toEqual(["access_denied", "access_failures", "access_denied"]);
});

test("whoever reads much exports, however the requests are made; pages of the dashboard are no export", async () => {
  const { trail, events } = openTrail();
  const reader = { principal: "user:alice", address: "10.0.0.9" };
  for (let index = 0; index < 9; index++) trail.read({ ...reader, ...EXPORT });
  trail.read({ ...EXPORT, principal: "token:dashboard", address: "10.0.0.9" });
  expect(events).toEqual([]);
  for (let index = 0; index < 3; index++) trail.read({ ...reader, ...EXPORT });
  expect(events).toHaveLength(1);
  expect(events[0]!.body).toBe("user:alice exported logs.");
  expect(detailsOf(events[0]!)).toEqual({
    ...reader,
    requests: 10,
    records: 10_000,
    query: "level=ERROR",
  });
  await trail.close();
  const total = { ...reader, requests: 12, records: 12_000, since: expect.any(String) };
  expect(events.slice(1).map(detailsOf)).toEqual([total]);
});

test("a file is an export from the first record on, and only one event if it is read at once", async () => {
  const { trail, events } = openTrail();
  const read = { principal: "token:ci", address: undefined, records: 3, query: "x".repeat(9_000) };
  trail.read({ ...read, isExport: true });
  await trail.close();
  expect(events.map(detailsOf)).toEqual([
    { principal: "token:ci", requests: 1, records: 3, query: `${"x".repeat(500)}...` },
  ]);
});

test("a disk that fails or hangs neither throws into the caller nor fills the memory", async () => {
  const failing = openTrail(() => Promise.reject(new Error("no space left")));
  failing.trail.record({ type: "login", principal: "token:ci" });
  await failing.trail.close();
  expect(failing.lines).toEqual(["An event of the access trail could not be stored (login)."]);
  expect(outcomesOf(failing.trail)).toEqual({ "login dropped": 1 });

  const { promise: disk, resolve: recover } = Promise.withResolvers<void>();
  const hanging = openTrail(() => disk);
  for (let index = 0; index < 1_500; index++) hanging.trail.record({ type: "login" });
  expect(hanging.events).toHaveLength(1_000);
  recover();
  await hanging.trail.close();
  expect(outcomesOf(hanging.trail)).toEqual({ "login recorded": 1_000, "login dropped": 500 });
});

test("after the end nothing is recorded", async () => {
  const { trail, events } = openTrail();
  await trail.close();
  trail.record(denied("10.0.0.8"));
  trail.read({ principal: "token:ci", address: undefined, ...EXPORT, isExport: true });
  await trail.close();
  expect(events).toEqual([]);
});
