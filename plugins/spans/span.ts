import { createHash } from "node:crypto";
import { z } from "tailgate/plugin";
import { spanFieldsSchema, type SpanFields } from "./fields.ts";

const TRACE_ID = /^(?!0{32})[0-9a-f]{32}$/;
const SPAN_ID = /^(?!0{16})[0-9a-f]{16}$/;

/** Nanoseconds since 1970, as a decimal string in JSON. */
export const nanosSchema = z.string().transform((text) => BigInt(text));

export const spanReferenceSchema = z.object({ traceId: z.string(), spanId: z.string() });

/** The ids of a span, in hex. */
export type SpanReference = z.output<typeof spanReferenceSchema>;

export const spanEventSchema = z.object({
  name: z.string(),
  timeNanos: nanosSchema,
  fields: spanFieldsSchema,
});

/** Something that happened during a span. */
export type SpanEvent = z.output<typeof spanEventSchema>;

export const spanLinkSchema = z.object({ to: spanReferenceSchema, relation: z.string() });

/** Another span, and its relation to this one. */
export type SpanLink = z.output<typeof spanLinkSchema>;

/** A span that has ended and does not change any more. */
export interface FinishedSpan {
  readonly self: SpanReference;
  /** A span of the same trace; undefined for a root span. */
  readonly parentSpanId: string | undefined;
  readonly name: string;
  readonly service: string | undefined;
  readonly startNanos: bigint;
  /** Never before the start. */
  readonly endNanos: bigint;
  readonly fields: SpanFields;
  readonly events: readonly SpanEvent[];
  readonly droppedEvents: number;
  readonly links: readonly SpanLink[];
  /** The reason of a failure; undefined without one. */
  readonly failure: string | undefined;
  /** The record that ended the span. */
  readonly sequence: number;
}

/** Returns a reference if both ids are valid. */
export function parseSpanReference(traceId: unknown, spanId: unknown): SpanReference | undefined {
  if (typeof traceId !== "string" || typeof spanId !== "string") return undefined;
  return TRACE_ID.test(traceId) && SPAN_ID.test(spanId) ? { traceId, spanId } : undefined;
}

/** What an id is derived from. The same event yields the same id, so that a span that is sent again is recognized. */
interface SpanOrigin {
  readonly instanceId: string;
  readonly sequence: number;
  readonly timeNanos: bigint;
}

export function deriveTraceId(origin: SpanOrigin): string {
  return digest("trace", origin).slice(0, 32);
}

/** `kind`: what the span shows of the event; one event can end several spans. */
export function deriveSpanId(kind: string, origin: SpanOrigin): string {
  return digest(kind, origin).slice(0, 16);
}

function digest(kind: string, { instanceId, sequence, timeNanos }: SpanOrigin): string {
  const parts = JSON.stringify([kind, instanceId, sequence, String(timeNanos)]);
  return createHash("sha256").update(parts).digest("hex");
}
