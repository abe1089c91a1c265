import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { AccessEvent } from "../../src/auth/access-trail.ts";
import { TokenWatch } from "../../src/auth/tokens/token-changes.ts";
import type { StoredToken } from "../../src/auth/tokens/tokens-file.ts";

const NOW_MS = Date.parse("2026-11-30T12:00:00Z");

function stored(id: number, given: Partial<StoredToken> = {}): StoredToken {
  return {
    id: String(id).padStart(12, "0"),
    name: `t${id}`,
    sha256: "0".repeat(64),
    scopes: ["read"],
    created_at: "2026-11-30T12:00:00.000Z",
    ...given,
  };
}

/** A watch with the memory of a journal. */
function openWatch(memory: { text?: string } = {}) {
  const events: AccessEvent[] = [];
  const watch = new TokenWatch({
    record: (event) => void events.push(event),
    recall: () => memory.text,
    keep: (text) => void (memory.text = text),
  });
  const update = (tokens: readonly StoredToken[], nowMs = NOW_MS): string[] => {
    watch.update(tokens, nowMs);
    return events.splice(0).map(({ type, details }) => `${type} ${details?.["token"] as string}`);
  };
  return { update, events, watch, memory };
}

test("tokens that come, change, expire and go are recorded once", () => {
  const { update } = openWatch();
  const [one, two] = [stored(1, { expires_at: "2026-12-01T00:00:00.000Z" }), stored(2)];
  expect(update([one, two])).toEqual(["token_created t1", "token_created t2"]);
  expect(update([one, two])).toEqual([]);
  expect(update([one, { ...two, scopes: ["read", "admin"] }])).toEqual(["token_changed t2"]);
  expect(update([one, { ...two, filter: "level:ERROR" }])).toEqual(["token_changed t2"]);
  const revoked = { ...two, filter: "level:ERROR", revoked_at: "2026-11-30T12:00:00.000Z" };
  expect(update([one, revoked])).toEqual(["token_revoked t2"]);
  expect(update([one, revoked], NOW_MS + 86_400_000)).toEqual(["token_expired t1"]);
  // Someone has edited the file.
  expect(update([one, { ...two, filter: "level:ERROR" }], NOW_MS + 86_400_000)).toEqual([
    "token_changed t2",
  ]);
  expect(update([one], NOW_MS + 86_400_000)).toEqual(["token_removed t2"]);
});

test("what changed while the gateway was stopped is recorded when it starts", () => {
  const first = openWatch();
  first.update([stored(1), stored(2)]);
  const second = openWatch(first.memory);
  const revoked = stored(2, { revoked_at: "2026-11-30T12:00:00.000Z" });
  expect(second.update([stored(1), revoked, stored(3)])).toEqual([
    "token_revoked t2",
    "token_created t3",
  ]);
  const unreadable = openWatch({ text: "{" });
  expect(unreadable.update([stored(1)])).toEqual(["token_created t1"]);
});

test("the events say what a token may do, and have neither its secret nor its hash", () => {
  const { watch, events, memory } = openWatch();
  const token = stored(1, { filter: "level:ERROR", sha256: "ab".repeat(32) });
  watch.update([token, stored(2, { revoked_at: "2026-11-30T12:00:00.000Z" })], NOW_MS);
  expect(events[0]).toEqual({
    type: "token_created",
    details: { token: "t1", id: token.id, scopes: "read", filter: "level:ERROR" },
  });
  expect(events.slice(1).map(({ type }) => type)).toEqual(["token_created", "token_revoked"]);
  expect(JSON.stringify([events, memory])).not.toContain("abab");
});

test("whatever happens in between, the trail ends with what the file says", () => {
  const tokens = fc.uniqueArray(
    fc
      .record({ id: fc.nat(4), scope: fc.constantFrom("read", "admin"), isRevoked: fc.boolean() })
      .map(({ id, scope, isRevoked }) =>
        stored(id, {
          scopes: [scope],
          ...(isRevoked && { revoked_at: "2026-11-30T12:00:00.000Z" }),
        }),
      ),
    { selector: ({ id }) => id },
  );
  fc.assert(
    fc.property(fc.array(tokens), (files) => {
      const memory = {};
      const seen = new Map<unknown, { scopes: unknown; isRevoked: boolean }>();
      for (const file of files) {
        // A restart each time.
        const { watch, events } = openWatch(memory);
        watch.update(file, NOW_MS);
        for (const { type, details = {} } of events) {
          const { token, scopes } = details;
          if (type === "token_removed") seen.delete(token);
          else if (type === "token_revoked") seen.get(token)!.isRevoked = true;
          else seen.set(token, { scopes, isRevoked: false });
        }
        // A changed token that was and stays revoked is recorded as changed only.
        expect(new Map([...seen].map(([name, { scopes }]) => [name, scopes]))).toEqual(
          new Map(file.map(({ name, scopes }) => [name, scopes.join(" ")])),
        );
      }
    }),
  );
});
