import { createHash } from "node:crypto";
import type { AuditLog } from "../wire/envelope.ts";
import { TIMESTAMP_LENGTH, TIMESTAMP_START } from "./prefix.ts";

/** The attribute with the idempotency key of an event: the same in each attempt to send it (semantic conventions). */
export const EVENT_KEY = "log.record.uid";

const MEMBER = Buffer.from(`"${EVENT_KEY}":"`);

/** Where the content of `data` starts: after the timestamp, which may differ between attempts. */
const CONTENT_START = TIMESTAMP_START + TIMESTAMP_LENGTH + '",'.length;

/** Longer keys are replaced by their digest. */
const KEY_CHARS_MAX = 128;

/** Identifies an audit event that is sent again. */
export interface EventKey {
  readonly key: string;
  /** SHA-256 of everything but its timestamp, in base64. */
  readonly digest: string;
}

/** Returns the key of an audit event by its `data`; undefined if its sender gave it none. */
export function eventKeyOf(data: Uint8Array): EventKey | undefined {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (!bytes.includes(MEMBER)) return undefined;
  const { metadata } = JSON.parse(bytes.toString()) as AuditLog;
  const key = metadata?.[EVENT_KEY];
  if (typeof key !== "string" || key === "") return undefined;
  return {
    key: key.length > KEY_CHARS_MAX ? digestOf(key) : key,
    digest: digestOf(bytes.subarray(CONTENT_START)),
  };
}

function digestOf(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("base64");
}
