/** The audit events that the gateway logs about the audit trail itself. */

import type { Damage } from "../journal/journal.ts";
import type { LogRecord, Value } from "../plugin/index.ts";
import { createRecord } from "../plugin/record.ts";
import { AUDIT_LOGGER } from "../wire/envelope.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { PublicKey } from "./public-keys.ts";

export const CHECKPOINT_LOGGER = `${AUDIT_LOGGER}.checkpoint`;

export const KEY_LOGGER = `${AUDIT_LOGGER}.key`;

const JOURNAL_LOGGER = `${AUDIT_LOGGER}.journal`;

export const KEY_CHANGE_TYPE = "audit_key_changed";

/** Returns a checkpoint as an audit event, so that every exporter stores a copy elsewhere. */
export function checkpointEvent(checkpoint: Checkpoint): LogRecord {
  return trailEvent({
    logger: CHECKPOINT_LOGGER,
    level: "INFO",
    eventType: "audit_checkpoint",
    timeMs: Date.parse(checkpoint.time),
    details: new Map<string, Value>([["v", 1], ...Object.entries(checkpoint)]),
  });
}

/** Returns the audit event that precedes the first checkpoint signed with another key. */
export function keyChangeEvent(previous: string, key: PublicKey): LogRecord {
  return trailEvent({
    logger: KEY_LOGGER,
    level: "WARNING",
    eventType: KEY_CHANGE_TYPE,
    timeMs: Date.now(),
    details: new Map([
      ["previous_key", previous],
      ["key", key.id],
      ["public_key", key.pem],
    ]),
  });
}

/** Returns damage to the journal as an audit event, so that the trail itself names the events that it lacks. */
export function damageEvent({ text, lost, kept }: Damage): LogRecord {
  const details = new Map<string, Value>([["text", text]]);
  if (lost !== undefined) details.set("lost_from", lost.from).set("lost_to", lost.to);
  if (kept.length > 0) details.set("kept_as", [...kept]);
  return trailEvent({
    logger: JOURNAL_LOGGER,
    level: "ERROR",
    eventType: "journal_damaged",
    timeMs: Date.now(),
    details,
  });
}

interface TrailEvent {
  readonly logger: string;
  readonly level: "INFO" | "WARNING" | "ERROR";
  readonly eventType: string;
  readonly timeMs: number;
  readonly details: Map<string, Value>;
}

function trailEvent({ logger, level, eventType, timeMs, details }: TrailEvent): LogRecord {
  const attributes = { event_type: eventType, details };
  return createRecord({ logger, level, timeMs, body: eventType, attributes });
}
