/** Records of two tenants, and readers that may read only some of them. */

import * as fc from "fast-check";
import type { Access, AccessScope, FilterQuery, LogRecord } from "tailgate/plugin";
import { grantedAccess } from "../../src/auth/access.ts";

/** A record that carries a marker of its own in each part that a search or a count could reveal. */
export interface MarkedRecord {
  readonly tenant: "mine" | "theirs";
  readonly isAudit: boolean;
  readonly severityText: "INFO" | "ERROR";
  readonly micros: number;
  /** Makes records differ in size. */
  readonly padding: number;
}

export const markedRecord: fc.Arbitrary<MarkedRecord> = fc.record({
  tenant: fc.constantFrom("mine", "theirs"),
  isAudit: fc.boolean(),
  severityText: fc.constantFrom("INFO", "ERROR"),
  micros: fc.nat({ max: 5_000_000 }),
  padding: fc.oneof(
    { weight: 20, arbitrary: fc.nat({ max: 50 }) },
    { weight: 1, arbitrary: fc.nat({ max: 5_000 }) },
  ),
});

/** Part of every marker, and of nothing else. */
const MARK = "zq";

/** When the records were logged, in ms since 1970. */
export const STARTED_MS = Date.parse("2025-10-13T09:00:00Z");

/** Returns records whose markers count from `first`. */
export function marked(records: readonly MarkedRecord[], first = 0): Partial<LogRecord>[] {
  return records.map(({ tenant, isAudit, severityText, micros, padding }, offset) => {
    const marker = markerOf(first + offset);
    const logger = isAudit ? `orchestrator.audit.${marker}` : `orchestrator.${marker}`;
    return {
      timestamp: BigInt(STARTED_MS) * 1_000_000n + BigInt(micros) * 1000n,
      severityText,
      scope: { name: logger, version: "", attributes: new Map() },
      body: `message ${marker} ${"x".repeat(padding)}`,
      attributes: new Map([
        ["tenant", tenant],
        ["instance_id", `i-${marker}`],
        [`field_${marker}`, marker],
        ...(isAudit ? ([["event_type", `action_${marker}`]] as const) : []),
      ]),
    };
  });
}

function markerOf(index: number): string {
  return `${MARK}${index}${MARK}`;
}

/** Returns the markers in a text, each once, in the order of their first occurrence. */
export function markersIn(text: string): number[] {
  const found = text.matchAll(/zq(\d+)zq/g);
  return [...new Set(Array.from(found, ([, digits]) => Number(digits)))];
}

/** A reader that may read the records for which `reads` is true. */
export interface Reader {
  readonly name: string;
  readonly scopes: readonly AccessScope[];
  /** The filter of its token. */
  readonly filter?: string;
  reads(record: MarkedRecord): boolean;
}

const BOTH: readonly AccessScope[] = ["read:system", "read:audit"];

export const READERS: readonly Reader[] = [
  { name: "system logs", scopes: ["read:system"], reads: ({ isAudit }) => !isAudit },
  { name: "audit events", scopes: ["read:audit"], reads: ({ isAudit }) => isAudit },
  {
    name: "one tenant",
    scopes: BOTH,
    filter: 'tenant:"mine"',
    reads: ({ tenant }) => tenant === "mine",
  },
  {
    name: "system logs of one tenant",
    scopes: ["read:system"],
    filter: 'tenant:"mine"',
    reads: ({ tenant, isAudit }) => tenant === "mine" && !isAudit,
  },
  {
    name: "errors of others",
    scopes: BOTH,
    filter: 'level:ERROR -tenant:"mine"',
    reads: ({ tenant, severityText }) => tenant === "theirs" && severityText === "ERROR",
  },
];

export const anyReader: fc.Arbitrary<Reader> = fc.constantFrom(...READERS);

/** What readers ask for; some ask for what is hidden from them. */
export const anyFilter: fc.Arbitrary<FilterQuery> = fc.constantFrom<FilterQuery>(
  {},
  {},
  { q: MARK },
  { q: `-${MARK}3${MARK}` },
  { q: 'tenant:"theirs"' },
  { q: '-tenant:"theirs"' },
  { level: "ERROR" },
  { type: "audit" },
  { type: "system", q: "message" },
);

/** Returns the access of a reader. */
export function accessOf(reader: Reader, signal?: AbortSignal): Access {
  return grantedAccess(`token:${reader.name}`, reader, signal);
}
