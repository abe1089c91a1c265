import protobuf from "protobufjs";

/** The parts of opentelemetry-proto 1.x in a trace request, under its field numbers. */
const { root } = protobuf.parse(`
  syntax = "proto3";
  message ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
  message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
  message Resource { repeated KeyValue attributes = 1; }
  message ScopeSpans { InstrumentationScope scope = 1; repeated Span spans = 2; }
  message InstrumentationScope { string name = 1; }
  message Span {
    bytes trace_id = 1;
    bytes span_id = 2;
    bytes parent_span_id = 4;
    string name = 5;
    int32 kind = 6;
    fixed64 start_time_unix_nano = 7;
    fixed64 end_time_unix_nano = 8;
    repeated KeyValue attributes = 9;
    uint32 dropped_attributes_count = 10;
    repeated Event events = 11;
    uint32 dropped_events_count = 12;
    repeated Link links = 13;
    Status status = 15;
  }
  message Event {
    fixed64 time_unix_nano = 1;
    string name = 2;
    repeated KeyValue attributes = 3;
    uint32 dropped_attributes_count = 4;
  }
  message Link { bytes trace_id = 1; bytes span_id = 2; repeated KeyValue attributes = 4; }
  message Status { string message = 2; int32 code = 3; }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message AnyValue {
    oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; }
  }
`);

const TraceRequest = root.lookupType("ExportTraceServiceRequest");

// Compile the decoders now, so that the first request is answered as fast as the others.
for (const type of root.nestedArray) if (type instanceof protobuf.Type) type.setup();

type Attributes = Readonly<Record<string, string | number | boolean>>;

/** A span as it came over the wire. */
export interface ArrivedSpan {
  readonly service: string;
  readonly scope: string;
  readonly traceId: string;
  readonly spanId: string;
  /** "" if there is none. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly startNanos: bigint;
  readonly endNanos: bigint;
  readonly attributes: Attributes;
  readonly events: readonly {
    readonly name: string;
    readonly timeNanos: bigint;
    readonly attributes: Attributes;
  }[];
  readonly droppedEvents: number;
  readonly links: readonly {
    readonly traceId: string;
    readonly spanId: string;
    readonly attributes: Attributes;
  }[];
  /** 2 is an error. */
  readonly status: { readonly code: number; readonly message: string };
}

/**
 * OTLP's JSON form of a request; protobufjs converts protobuf to the same, except for ids in
 * base64.
 */
interface JsonRequest {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly JsonAttribute[] };
    readonly scopeSpans: readonly {
      readonly scope: { readonly name: string };
      readonly spans: readonly JsonSpan[];
    }[];
  }[];
}

interface JsonSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly startTimeUnixNano?: string;
  readonly endTimeUnixNano?: string;
  readonly attributes?: readonly JsonAttribute[];
  readonly events?: readonly {
    readonly name: string;
    readonly timeUnixNano: string;
    readonly attributes?: readonly JsonAttribute[];
  }[];
  readonly droppedEventsCount?: number;
  readonly links?: readonly {
    readonly traceId: string;
    readonly spanId: string;
    readonly attributes?: readonly JsonAttribute[];
  }[];
  readonly status?: { readonly code?: number; readonly message?: string };
}

interface JsonAttribute {
  readonly key: string;
  readonly value: Readonly<Record<string, string | number | boolean>>;
}

export function spansOfProtobuf(body: Uint8Array): ArrivedSpan[] {
  const request = TraceRequest.toObject(TraceRequest.decode(body), {
    longs: String,
    bytes: String,
  });
  return spansOf(request as JsonRequest, (id) => Buffer.from(id, "base64").toString("hex"));
}

export function spansOfJson(body: Uint8Array): ArrivedSpan[] {
  return spansOf(JSON.parse(Buffer.from(body).toString()) as JsonRequest, (id) => id);
}

function spansOf({ resourceSpans }: JsonRequest, idOf: (id: string) => string): ArrivedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ scope, spans }) =>
      spans.map((span) => ({
        service: String(attributesOf(resource.attributes)["service.name"]),
        scope: scope.name,
        traceId: idOf(span.traceId),
        spanId: idOf(span.spanId),
        parentSpanId: idOf(span.parentSpanId ?? ""),
        name: span.name,
        startNanos: BigInt(span.startTimeUnixNano ?? 0),
        endNanos: BigInt(span.endTimeUnixNano ?? 0),
        attributes: attributesOf(span.attributes),
        events: (span.events ?? []).map(({ name, timeUnixNano, attributes }) => ({
          name,
          timeNanos: BigInt(timeUnixNano),
          attributes: attributesOf(attributes),
        })),
        droppedEvents: span.droppedEventsCount ?? 0,
        links: (span.links ?? []).map((link) => ({
          traceId: idOf(link.traceId),
          spanId: idOf(link.spanId),
          attributes: attributesOf(link.attributes),
        })),
        status: { code: span.status?.code ?? 0, message: span.status?.message ?? "" },
      })),
    ),
  );
}

function attributesOf(attributes: readonly JsonAttribute[] = []): Attributes {
  return Object.fromEntries(
    attributes.map(({ key, value }) => {
      const [[kind, plain]] = Object.entries(value) as [[string, string | number | boolean]];
      return [key, kind === "intValue" ? Number(plain) : plain];
    }),
  );
}
