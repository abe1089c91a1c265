import { createHash, randomBytes } from "node:crypto";

/** 256 bits: cannot be guessed, so that a fast hash protects it. */
const BYTES = 32;

const SECRET_ID = /^[A-Za-z0-9_-]{43}$/;

/** Returns a new secret id of a session, a ticket or a login code, in base64url. */
export function createSecretId(): string {
  return randomBytes(BYTES).toString("base64url");
}

/**
 * Returns the hash under which a secret id is stored; undefined if the text cannot be one. Looking up hashes takes a time
 * that says nothing about the secrets.
 */
export function hashSecretId(text: string): string | undefined {
  return SECRET_ID.test(text) ? createHash("sha256").update(text).digest("base64url") : undefined;
}
