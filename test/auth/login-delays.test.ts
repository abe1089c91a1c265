import { expect, test } from "vitest";
import { LoginDelays } from "../../src/auth/sessions/login-delays.ts";

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

test("memory is bounded however many addresses fail", () => {
  const { delays: logins } = delays();
  for (let count = 0; count < 10; count++) logins.failed("198.51.100.1");
  for (let index = 0; index < 10_000; index++) logins.failed(`10.0.${index >> 8}.${index & 255}`);
  expect(logins.waitMs("198.51.100.1")).toBe(0);
});
