import { resourceFromAttributes, type Resource } from "@opentelemetry/resources";
import {
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type HrTime,
  type SpanContext,
} from "@opentelemetry/api";
import type { ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import { z } from "tailgate/plugin";
import { fieldsSchema, type Fields } from "./fields.ts";
import { spanReferenceSchema, type SpanReference } from "./span-reference.ts";

const nanos = z.string().transform((text) => BigInt(text));

/** Something that happened in the time of a span, as JSON has it. */
export const spanEventSchema = z.object({
  name: z.string(),
  timeNanos: nanos,
  fields: fieldsSchema,
});

export type SpanEvent = z.output<typeof spanEventSchema>;

/** Another span, and what it is to this one. */
export const spanLinkSchema = z.object({ to: spanReferenceSchema, relation: z.string() });

export type SpanLink = z.output<typeof spanLinkSchema>;

/** A span that is over: nothing of it changes any more. */
export interface FinishedSpan {
  readonly self: SpanReference;
  /** In the same trace; undefined for the first one of a trace. */
  readonly parentSpanId: string | undefined;
  readonly name: string;
  readonly service: string | undefined;
  readonly startNanos: bigint;
  /** Never before its start. */
  readonly endNanos: bigint;
  readonly fields: Fields;
  readonly events: readonly SpanEvent[];
  readonly droppedEvents: number;
  readonly links: readonly SpanLink[];
  /** Why it failed; undefined where it did not. */
  readonly failure: string | undefined;
  /** The record that has ended it. */
  readonly sequence: number;
}

type ReadableSpan = Parameters<typeof ProtobufTraceSerializer.serializeRequest>[0][number];

const SCOPE = { name: "tailgate.spans" };

const ENDED = { ended: true, droppedLinksCount: 0 } as const;

/** Makes of spans what OpenTelemetry's serializers take; those of one service share their resource. */
export class ReadableSpans {
  readonly #service: string | undefined;
  readonly #resources = new Map<string, Resource>();

  /** `service`: of all spans; where absent each has its own, and those of this process OTEL_SERVICE_NAME. */
  constructor(service: string | undefined) {
    this.#service = service;
  }

  of(spans: readonly FinishedSpan[]): ReadableSpan[] {
    const readable = spans.map((span) => this.#readable(span));
    this.#resources.clear();
    return readable;
  }

  #readable(span: FinishedSpan): ReadableSpan {
    const { self, parentSpanId, startNanos, endNanos, failure } = span;
    return {
      ...ENDED,
      name: span.name,
      kind: SpanKind.INTERNAL,
      spanContext: () => contextOf(self),
      ...(parentSpanId !== undefined && {
        parentSpanContext: contextOf({ traceId: self.traceId, spanId: parentSpanId }),
      }),
      startTime: hrTimeOf(startNanos),
      endTime: hrTimeOf(endNanos),
      duration: hrTimeOf(endNanos - startNanos),
      status:
        failure === undefined
          ? { code: SpanStatusCode.UNSET }
          : { code: SpanStatusCode.ERROR, message: failure },
      attributes: Object.fromEntries(span.fields.values),
      droppedAttributesCount: span.fields.dropped,
      events: span.events.map(({ name, timeNanos, fields }) => ({
        name,
        time: hrTimeOf(timeNanos),
        attributes: Object.fromEntries(fields.values),
        droppedAttributesCount: fields.dropped,
      })),
      droppedEventsCount: span.droppedEvents,
      links: span.links.map(({ to, relation }) => ({
        context: contextOf(to),
        attributes: { "tailgate.relation": relation },
      })),
      resource: this.#resourceOf(this.#service ?? span.service ?? ownService()),
      instrumentationScope: SCOPE,
    };
  }

  #resourceOf(service: string): Resource {
    let resource = this.#resources.get(service);
    resource ??= resourceFromAttributes({ "service.name": service });
    this.#resources.set(service, resource);
    return resource;
  }
}

function ownService(): string {
  return process.env["OTEL_SERVICE_NAME"]?.trim() || "orchestrator";
}

function contextOf(reference: SpanReference): SpanContext {
  return { ...reference, traceFlags: TraceFlags.SAMPLED };
}

function hrTimeOf(timeNanos: bigint): HrTime {
  return [Number(timeNanos / 1_000_000_000n), Number(timeNanos % 1_000_000_000n)];
}
