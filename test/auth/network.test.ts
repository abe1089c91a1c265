import fc from "fast-check";
import { expect, test } from "vitest";
import { networkOf } from "../../src/auth/limits/network.ts";

test("an IPv6 address counts as its network, in every notation", () => {
  const notations = fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 }).map((groups) => {
    const full = groups.map((group) => group.toString(16)).join(":");
    // As a URL writes it: zeros omitted.
    return { groups, full, short: new URL(`http://[${full}]`).hostname.slice(1, -1) };
  });
  fc.assert(
    fc.property(notations, ({ groups, full, short }) => {
      const network = groups.slice(0, 4).map((group) => group.toString(16));
      expect(networkOf(full)).toBe(`${network.join(":")}::/64`);
      expect(networkOf(short)).toBe(networkOf(full));
      expect(networkOf(full.toUpperCase())).toBe(networkOf(full));
    }),
  );
  expect(networkOf("::")).toBe("0:0:0:0::/64");
  expect(networkOf("fe80::1%eth0")).toBe("fe80:0:0:0::/64");
  expect(networkOf("64:ff9b::192.0.2.33")).toBe("64:ff9b:0:0::/64");
  expect(networkOf("::ffff:192.0.2.33")).toBe("192.0.2.33");
  expect(networkOf("192.0.2.33")).toBe("192.0.2.33");
});
