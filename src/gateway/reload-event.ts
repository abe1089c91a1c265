/** A reload as people read it: on one line, and as an audit event. */

import type { ConfigChange } from "../config/changes.ts";
import type { LogRecord, Value } from "../plugin/index.ts";
import { createRecord } from "../plugin/record.ts";
import { AUDIT_LOGGER } from "../wire/envelope.ts";
import type { ReloadCause, ReloadResult } from "./reloader.ts";

/** An event is no copy of the configuration. */
const CHANGES_MAX = 100;
const TEXT_CHARACTERS_MAX = 500;

/** Returns a change as `exporters.file.max_bytes: 1000 -> 2000`. */
export function formatChange({ key, from, to }: ConfigChange): string {
  if (from === undefined) return `${key}: added${shownAs(to)}`;
  if (to === undefined) return `${key}: removed${shownAs(from)}`;
  const [before, after] = [shown(from), shown(to)];
  return before === after ? `${key}: changed` : `${key}: ${before} -> ${after}`;
}

/** A mapping without options says nothing. */
function shownAs(value: unknown): string {
  const text = shown(value);
  return text === "{}" ? "" : ` ${text}`;
}

function shown(value: unknown): string {
  return cut(JSON.stringify(value) ?? "");
}

function cut(text: string): string {
  return text.length <= TEXT_CHARACTERS_MAX ? text : `${text.slice(0, TEXT_CHARACTERS_MAX)}...`;
}

/** Returns the audit event about a reload that has changed something or was rejected. */
export function reloadEvent(
  { outcome, changes, error }: ReloadResult,
  { by, uid }: ReloadCause,
  auditLoggers: readonly string[] = [AUDIT_LOGGER],
): LogRecord {
  const eventType = outcome === "applied" ? "config_reloaded" : "config_reload_rejected";
  const details = new Map<string, Value>([["by", by]]);
  if (uid !== undefined) details.set("uid", uid);
  details.set("result", outcome);
  details.set("changes", changes.slice(0, CHANGES_MAX).map(detailsOf));
  if (changes.length > CHANGES_MAX) details.set("changes_left_out", changes.length - CHANGES_MAX);
  if (error !== undefined) details.set("reason", cut(`${error.code}: ${error.message}`));
  return createRecord({
    logger: `${auditLoggers[0] ?? AUDIT_LOGGER}.config`,
    level: error === undefined ? "INFO" : "WARNING",
    body: eventType,
    attributes: { event_type: eventType, details },
  });
}

/** Values are texts, because the types of one option may differ. */
function detailsOf({ key, from, to }: ConfigChange): Value {
  const details = new Map<string, Value>([["key", key]]);
  if (from !== undefined) details.set("from", shown(from));
  if (to !== undefined) details.set("to", shown(to));
  return details;
}
