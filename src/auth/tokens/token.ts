/**
 * The format of tokens: `tgw_<id>_<secret><checksum>`. The id is public; it tells which token of the tokens file it is.
 * The secret has 256 random bits, so that its plain SHA-256 can be stored: slow hashes protect secrets that can be guessed.
 * The checksum lets a scanner recognize a leaked token without asking the gateway.
 */

import { createHash, randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";

const PREFIX = "tgw_";

const ID_BYTES = 6;
const SECRET_BYTES = 32;

/** 62^43 is just above 2^256. */
const SECRET_DIGITS = 43;
/** 62^6 is above 2^32. */
const CHECKSUM_DIGITS = 6;

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Matches what looks like a token, whatever its checksum. Also the rule for secret scanners. */
const TOKEN = /^(tgw_([0-9a-f]{12})_([0-9A-Za-z]{43}))([0-9A-Za-z]{6})$/;

export interface Token {
  /** Tells which token it is; not secret. */
  readonly id: string;
  readonly secret: string;
}

/** Returns a token that nobody has. */
export function createToken(): Token {
  const id = randomBytes(ID_BYTES).toString("hex");
  const secret = inBase62(BigInt(`0x${randomBytes(SECRET_BYTES).toString("hex")}`), SECRET_DIGITS);
  return { id, secret };
}

/** Returns the token as its holder sends it. */
export function formatToken({ id, secret }: Token): string {
  const text = `${PREFIX}${id}_${secret}`;
  return text + checksumOf(text);
}

/** Returns undefined for a text that is not a token, or that has been cut or mistyped. */
export function parseToken(text: string): Token | undefined {
  const [, checked, id, secret, checksum] = TOKEN.exec(text) ?? [];
  if (checked === undefined || checksumOf(checked) !== checksum) return undefined;
  return { id: id!, secret: secret! };
}

/** Returns what is stored of a secret: its SHA-256. */
export function digestOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

function checksumOf(text: string): string {
  return inBase62(BigInt(crc32(text)), CHECKSUM_DIGITS);
}

function inBase62(value: bigint, digits: number): string {
  let text = "";
  for (let rest = value; text.length < digits; rest /= 62n)
    text = DIGITS[Number(rest % 62n)] + text;
  return text;
}
