import { ALPHANUMERIC, DIGIT, URL_END, VALUE_END, type Cursor, type Verifier } from "./cursor.ts";

const USER_BYTES_MAX = 512;

const COLON = 0x3a;
const SLASH = 0x2f;
const QUESTION_MARK = 0x3f;
const HASH = 0x23;
const AT = 0x40;
/** Begins an IPv6 address. */
const BRACKET = 0x5b;

/** Finds the user information of a URL (RFC 3986, section 3.2.1) at the `://`. */
export const verifyUserInfo: Verifier = (cursor, at) => {
  const limit = Math.min(cursor.end, at + USER_BYTES_MAX);
  if (cursor.at(at) === BRACKET) return false;
  let last = -1;
  let colon = -1;
  let hasPath = false;
  for (let position = at; position < limit; position++) {
    const byte = cursor.at(position)!;
    if (byte === AT) last = position;
    // A password may contain anything: after a user and a colon, what is before the last `@` counts, unless it is a port.
    else if (byte === COLON && colon < 0 && last < 0) colon = position;
    else if (byte === SLASH || byte === QUESTION_MARK || byte === HASH) {
      if (last >= 0 || !isPassword(cursor, colon, position)) break;
      hasPath = true;
    } else if (cursor.is(position, URL_END)) {
      break;
    }
  }
  if (last <= at || (hasPath && colon < 0)) return false;
  if (colon < 0 && isLoginOnly(cursor, at)) return false;
  return cursor.found(at, last);
};

/** Returns whether what is between the colon and `stop` cannot be a port. */
function isPassword(cursor: Cursor, colon: number, stop: number): boolean {
  return colon >= 0 && cursor.run(colon + 1, DIGIT) < stop;
}

/** The user of `ssh://git@host` is no secret. */
function isLoginOnly(cursor: Cursor, at: number): boolean {
  return cursor.has(at - "ssh://".length, "ssh://");
}

const CODE_BYTES_MIN = 4;

/** Finds the value of a query parameter that signs or authorizes, at its `=`. */
export const verifyQueryValue: Verifier = (cursor, at) => {
  const limit = cursor.end;
  let stop = at;
  while (stop < limit && !cursor.is(stop, VALUE_END) && cursor.at(stop) !== HASH) stop++;
  const isNumber = cursor.run(at, DIGIT) === stop;
  const isValue = stop - at >= CODE_BYTES_MIN && !isNumber && cursor.is(at, ALPHANUMERIC);
  return isValue ? cursor.found(at, stop) : cursor.skipTo(stop);
};

export const QUERY_PARAMETERS: readonly string[] = [
  "?sig=",
  "&sig=",
  "?code=",
  "&code=",
  "x-amz-signature=",
  "x-goog-signature=",
  "x-amz-security-token=",
];
