import type { Envelope, JsonValue } from "../../wire/envelope.ts";

/** What ties records together. */
export interface RelatedKeys {
  readonly instanceId: string | undefined;
  /** As OpenTelemetry has it; other texts are none. */
  readonly traceId: string | undefined;
}

const TRACE_ID = /^[0-9a-f]{32}$/i;

export function relatedKeys({ type, data }: Envelope): RelatedKeys {
  const fields: Readonly<Record<string, JsonValue>> =
    type === "audit_log" ? { ...data.metadata } : data;
  const traceId = textOf(fields["trace_id"]);
  return {
    instanceId: textOf(fields["instance_id"]),
    traceId: traceId !== undefined && TRACE_ID.test(traceId) ? traceId : undefined,
  };
}

function textOf(value: JsonValue | undefined): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Where the trace is shown; undefined where there is no such place, or it is no address that may be opened. */
export function traceLink(template: string | null, traceId: string): string | undefined {
  const address = template?.replaceAll("{trace_id}", encodeURIComponent(traceId));
  if (address === undefined || !URL.canParse(address)) return undefined;
  return /^https?:$/.test(new URL(address).protocol) ? address : undefined;
}

/** The term of the filter language that finds it. */
export function fieldTerm(field: string, value: string): string {
  return `${field}:"${value.replaceAll(/["\\]/g, "\\$&")}"`;
}
