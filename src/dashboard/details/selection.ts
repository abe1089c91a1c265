import type { EnvelopeType } from "../../wire/envelope.ts";
import type { LogEntry } from "../../client/index.ts";

/** The record in the details pane, and the panel that it is of. */
export interface Selection {
  readonly lane: EnvelopeType;
  readonly entry: LogEntry;
}
