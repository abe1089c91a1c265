import {
  ALPHANUMERIC,
  BASE64,
  BLANK,
  DASH,
  DIGIT,
  DOT,
  LETTER,
  LOWER,
  UNDERSCORE,
} from "./cursor.ts";
import { UPPER, type Cursor, type Verifier } from "./cursor.ts";

const BASE64_URL = ALPHANUMERIC | DASH | UNDERSCORE;
const TOKEN_68 = BASE64_URL | DOT | BASE64;

const JWT_START = "eyJ";
const HEADER_BYTES_MIN = 10;

/** Finds a JSON Web Token, signed, unsigned or encrypted (RFC 7519), at the `eyJ` that it begins with. */
export const verifyJwt: Verifier = (cursor, at) => {
  const start = at - JWT_START.length;
  if (!cursor.has(start, JWT_START) || cursor.is(start - 1, BASE64_URL)) return false;
  const header = cursor.run(at, BASE64_URL);
  if (header - start < HEADER_BYTES_MIN || !cursor.is(header, DOT)) return cursor.skipTo(header);
  const payload = cursor.run(header + 1, BASE64_URL);
  let stop = payload;
  let parts = 2;
  for (; parts < 5 && cursor.is(stop, DOT); parts++) stop = cursor.run(stop + 1, BASE64_URL);
  if (!cursor.has(header + 1, JWT_START)) {
    return parts === 5 ? cursor.found(start, stop) : cursor.skipTo(payload);
  }
  const signature = cursor.is(payload, DOT) ? cursor.run(payload + 1, BASE64_URL) : payload;
  return cursor.found(start, signature);
};

const BEARER_BYTES_MIN = 6;
const LONG_BYTES = 20;

/** Finds the token after `Bearer ` (RFC 6750), and not the words of `Bearer token is missing`. */
export const verifyBearer: Verifier = (cursor, at) => {
  const start = credentialsStart(cursor, at, "bearer ");
  const stop = cursor.run(start, TOKEN_68);
  const length = stop - start;
  if (length < BEARER_BYTES_MIN) return false;
  const isToken = length >= LONG_BYTES || looksRandom(cursor, start, stop);
  return isToken ? cursor.found(start, stop) : false;
};

const BASIC_BYTES_MIN = 4;
const BASIC_BYTES_MAX = 4096;
const COLON = 0x3a;

/** Finds the credentials after `Basic ` (RFC 7617): base64 with a colon in it. */
export const verifyBasic: Verifier = (cursor, at) => {
  const start = credentialsStart(cursor, at, "basic ");
  const stop = cursor.run(start, ALPHANUMERIC | BASE64, BASIC_BYTES_MAX);
  if (stop - start < BASIC_BYTES_MIN) return false;
  const decoded = Buffer.from(cursor.slice(start, stop), "base64");
  return decoded.includes(COLON) ? cursor.found(start, stop) : false;
};

/** Returns where the credentials after a scheme start; the end of the text if the scheme is part of a word. */
function credentialsStart(cursor: Cursor, at: number, scheme: string): number {
  const isWord = cursor.is(at - scheme.length - 1, ALPHANUMERIC | UNDERSCORE);
  return isWord ? cursor.end : cursor.run(at, BLANK, 4);
}

/** How much of a text {@link looksRandom} reads. */
const RANDOM_BYTES_MAX = 64;

/** Returns whether a text has digits beside letters, or capitals within words, as words have not. */
export function looksRandom(cursor: Cursor, start: number, stop: number): boolean {
  const limit = Math.min(stop, start + RANDOM_BYTES_MAX);
  let hasDigit = false;
  let hasLetter = false;
  for (let at = start; at < limit; at++) {
    hasDigit ||= cursor.is(at, DIGIT);
    hasLetter ||= cursor.is(at, LETTER);
    if (at > start && cursor.is(at, UPPER) && cursor.is(at - 1, LOWER)) return true;
  }
  return hasDigit && hasLetter;
}

/** A key whose prefix tells its issuer. */
export interface KeyFormat {
  readonly prefix: string;
  /** The classes of the characters after the prefix, and how many there are. */
  readonly classes: number;
  readonly min: number;
  readonly max?: number;
  /** True if it has capitals and digits, which tells it from words with hyphens. */
  readonly isMixed?: boolean;
}

const TOKEN = BASE64_URL;

