import { printable } from "../wire/printable.ts";
import type { GapMessage } from "../wire/protocol.ts";

const REASONS = {
  retention: "deleted for their age or their size",
  not_stored: "the gateway's disk did not take them",
  damaged: "the journal is damaged there",
  slow: "this reader was too slow for them",
};

const LANES = { system_log: "system logs", audit_log: "audit events" };

/** What is missing, as a line of its own among the records, with its line feed. */
export function gapLine({ from, to, lane, reason, text }: GapMessage): string {
  const range = from === to ? `sequence ${from}` : `sequences ${from} to ${to}`;
  if (reason === "epoch") {
    return `--- shown before, and not in the gateway's journal any more: ${range} ---\n`;
  }
  const what = lane === undefined ? "records" : LANES[lane];
  return `--- missing: ${what} of ${range} (${text === undefined ? REASONS[reason] : printable(text)}) ---\n`;
}
