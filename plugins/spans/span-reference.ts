import { createHash } from "node:crypto";
import { z } from "tailgate/plugin";

const TRACE_ID = /^(?!0{32})[0-9a-f]{32}$/;
const SPAN_ID = /^(?!0{16})[0-9a-f]{16}$/;

/** Which span is meant, in hex. */
export const spanReferenceSchema = z.object({ traceId: z.string(), spanId: z.string() });

export type SpanReference = z.output<typeof spanReferenceSchema>;

/** Undefined where the two are not the ids of a span. */
export function spanReference(traceId: unknown, spanId: unknown): SpanReference | undefined {
  if (typeof traceId !== "string" || typeof spanId !== "string") return undefined;
  return TRACE_ID.test(traceId) && SPAN_ID.test(spanId) ? { traceId, spanId } : undefined;
}

/** What an id is made of: the same event gives the same one, so that a span that is sent again is known. */
interface Origin {
  readonly instanceId: string;
  readonly sequence: number;
  readonly timeNanos: bigint;
}

export function traceIdOf(origin: Origin): string {
  return digest("trace", origin).slice(0, 32);
}

/** `kind`: what the span shows of the event; one event can end several. */
export function spanIdOf(kind: string, origin: Origin): string {
  return digest(kind, origin).slice(0, 16);
}

function digest(kind: string, { instanceId, sequence, timeNanos }: Origin): string {
  const parts = JSON.stringify([kind, instanceId, sequence, String(timeNanos)]);
  return createHash("sha256").update(parts).digest("hex");
}
