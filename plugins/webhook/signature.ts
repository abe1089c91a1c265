/** Signs requests as Standard Webhooks does (https://www.standardwebhooks.com). */

import { createHmac } from "node:crypto";

const SECRET_PREFIX = "whsec_";
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;
const SECRET_BYTES_MIN = 24;
const SECRET_BYTES_MAX = 64;

/**
 * Parses secrets, one a line, such as the old and the new one while a secret is replaced.
 * @throws Error without the text, which is secret.
 */
export function parseSecrets(text: string, source: string): Buffer[] {
  const lines = text.split("\n").map((line) => line.trim());
  const secrets = lines.filter((line) => line !== "").map((line) => parseSecret(line, source));
  if (secrets.length === 0) throw new Error(`${source} is empty; ${EXPECTED}`);
  return secrets;
}

const EXPECTED = `expected ${SECRET_PREFIX} and the base64 of ${SECRET_BYTES_MIN} to ${SECRET_BYTES_MAX} random bytes, as of: echo "${SECRET_PREFIX}$(openssl rand -base64 32)"`;

function parseSecret(text: string, source: string): Buffer {
  const encoded = text.startsWith(SECRET_PREFIX) ? text.slice(SECRET_PREFIX.length) : "";
  const secret = Buffer.from(encoded, "base64");
  const { length } = secret;
  if (!BASE64.test(encoded) || length < SECRET_BYTES_MIN || length > SECRET_BYTES_MAX) {
    throw new Error(`${source} is not a secret; ${EXPECTED}`);
  }
  return secret;
}

/** What is signed beside the secret. */
export interface SignedContent {
  readonly id: string;
  readonly body: Uint8Array;
}

/** Returns the headers that identify a request, with a signature by each secret. */
export function signatureHeaders(
  { id, body }: SignedContent,
  secrets: readonly Buffer[],
  nowMs = Date.now(),
): Record<string, string> {
  if (secrets.length === 0) return { "webhook-id": id };
  const timestamp = String(Math.floor(nowMs / 1000));
  const signatures = secrets.map((secret) => {
    const digest = createHmac("sha256", secret).update(`${id}.${timestamp}.`).update(body);
    return `v1,${digest.digest("base64")}`;
  });
  return {
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": signatures.join(" "),
  };
}
