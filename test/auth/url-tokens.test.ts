import fc from "fast-check";
import { expect, test } from "vitest";
import { createToken, formatToken } from "../../src/auth/tokens/token.ts";
import { urlTokenRefusal, withoutTokens } from "../../src/auth/tokens/url-tokens.ts";

const socket = {};

function isRefused(url: string): boolean {
  return urlTokenRefusal({ headers: {}, socket, url })?.status === 400;
}

const text = fc.string({ unit: "binary-ascii", maxLength: 20 }).map(encodeURIComponent);

test("a token is found wherever it is in a URL, and hidden in a log line", () => {
  fc.assert(
    fc.property(text, text, text, (path, name, tail) => {
      const { id, secret } = createToken();
      const token = formatToken({ id, secret });
      for (const url of [`/${path}/${token}`, `/${path}?${name}=${tail}${token}${tail}`]) {
        expect(isRefused(url)).toBe(true);
        expect(withoutTokens(url)).not.toContain(secret);
      }
    }),
  );
});

test("credentials are recognized by the name of their parameter", () => {
  for (const query of ["token=x", "a=b&ACCESS_TOKEN=x", "%74oken", "api_key="]) {
    expect(isRefused(`/api/logs?${query}`)).toBe(true);
  }
  for (const url of ["/api/logs", "/api/logs?q=token", "/?q=tgw_&tokens=1", "/tgw_x?a=%zz"]) {
    expect(isRefused(url)).toBe(false);
  }
});
