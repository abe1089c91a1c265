import fc from "fast-check";
import { expect, test } from "vitest";
import {
  clearCookie,
  cookieName,
  cookieValues,
  setCookie,
} from "../../src/auth/sessions/cookies.ts";

const instance = "0a1b2c3d";

test("the name of the cookie tells gateways, TLS and sub-paths apart", () => {
  const scope = { instance, isSecure: true, path: "/" };
  expect(cookieName(scope)).toBe("__Host-tailgate-0a1b2c3d");
  expect(cookieName({ ...scope, path: "/tailgate" })).toBe("__Secure-tailgate-0a1b2c3d");
  expect(cookieName({ ...scope, isSecure: false })).toBe("tailgate-0a1b2c3d");
});

test("the cookie is sent to this gateway alone, over TLS if it was set over TLS, and not to scripts", () => {
  const scope = { instance, isSecure: true, path: "/tailgate" };
  expect(setCookie(scope, "secret", 3600)).toBe(
    "__Secure-tailgate-0a1b2c3d=secret; Path=/tailgate; Max-Age=3600; HttpOnly; SameSite=Strict; Secure",
  );
  expect(clearCookie({ ...scope, isSecure: false, path: "/" })).toBe(
    "tailgate-0a1b2c3d=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict",
  );
});

const name = fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/);
const value = fc.stringMatching(/^[A-Za-z0-9_.~-]{0,43}$/);
const space = fc.constantFrom("", " ", "  ", "\t");

test("every value of a name is found in order, whatever is around it", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value, space)), name, (pairs, wanted) => {
      const header = pairs.map(([key, text, pad]) => `${pad}${key}=${text}${pad}`).join(";");
      const expected = pairs.filter(([key]) => key === wanted).map(([, text]) => text);
      expect(cookieValues(header, wanted)).toEqual(expected);
    }),
  );
});

test("any header is read without an error", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary-ascii" }), name, (header, wanted) => {
      for (const found of cookieValues(header, wanted)) expect(header).toContain(found);
    }),
  );
  expect(cookieValues(undefined, "a")).toEqual([]);
  expect(cookieValues("a; b=1; a=x=y", "a")).toEqual(["x=y"]);
});
