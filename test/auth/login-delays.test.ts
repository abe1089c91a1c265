import fc from "fast-check";
import { expect, test } from "vitest";
import { LoginDelays, networkOf } from "../../src/auth/login-delays.ts";

function delays() {
  const clock = { ms: 0 };
  return { clock, delays: new LoginDelays(() => clock.ms) };
}

test("after four failures each further one doubles the delay, up to a minute", () => {
  const { clock, delays: logins } = delays();
  const waits = Array.from({ length: 13 }, () => {
    logins.failed("192.0.2.1");
    const waitMs = logins.waitMs("192.0.2.1");
    clock.ms += waitMs;
    expect(logins.waitMs("192.0.2.1")).toBe(0);
    return waitMs / 1000;
  });
  expect(waits).toEqual([0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
  expect(logins.waitMs("192.0.2.2")).toBe(0);
});

test("a success and a quarter of an hour without a failure end the delay", () => {
  const { clock, delays: logins } = delays();
  for (let count = 0; count < 10; count++) logins.failed("192.0.2.1");
  expect(logins.waitMs("192.0.2.1")).toBe(32_000);
  logins.succeeded("192.0.2.1");
  expect(logins.waitMs("192.0.2.1")).toBe(0);
  for (let count = 0; count < 10; count++) logins.failed("192.0.2.1");
  clock.ms += 15 * 60_000;
  logins.failed("192.0.2.1");
  expect(logins.waitMs("192.0.2.1")).toBe(0);
});

test("addresses of one IPv6 network share their delay", () => {
  expect(networkOf("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2::/64");
  expect(networkOf("2001:0DB8:1:2::9")).toBe("2001:db8:1:2::/64");
  expect(networkOf("2001:db8::1")).toBe("2001:db8:0:0::/64");
  expect(networkOf("::1")).toBe("0:0:0:0::/64");
  expect(networkOf("fe80::1%eth0")).toBe("fe80:0:0:0::/64");
  expect(networkOf("64:ff9b::192.0.2.1")).toBe("64:ff9b:0:0::/64");
  expect(networkOf("::ffff:192.0.2.1")).toBe("192.0.2.1");
  expect(networkOf("192.0.2.1")).toBe("192.0.2.1");
});

test("a network is that of the first 64 bits, however the address is written", () => {
  fc.assert(
    fc.property(fc.ipV6(), (address) => {
      const full = new URL(`http://[${address}]/`).hostname.slice(1, -1);
      expect(networkOf(full)).toBe(networkOf(address));
    }),
  );
});

test("memory is bounded however many addresses fail", () => {
  const { delays: logins } = delays();
  for (let count = 0; count < 10; count++) logins.failed("198.51.100.1");
  for (let index = 0; index < 10_000; index++) logins.failed(`10.0.${index >> 8}.${index & 255}`);
  expect(logins.waitMs("198.51.100.1")).toBe(0);
});
