import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Document } from "../docs/document.ts";
import { createToken, digestOf, formatToken, parseToken } from "../../src/auth/tokens/token.ts";

const base62 = Array.from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

test("a token has its prefix, a fixed length, and characters that survive a double click", () => {
  const text = formatToken(createToken());
  expect(text).toMatch(/^tgw_[0-9a-f]{12}_[0-9A-Za-z]{49}$/);
});

test("reads back what it formats", () => {
  const ids = fc.stringMatching(/^[0-9a-f]{12}$/);
  const secrets = fc.string({
    unit: fc.constantFrom(...base62),
    minLength: 43,
    maxLength: 43,
  });
  fc.assert(
    fc.property(fc.record({ id: ids, secret: secrets }), (token) => {
      expect(parseToken(formatToken(token))).toEqual(token);
    }),
  );
});

test("rejects a token with one wrong, missing or additional character", () => {
  const text = formatToken(createToken());
  fc.assert(
    fc.property(
      fc.nat(text.length - 1),
      fc.constantFrom(...base62, "", "_", " "),
      (index, other) => {
        fc.pre(text[index] !== other);
        expect(parseToken(text.slice(0, index) + other + text.slice(index + 1))).toBeUndefined();
        expect(parseToken(text.slice(0, index) + other + text.slice(index))).toSatisfy(
          (token) => token === undefined || other === "",
        );
      },
    ),
  );
});

test("never throws, whatever it gets", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(parseToken(text)).toBeUndefined();
    }),
  );
});

test("no two tokens are alike, and a digest tells nothing of the secret", () => {
  const tokens = Array.from({ length: 200 }, createToken);
  expect(new Set(tokens.map(({ id }) => id)).size).toBe(200);
  const { secret } = tokens[0]!;
  expect(digestOf(secret).toString("latin1")).not.toContain(secret.slice(0, 4));
});

test("the rule for secret scanners finds tokens in text, and nothing that is too short or long", async () => {
  const page = await Document.read("docs/access.md");
  const [, pattern] = /regex = '''(.*)'''/.exec(page.example("gitleaks-rule"))!;
  const rule = new RegExp(pattern!, "g");
  fc.assert(
    fc.property(fc.stringMatching(/^[^\w]*$/), fc.stringMatching(/^[^\w]*$/), (before, after) => {
      const text = formatToken(createToken());
      expect(`TOKEN=${before}${text}${after}"`.match(rule)).toEqual([text]);
      expect(`${text.slice(0, -1)} ${text}x x${text}`.match(rule)).toBeNull();
    }),
  );
});
