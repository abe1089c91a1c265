import {
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type HrTime,
  type SpanContext,
} from "@opentelemetry/api";
import { JsonTraceSerializer, ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import { resourceFromAttributes, type Resource } from "@opentelemetry/resources";
import type { Host } from "tailgate/plugin";
import { RejectionLog } from "../http-client/rejection-log.ts";
import { TRACES, type Destination } from "../otlp/destination.ts";
import { OtlpSender } from "../otlp/sender.ts";
import type { FinishedSpan, SpanReference } from "./span.ts";

/** Approximate maximum size of a request, in characters of its spans; a larger span is sent alone. */
const REQUEST_CHARS_MAX = 1 << 20;

/** Sends spans in order, each until the destination accepts or permanently rejects it. */
export class SpanSender {
  readonly #sender: OtlpSender<readonly FinishedSpan[]>;
  readonly #rejections: RejectionLog;
  readonly #countSent: (count: number) => void;
  readonly #countDropped: (count: number, labels: Record<string, string>) => void;

  /** `service`: of all spans; by default each span has its own. */
  constructor(destination: Destination, service: string | undefined, { log, metrics }: Host) {
    const isJson = destination.protocol === "http/json";
    const serializer = isJson ? JsonTraceSerializer : ProtobufTraceSerializer;
    const readable = new ReadableSpans(service);
    this.#sender = new OtlpSender<readonly FinishedSpan[]>(destination, TRACES, {
      serialize: (spans) => serializer.serializeRequest(readable.from(spans))!,
      count: ({ length }) => length,
    });
    this.#rejections = new RejectionLog(destination.name, undefined, log, "spans");
    this.#countSent = metrics.counter("sent", "Spans that the destination accepted.");
    this.#countDropped = metrics.counter(
      "dropped",
      "Spans that the destination rejected, by reason.",
    );
    this.#countSent(0);
    for (const reason of Object.keys(this.#rejections.takeCounts())) {
      this.#countDropped(0, { reason });
    }
  }

  /**
   * Sends spans, and removes the settled ones from the front of `queue`.
   * @throws Error if the destination is to be retried.
   */
  async send(queue: FinishedSpan[], signal: AbortSignal): Promise<void> {
    try {
      await this.#sendAll(queue, signal);
    } finally {
      for (const [reason, count] of Object.entries(this.#rejections.takeCounts())) {
        if (count > 0) this.#countDropped(count, { reason });
      }
    }
  }

  /** Bisects a rejected part to isolate the spans that the destination rejects. */
  async #sendAll(queue: FinishedSpan[], signal: AbortSignal): Promise<void> {
    for (let countMax = Infinity; queue.length > 0; countMax *= 2) {
      let count = Math.min(countForRequest(queue), countMax);
      while (!(await this.#settle(queue.slice(0, count), signal))) count >>= 1;
      queue.splice(0, count);
      countMax = count;
    }
  }

  /** Returns false if a smaller part is to be sent. */
  async #settle(spans: readonly FinishedSpan[], signal: AbortSignal): Promise<boolean> {
    const outcome = await this.#sender.send(spans, signal);
    if (outcome.kind === "accepted") {
      const rejected = Math.min(outcome.rejected, spans.length);
      this.#rejections.addPartialSuccess(rejected, outcome.message);
      this.#countSent(spans.length - rejected);
      return true;
    }
    if (spans.length > 1) return false;
    this.#rejections.addRejected(spans[0]!.sequence, outcome.reason);
    return true;
  }
}

/** Returns how many of the spans go into one request. */
function countForRequest(spans: readonly FinishedSpan[]): number {
  let chars = 0;
  for (const [index, span] of spans.entries()) {
    chars += charsOf(span);
    if (chars > REQUEST_CHARS_MAX && index > 0) return index;
  }
  return spans.length;
}

/** Counts the fields, plus a few hundred bytes for names, ids and framing. */
function charsOf({ fields, events }: FinishedSpan): number {
  let chars = 300 + fields.chars;
  for (const event of events) chars += 100 + event.fields.chars;
  return chars;
}

type ReadableSpan = Parameters<typeof ProtobufTraceSerializer.serializeRequest>[0][number];

const SCOPE = { name: "tailgate.spans" };

const ENDED_SPAN = { ended: true, droppedLinksCount: 0 } as const;

/** Converts spans for OpenTelemetry's serializers. Spans of one service share a resource. */
class ReadableSpans {
  readonly #service: string | undefined;
  readonly #resources = new Map<string, Resource>();

  constructor(service: string | undefined) {
    this.#service = service;
  }

  from(spans: readonly FinishedSpan[]): ReadableSpan[] {
    const readable = spans.map((span) => this.#convert(span));
    this.#resources.clear();
    return readable;
  }

  #convert(span: FinishedSpan): ReadableSpan {
    const { self, parentSpanId, startNanos, endNanos, failure } = span;
    return {
      ...ENDED_SPAN,
      name: span.name,
      kind: SpanKind.INTERNAL,
      spanContext: () => toSpanContext(self),
      ...(parentSpanId !== undefined && {
        parentSpanContext: toSpanContext({ traceId: self.traceId, spanId: parentSpanId }),
      }),
      startTime: toHrTime(startNanos),
      endTime: toHrTime(endNanos),
      duration: toHrTime(endNanos - startNanos),
      status:
        failure === undefined
          ? { code: SpanStatusCode.UNSET }
          : { code: SpanStatusCode.ERROR, message: failure },
      attributes: Object.fromEntries(span.fields.values),
      droppedAttributesCount: span.fields.dropped,
      events: span.events.map(({ name, timeNanos, fields }) => ({
        name,
        time: toHrTime(timeNanos),
        attributes: Object.fromEntries(fields.values),
        droppedAttributesCount: fields.dropped,
      })),
      droppedEventsCount: span.droppedEvents,
      links: span.links.map(({ to, relation }) => ({
        context: toSpanContext(to),
        attributes: { "tailgate.relation": relation },
      })),
      resource: this.#resourceFor(this.#service ?? span.service ?? defaultService()),
      instrumentationScope: SCOPE,
    };
  }

  #resourceFor(service: string): Resource {
    let resource = this.#resources.get(service);
    resource ??= resourceFromAttributes({ "service.name": service });
    this.#resources.set(service, resource);
    return resource;
  }
}

function defaultService(): string {
  return process.env["OTEL_SERVICE_NAME"]?.trim() || "orchestrator";
}

function toSpanContext(reference: SpanReference): SpanContext {
  return { ...reference, traceFlags: TraceFlags.SAMPLED };
}

function toHrTime(timeNanos: bigint): HrTime {
  return [Number(timeNanos / 1_000_000_000n), Number(timeNanos % 1_000_000_000n)];
}
