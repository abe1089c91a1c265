import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Grant } from "../../src/auth/access.ts";
import { combinedAccess, ProxyUsers } from "../../src/auth/proxies/proxy-user.ts";
import { Forwarding } from "../../src/auth/proxies/public-base.ts";
import type { Access, AddressedRequest, RouteRefusal } from "../../src/plugin/index.ts";
import type { RecordFields } from "../../src/filter/records.ts";

const log = { info: () => {}, warning: () => {}, error: () => {} };

const CONFIG = {
  userHeader: "X-User",
  groupsHeader: "X-Groups",
  groups: {
    ops: { scopes: ["admin"] },
    dev: { scopes: ["read:system"], filter: "-level:ERROR" },
    "on call": { scopes: ["read:audit"] },
  },
  users: { robot: { scopes: ["ingest"] } },
};

type GivenHeaders = Readonly<Record<string, string | readonly string[]>>;

/** A request with these headers; several values are repeated headers. */
function requestWith(headers: GivenHeaders, remoteAddress: string | undefined): AddressedRequest {
  const pairs = Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().map((value) => [name, value] as const),
  );
  return {
    headers: Object.fromEntries(pairs.map(([name, value]) => [name.toLowerCase(), value])),
    rawHeaders: pairs.flat(),
    socket: { remoteAddress },
  };
}

const TRUSTED = { trustedProxies: ["10.0.0.0/8"], basePath: "", log };

/** Authenticates a request of a trusted proxy. */
function authenticate(headers: GivenHeaders): Access | RouteRefusal | undefined {
  const users = new ProxyUsers(CONFIG, new Forwarding(TRUSTED));
  return users.authenticate(requestWith(headers, "10.0.0.1"));
}

describe("a user of a trusted proxy", () => {
  test("has the scopes of the user and of all known groups", () => {
    const access = authenticate({ "x-user": "robot", "X-Groups": "nobody, on call ,dev" });
    expect(access).toMatchObject({ principal: "user:robot" });
    expect([...(access as Access).scopes].toSorted()).toEqual([
      ...["ingest:audit", "ingest:system", "read:audit", "read:system"],
    ]);
  });

  test("without a known group is rejected with the reason", () => {
    expect(authenticate({ "X-User": "alice", "X-Groups": "guests, op" })).toMatchObject({
      status: 403,
      text: "user:alice may not use this gateway: neither the user nor one of the groups is in auth.proxy.",
    });
    // Not a property of every object.
    expect(authenticate({ "X-User": "constructor", "X-Groups": "toString" })).toMatchObject({
      status: 403,
    });
  });

  test("is unknown without the header, and with an empty one", () => {
    expect(authenticate({})).toBeUndefined();
    expect(authenticate({ "X-User": "", "X-Groups": "ops" })).toBeUndefined();
  });

  test("has a name in UTF-8", () => {
    const latin1 = Buffer.from("José", "utf8").toString("latin1");
    expect(authenticate({ "X-User": latin1, "X-Groups": "ops" })).toMatchObject({
      principal: "user:José",
    });
  });

  test("is rejected if a header is repeated: the client may have sent one of them", () => {
    expect(authenticate({ "X-User": ["alice", "root"], "X-Groups": "ops" })).toMatchObject({
      status: 400,
    });
    expect(authenticate({ "X-User": "alice", "X-Groups": ["dev", "ops"] })).toMatchObject({
      status: 400,
    });
  });

  test("is rejected with a name that could forge a line or is too long", () => {
    for (const name of ["a\u0085b", "a\u202eb", "x".repeat(257)]) {
      const raw = Buffer.from(name, "utf8").toString("latin1");
      expect(authenticate({ "X-User": raw, "X-Groups": "ops" })).toMatchObject({ status: 400 });
    }
  });
});

const HEADERS = { "X-User": "alice", "X-Groups": "ops" };

test("headers of anyone else are ignored and counted", () => {
  const forwarding = new Forwarding(TRUSTED);
  const users = new ProxyUsers(CONFIG, forwarding);
  // A connection that has ended has no address, like one over a Unix socket.
  for (const address of ["11.0.0.1", undefined, "::1"]) {
    expect(users.authenticate(requestWith(HEADERS, address))).toBeUndefined();
  }
  const counted = [...forwarding.metrics[0]!.read()].filter(({ value }) => value > 0);
  expect(counted).toEqual([
    { value: 3, labels: { header: "user" } },
    { value: 3, labels: { header: "groups" } },
  ]);
});

test("over a Unix socket everyone is a trusted proxy", () => {
  const forwarding = new Forwarding({ ...TRUSTED, trustedProxies: [] });
  const users = new ProxyUsers(CONFIG, forwarding);
  const request = requestWith(HEADERS, undefined);
  expect(users.authenticate(request)).toBeUndefined();
  forwarding.trustUnixSocket(request.socket);
  expect(users.authenticate(request)).toMatchObject({ principal: "user:alice" });
});

test("several grants together permit no record that none of them permits", () => {
  const grant: fc.Arbitrary<Grant> = fc.record({
    scopes: fc.subarray(["read", "read:system", "read:audit", "ingest"], { minLength: 1 }),
    filter: fc.constantFrom(undefined, "level:=INFO", "level:=ERROR"),
  });
  const record = fc.record({
    type: fc.constantFrom("system_log" as const, "audit_log" as const),
    level: fc.constantFrom("INFO" as const, "ERROR" as const),
  });
  fc.assert(
    fc.property(fc.array(grant, { minLength: 1, maxLength: 4 }), record, (grants, fields) => {
      const records: RecordFields = {
        ...{ type: () => fields.type, level: () => fields.level, logger: () => "x" },
        envelope: () => expect.fail("No filter reads the envelope."),
      };
      const alone = grants.map((one) => combinedAccess("user:a", [one]));
      const together = combinedAccess("user:a", grants);
      const isPermitted = alone.some(({ filter }) => filter.matches(records, 0));
      if (together.filter.matches(records, 0)) expect(isPermitted).toBe(true);
      // Nothing is lost without filters.
      else if (grants.every(({ filter }) => !filter)) expect(isPermitted).toBe(false);
      expect(together.scopes).toEqual(new Set(alone.flatMap(({ scopes }) => [...scopes])));
    }),
  );
});
