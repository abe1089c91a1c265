import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TrustedProxies } from "../../src/auth/proxies/trusted-proxies.ts";
import { normalizeAddress, parseNetwork } from "../../src/runtime/networks.ts";

test.each([
  ["10.0.0.0/8", { address: "10.0.0.0", prefix: 8, family: "ipv4" }],
  ["127.0.0.1", { address: "127.0.0.1", prefix: 32, family: "ipv4" }],
  ["::1", { address: "::1", prefix: 128, family: "ipv6" }],
  ["fd00::/8", { address: "fd00::", prefix: 8, family: "ipv6" }],
  ["::ffff:10.0.0.0/104", { address: "10.0.0.0", prefix: 8, family: "ipv4" }],
])("%s is a network", (text, network) => {
  expect(parseNetwork(text)).toEqual(network);
});

test.each([
  ...[
    "",
    "/8",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/8/8",
    "10.0.0/8",
    "10.0.0.0/-1",
    "fd00::/129",
  ],
  ...["localhost", "fe80::1%eth0", "10.0.0.0/08x", " 10.0.0.1", "::ffff:10.0.0.0/8"],
  // Everyone is no proxy.
  ...["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"],
])("%j is no network of proxies", (text) => {
  expect(parseNetwork(text)).toBeUndefined();
  expect(() => new TrustedProxies([text])).toThrow(TypeError);
});

test.each([
  ["::ffff:10.0.0.1", "10.0.0.1"],
  ["::FFFF:10.0.0.1", "10.0.0.1"],
  ["fe80::1%eth0", "fe80::1"],
  ["2001:db8::1", "2001:db8::1"],
  ["unknown", undefined],
  ["", undefined],
])("the address %j is %j", (text, address) => {
  expect(normalizeAddress(text)).toBe(address);
});

describe("clientOf", () => {
  const proxies = new TrustedProxies(["10.0.0.0/8", "fd00::/8"]);

  test.each([
    ["203.0.113.7", "203.0.113.7"],
    ["203.0.113.7, 10.1.1.1", "203.0.113.7"],
    // The client has sent the first address itself.
    ["198.51.100.1, 203.0.113.7,10.1.1.1", "203.0.113.7"],
    ["203.0.113.7:52100", "203.0.113.7"],
    ["[2001:db8::7]:52100, fd00::2", "2001:db8::7"],
    ["2001:db8::7", "2001:db8::7"],
    ["::ffff:203.0.113.7, ::ffff:10.1.1.1", "203.0.113.7"],
    // Clients inside of the network.
    ["10.9.9.9, 10.1.1.1", "10.9.9.9"],
    // What is no address ends the list at the proxy that has sent it.
    ["203.0.113.7, unknown, 10.1.1.1", "10.1.1.1"],
    ["203.0.113.7, ", "10.0.0.1"],
    ["", "10.0.0.1"],
  ])("%j is from %s", (list, client) => {
    expect(proxies.clientOf(list, "::ffff:10.0.0.1")).toBe(client);
  });

  test("over a Unix socket, nothing but the list tells the address", () => {
    expect(proxies.clientOf("203.0.113.7", undefined)).toBe("203.0.113.7");
    expect(proxies.clientOf("unknown", undefined)).toBeUndefined();
  });
});

const octets = (first: fc.Arbitrary<number>): fc.Arbitrary<string> =>
  fc.tuple(first, fc.nat(255), fc.nat(255), fc.nat(255)).map((numbers) => numbers.join("."));
const inside = octets(fc.constant(10));
const outside = octets(fc.integer({ min: 11, max: 255 }));

test("whatever a client sends in X-Forwarded-For, its own address counts", () => {
  const proxies = new TrustedProxies(["10.0.0.0/8"]);
  const forged = fc.oneof(fc.string(), inside, outside, fc.ipV6());
  fc.assert(
    fc.property(fc.array(forged), outside, fc.array(inside), inside, (sent, client, hops, peer) => {
      const list = [...sent, client, ...hops].join(", ");
      expect(proxies.clientOf(list, peer)).toBe(client);
    }),
  );
});

test("an address is trusted if and only if it is in a network, in either notation", () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.integer({ min: 1, max: 32 }), fc.ipV4(), (network, bits, address) => {
      const proxies = new TrustedProxies([`${network}/${bits}`]);
      const number = (text: string): number =>
        text.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
      const size = 2 ** (32 - bits);
      const isInside = Math.floor(number(network) / size) === Math.floor(number(address) / size);
      expect(proxies.trusts(address)).toBe(isInside);
      expect(proxies.trusts(`::ffff:${address}`)).toBe(isInside);
    }),
  );
});

test("no text makes it throw, and without an address nobody is trusted", () => {
  const proxies = new TrustedProxies(["10.0.0.0/8", "::1"]);
  expect(proxies.trusts(undefined)).toBe(false);
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      parseNetwork(text);
      proxies.clientOf(text, "::1");
      if (normalizeAddress(text) === undefined) expect(proxies.trusts(text)).toBe(false);
    }),
  );
});
