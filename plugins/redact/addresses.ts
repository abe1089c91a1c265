import { ALPHANUMERIC, DASH, DIGIT, DOT, HIGH, isOf, LETTER, LOCAL, UNDERSCORE } from "./cursor.ts";
import type { Cursor, Verifier } from "./cursor.ts";

const LOCAL_BYTES_MAX = 128;
const LABEL_BYTES_MAX = 63;
const DOMAIN_BYTES_MAX = 255;

const LOCAL_PART = ALPHANUMERIC | DOT | UNDERSCORE | DASH | LOCAL | HIGH;
const LABEL = ALPHANUMERIC | DASH | HIGH;

/** Instances of templates look like addresses: `getty@tty1.service` (systemd.unit(5)). */
const UNIT_TYPES = new Set(
  "service socket timer target mount automount swap path slice scope device".split(" "),
);

const QUOTE = 0x27;
const BACKSLASH = 0x5c;

/** Finds an e-mail address at its `@`. */
export const verifyEmail: Verifier = (cursor, at) => addressAt(cursor, at, 1);

/** Finds one in a URL, at its `%40`. */
export const verifyEncodedEmail: Verifier = (cursor, at) => addressAt(cursor, at, 3);

function addressAt(cursor: Cursor, domain: number, separatorBytes: number): boolean {
  const separator = domain - separatorBytes;
  const start = localStart(cursor, separator);
  if (start === separator || isGitUser(cursor, start, separator)) return false;
  const stop = domainEnd(cursor, domain);
  return stop > 0 && cursor.found(start, stop);
}

function localStart(cursor: Cursor, separator: number): number {
  let start = cursor.runBack(separator, LOCAL_PART, LOCAL_BYTES_MAX);
  while (start < separator && (cursor.at(start) === QUOTE || cursor.is(start, DOT))) start++;
  // The letter of an escape, such as `\n`, is not part of the address.
  const isEscape = cursor.at(start - 1) === BACKSLASH && cursor.is(start, LETTER);
  return isEscape ? Math.min(start + 1, separator) : start;
}

/** `git@github.com:owner/name` is not an address. */
function isGitUser(cursor: Cursor, start: number, separator: number): boolean {
  return separator - start === 3 && cursor.has(start, "git");
}

/** Returns the end of a domain name, up to the last label that may be a top-level domain; 0 if there is none. */
function domainEnd(cursor: Cursor, domain: number): number {
  let labels = 0;
  let numericLabels = 0;
  let stop = 0;
  for (let at = domain; at - domain < DOMAIN_BYTES_MAX;) {
    const end = cursor.run(at, LABEL, LABEL_BYTES_MAX);
    if (end === at) break;
    // The size of an image: `logo@2x.png`.
    if (labels === 0 && cursor.slice(at, end) === "2x") return 0;
    if (labels === numericLabels && cursor.run(at, DIGIT, LABEL_BYTES_MAX) === end) numericLabels++;
    // A version: `left-pad@1.3.0-beta.x`.
    if (numericLabels > 1) return 0;
    labels++;
    let labelStop = end;
    while (labelStop > at && isOf(cursor.bytes[labelStop - 1], DASH)) labelStop--;
    if (labels > 1 && isTopLevel(cursor, at, labelStop)) stop = labelStop;
    if (!cursor.is(end, DOT)) break;
    at = end + 1;
  }
  return stop;
}

function isTopLevel(cursor: Cursor, start: number, stop: number): boolean {
  if (stop - start < 2) return false;
  const name = cursor.slice(start, stop).toLowerCase();
  if (name.startsWith("xn--")) return true;
  return cursor.run(start, LETTER | HIGH) >= stop && !UNIT_TYPES.has(name);
}
