import { describe, expect, test } from "vitest";
import { KeyGlobs } from "../../../plugins/redact/key-globs.ts";
import { BUILT_IN_RULES } from "../../../plugins/redact/rules.ts";
import { Scanner } from "../../../plugins/redact/scanner.ts";
import { NEGATIVES, POSITIVES } from "./cases.ts";

const scanner = new Scanner(BUILT_IN_RULES, new KeyGlobs([]), []);

/** Returns the text without what the scanner finds, and the rules. */
function scan(text: string): { rest: string; rules: string[] } {
  const bytes = Buffer.from(text);
  const rules: string[] = [];
  let rest = "";
  let from = 0;
  scanner.open(bytes, 0, bytes.length);
  while (scanner.next()) {
    rest += bytes.toString("utf8", from, scanner.found.start);
    from = scanner.found.stop;
    rules.push(scanner.rule);
  }
  return { rest: rest + bytes.toString("utf8", from), rules };
}

describe("the built-in rules", () => {
  test.each(POSITIVES)("$rule finds $secret in $text", ({ rule, text, secret }) => {
    const { rest, rules } = scan(text);
    expect(rest).not.toContain(secret);
    expect(rules).toContain(rule);
  });

  test.each(NEGATIVES)("find nothing in %s", (text) => {
    expect(scan(text)).toEqual({ rest: text, rules: [] });
  });
});
