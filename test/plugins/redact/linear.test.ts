/** A search reads each byte a bounded number of times, whatever the text. Reads are counted, because time is not exact. */

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { KeyGlobs } from "../../../plugins/redact/key-globs.ts";
import { BUILT_IN_RULES } from "../../../plugins/redact/rules.ts";
import { Scanner } from "../../../plugins/redact/scanner.ts";
import { NEGATIVES, POSITIVES } from "./cases.ts";

/** The reads of a byte: by the automaton, and by the verifiers of all keywords around it. */
const READS_PER_BYTE_MAX = 400;

const scanner = new Scanner(BUILT_IN_RULES, new KeyGlobs(["*pin*", "ssn"]), []);

/** Returns how many bytes were read to find everything in a text. */
function countReads(text: string): number {
  const bytes = Buffer.from(text);
  let reads = 0;
  const counted = new Proxy(bytes, {
    get(target, key) {
      reads++;
      const value: unknown = Reflect.get(target, key, target);
      if (key === "subarray") return (...range: number[]) => target.subarray(...range);
      return value;
    },
  });
  scanner.open(counted, 0, bytes.length);
  while (scanner.next());
  return reads;
}

const FRAGMENTS = [
  ...[
    "password",
    "password=",
    'password="',
    String.raw`password=\"`,
    "password='${",
    "token: ",
    "--secret ",
  ],
  ...[
    "@",
    "a@",
    "a@b.",
    "%40",
    "://",
    "://a:",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN ",
    "-----END ",
  ],
  ...[
    "eyJ",
    "eyJaaaaaaaaaa.",
    "bearer ",
    "basic ",
    "4111 ",
    "1234567890123",
    "4111-",
    "sk-",
    "ghp_",
    "AKIA",
  ],
  ...[
    "?sig=",
    "[REDACTED:",
    "[HASH:",
    "<password>",
    "</",
    "\\",
    '\\"',
    '"',
    "'",
    " ",
    "=",
    ":",
    "aaaa",
    "é",
  ],
];

test("for repeated fragments and for all cases", () => {
  const fragment = fc.constantFrom(
    ...FRAGMENTS,
    ...NEGATIVES.filter((text) => text !== ""),
    ...POSITIVES.map(({ text }) => text),
  );
  const repeated = fc
    .array(fragment, { minLength: 1, maxLength: 4 })
    .map((parts) => parts.join("").repeat(Math.ceil(8000 / parts.join("").length)));
  const examples = [...FRAGMENTS].map(
    (one) => [one.repeat(Math.ceil(8000 / one.length))] as [string],
  );
  fc.assert(
    fc.property(repeated, (text) => {
      expect(countReads(text)).toBeLessThan(READS_PER_BYTE_MAX * Buffer.byteLength(text));
    }),
    { numRuns: 60, examples },
  );
});

test("and so for twice the text", () => {
  for (const one of FRAGMENTS) {
    const short = one.repeat(Math.ceil(4000 / one.length));
    expect(countReads(short + short)).toBeLessThan(2.2 * countReads(short) + 10_000);
  }
});