/** From the documents of the issuers, and the rules of secret scanners. */
export const KEY_FORMATS: readonly KeyFormat[] = [
  ...["AKIA", "ASIA", "ABIA", "ACCA"].map((prefix) => ({
    prefix,
    classes: UPPER | DIGIT,
    min: 16,
    max: 16,
  })),
  ...["ghp_", "gho_", "ghu_", "ghs_", "ghr_"].map((prefix) => ({
    prefix,
    classes: ALPHANUMERIC,
    min: 36,
  })),
  { prefix: "github_pat_", classes: ALPHANUMERIC | UNDERSCORE, min: 22 },
  { prefix: "glpat-", classes: TOKEN, min: 20 },
  ...["xoxa-", "xoxb-", "xoxp-", "xoxr-", "xoxs-", "xapp-"].map((prefix) => ({
    prefix,
    classes: ALPHANUMERIC | DASH,
    min: 10,
  })),
  { prefix: "AIza", classes: TOKEN, min: 35, max: 35 },
  { prefix: "GOCSPX-", classes: TOKEN, min: 28, max: 28 },
  { prefix: "ya29.", classes: TOKEN, min: 20 },
  ...["sk_live_", "sk_test_", "rk_live_", "rk_test_"].map((prefix) => ({
    prefix,
    classes: ALPHANUMERIC,
    min: 16,
  })),
  { prefix: "sk-", classes: TOKEN, min: 20, isMixed: true },
  { prefix: "npm_", classes: ALPHANUMERIC, min: 36 },
  { prefix: "pypi-AgE", classes: TOKEN, min: 16 },
  { prefix: "hf_", classes: ALPHANUMERIC, min: 30 },
  { prefix: "SG.", classes: TOKEN | DOT, min: 66, max: 66 },
  ...["dop_v1_", "doo_v1_", "dor_v1_"].map((prefix) => ({
    prefix,
    classes: LOWER | DIGIT,
    min: 64,
    max: 64,
  })),
  { prefix: "shpat_", classes: ALPHANUMERIC, min: 32, max: 32 },
  { prefix: "AGE-SECRET-KEY-1", classes: UPPER | DIGIT, min: 58, max: 58 },
  { prefix: "tgw_", classes: ALPHANUMERIC | UNDERSCORE, min: 62, max: 62 },
];

/** Returns what finds keys of a format, at their prefix. */
export function keyVerifier({ prefix, classes, min, max, isMixed }: KeyFormat): Verifier {
  return (cursor, at) => {
    const start = at - prefix.length;
    if (!cursor.has(start, prefix) || cursor.is(start - 1, ALPHANUMERIC)) return false;
    const stop = cursor.run(at, classes);
    const length = stop - at;
    if (length < min || length > (max ?? Infinity)) return cursor.skipTo(stop);
    if (isMixed && !hasCapitalAndDigit(cursor, at, stop)) return cursor.skipTo(stop);
    return cursor.found(start, stop);
  };
}

function hasCapitalAndDigit(cursor: Cursor, start: number, stop: number): boolean {
  let hasCapital = false;
  let hasDigit = false;
  for (let at = start; at < stop; at++) {
    hasCapital ||= cursor.is(at, UPPER);
    hasDigit ||= cursor.is(at, DIGIT);
  }
  return hasCapital && hasDigit;
}

const BLOCK_START = "-----BEGIN ";
const BLOCK_END = "-----END ";
const DASHES = "-----";
const LABEL = "PRIVATE KEY";
const LABEL_BYTES_MAX = 48;
/** A block without an end is one if it has that many characters of base64. */
const BODY_BYTES_MIN = 16;

/** Finds a private key in PEM (RFC 7468), at its first line. A block without an end reaches to the end of the text. */
export const verifyPrivateKey: Verifier = (cursor, at) => {
  const start = at - BLOCK_START.length;
  const body = labelEnd(cursor, at);
  if (body === 0) return false;
  const stop = cursor.hasNoKeyEnd ? 0 : blockEnd(cursor, body);
  if (stop > 0) return cursor.found(start, stop);
  cursor.hasNoKeyEnd = true;
  return isKeyBody(cursor, body) ? cursor.found(start, cursor.end) : false;
};

/** Returns where the content after the first line starts; 0 if it is not that of a private key. */
function labelEnd(cursor: Cursor, at: number): number {
  let isPrivate = false;
  for (let position = at; position - at < LABEL_BYTES_MAX; position++) {
    isPrivate ||= cursor.has(position, LABEL);
    if (cursor.has(position, DASHES)) return isPrivate ? position + DASHES.length : 0;
  }
  return 0;
}

function blockEnd(cursor: Cursor, body: number): number {
  let position = body;
  while (position < cursor.end && !cursor.has(position, BLOCK_END)) position++;
  if (position === cursor.end) return 0;
  const label = position + BLOCK_END.length;
  for (position = label; position - label < LABEL_BYTES_MAX; position++) {
    if (cursor.has(position, DASHES)) return position + DASHES.length;
  }
  return label;
}

function isKeyBody(cursor: Cursor, body: number): boolean {
  // Line ends may be escaped.
  let start = body;
  while (start < cursor.end && start - body < 8 && !cursor.is(start, ALPHANUMERIC & ~LOWER))
    start++;
  return cursor.run(start, ALPHANUMERIC | BASE64, BODY_BYTES_MIN) - start === BODY_BYTES_MIN;
}
