import fc from "fast-check";
import { expect, test } from "vitest";
import { hashSecretId } from "../../src/auth/sessions/secret-ids.ts";
import { LoginCodes } from "../../src/auth/sessions/login-codes.ts";
import { offeredTicket, Tickets } from "../../src/auth/sessions/tickets.ts";
import { OPEN_ACCESS, type Access } from "../../src/plugin/access.ts";

const ORIGIN = "https://app.example.com";

function accessOf(principal: string, signal = new AbortController().signal): Access {
  return { ...OPEN_ACCESS, principal, signal };
}

function manualClock() {
  const clock = { ms: 0 };
  return { clock, now: () => clock.ms };
}

test("a ticket gives its access once", () => {
  const tickets = new Tickets();
  const access = accessOf("token:a");
  const ticket = tickets.issue(access, undefined)!;
  expect(tickets.redeem(ticket, ORIGIN)).toBe(access);
  expect(tickets.redeem(ticket, ORIGIN)).toBeUndefined();
});

test("a ticket of a page is for that page, and is used up by another one", () => {
  const tickets = new Tickets();
  const ticket = tickets.issue(accessOf("token:a"), ORIGIN)!;
  expect(tickets.redeem(ticket, "https://evil.example.com")).toBeUndefined();
  expect(tickets.redeem(ticket, ORIGIN)).toBeUndefined();
  const other = tickets.issue(accessOf("token:a"), ORIGIN)!;
  expect(tickets.redeem(other, undefined)).toBeUndefined();
});

test("a ticket ends after 30 seconds, and with the access that it is for", () => {
  const { clock, now } = manualClock();
  const tickets = new Tickets(now);
  const late = tickets.issue(accessOf("token:a"), undefined)!;
  clock.ms = 29_999;
  const controller = new AbortController();
  const revoked = tickets.issue(accessOf("token:a", controller.signal), undefined)!;
  clock.ms = 30_000;
  expect(tickets.redeem(late, undefined)).toBeUndefined();
  controller.abort();
  expect(tickets.redeem(revoked, undefined)).toBeUndefined();
});

test("one principal cannot use up the tickets of others", () => {
  const tickets = new Tickets();
  const other = tickets.issue(accessOf("token:b"), undefined)!;
  const [first] = Array.from({ length: 101 }, () => tickets.issue(accessOf("token:a"), undefined)!);
  expect(tickets.redeem(first!, undefined)).toBeUndefined();
  expect(tickets.redeem(other, undefined)).toBeDefined();
});

test("a ticket is found among the subprotocols that are offered", () => {
  const name = fc.stringMatching(/^[a-z.]{1,12}$/);
  const id = fc.stringMatching(/^[A-Za-z0-9_-]{43}$/);
  fc.assert(
    fc.property(fc.array(name), id, fc.array(name), (before, ticket, after) => {
      const header = [...before, `tailgate.ticket.${ticket}`, ...after].join(", ");
      expect(offeredTicket(header)).toBe(ticket);
    }),
  );
  expect(offeredTicket("tailgate.v1")).toBeUndefined();
  expect(offeredTicket(undefined)).toBeUndefined();
});

test("any text is handled without an error, and only 43 characters of base64url are hashed", () => {
  const tickets = new Tickets();
  fc.assert(
    fc.property(fc.string({ unit: "binary-ascii" }), (text) => {
      expect(tickets.redeem(offeredTicket(text) ?? text, text)).toBeUndefined();
      expect(hashSecretId(text) === undefined).toBe(!/^[A-Za-z0-9_-]{43}$/.test(text));
    }),
  );
});

test("a login code gives its token once, within ten minutes", () => {
  const { clock, now } = manualClock();
  const codes = new LoginCodes(now);
  const code = codes.create("0123456789");
  expect(codes.redeem("0123456789")).toBeUndefined();
  expect(codes.redeem(code)).toBe("0123456789");
  expect(codes.redeem(code)).toBeUndefined();
  const late = codes.create("0123456789");
  clock.ms += 10 * 60_000;
  expect(codes.redeem(late)).toBeUndefined();
});
