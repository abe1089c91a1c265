import type { LogRecord, Value } from "../plugin/index.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { ownEvent, ownLogger } from "./own-event.ts";

const LOGGER = "checkpoint";

export const CHECKPOINT_LOGGER = ownLogger(LOGGER);

/** A checkpoint as an audit event, so that every exporter keeps a copy elsewhere. */
export function checkpointRecord(checkpoint: Checkpoint): LogRecord {
  return ownEvent({
    logger: LOGGER,
    level: "INFO",
    eventType: "audit_checkpoint",
    timeMs: Date.parse(checkpoint.time),
    details: new Map<string, Value>([["v", 1], ...Object.entries(checkpoint)]),
  });
}
