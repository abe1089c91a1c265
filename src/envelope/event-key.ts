import { createHash } from "node:crypto";
import type { AuditLog } from "../wire/envelope.ts";
import { TIMESTAMP_LENGTH, TIMESTAMP_START } from "./timestamp.ts";

/** The attribute that names an event over all attempts to send it (semantic conventions, `log.record.uid`). */
export const EVENT_KEY = "log.record.uid";

const MEMBER = Buffer.from(`"${EVENT_KEY}":"`);

/** Where `data` goes on after its timestamp, which may be another one in each attempt. */
const CONTENT_START = TIMESTAMP_START + TIMESTAMP_LENGTH + '",'.length;

/** A longer key is remembered by its digest. */
const KEY_CHARS_MAX = 128;

/** What an audit event is known by when it comes again. */
export interface EventKey {
  readonly key: string;
  /** SHA-256 of all that it says apart from its timestamp, in base64. */
  readonly digest: string;
}

/** The key of an audit event's `data`; undefined where its sender gave it none. */
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
