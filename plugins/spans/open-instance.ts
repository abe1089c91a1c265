import { z } from "tailgate/plugin";
import { createFields, mergeFields, readText, spanFieldsSchema, withFields } from "./fields.ts";
import { displayName, type InstanceEvent } from "./instance-event.ts";
import {
  deriveSpanId,
  nanosSchema,
  spanEventSchema,
  spanLinkSchema,
  spanReferenceSchema,
  type FinishedSpan,
  type SpanEvent,
  type SpanReference,
} from "./span.ts";

/** The defaults of OpenTelemetry's SDKs (OTEL_SPAN_EVENT_COUNT_LIMIT, OTEL_SPAN_LINK_COUNT_LIMIT). */
const EVENTS_MAX = 128;
const LINKS_MAX = 128;

/** Maximum size of the events of one instance, in characters. */
const EVENTS_CHARS_MAX = 65_536;

const waitingMessageSchema = z.object({
  side: z.enum(["sent", "received"]),
  /** "" for a message without an id, which is matched with the oldest one of the other side. */
  messageId: z.string(),
  instanceId: z.string(),
  timeNanos: nanosSchema,
  sequence: z.number(),
  fields: spanFieldsSchema,
  context: spanReferenceSchema.optional(),
});

/** One half of a message whose other half has not arrived. */
export type WaitingMessage = z.output<typeof waitingMessageSchema>;

/**
 * The JSON form of {@link OpenInstance}. `start`: `spawned` by an instance_spawn; `unseen` if other events came first;
 * `resumed` after its span was closed by a stop of the gateway.
 */
export const openInstanceSchema = z.object({
  id: z.string(),
  self: spanReferenceSchema,
  name: z.string(),
  service: z.string().optional(),
  start: z.enum(["spawned", "unseen", "resumed"]),
  startNanos: nanosSchema,
  fields: spanFieldsSchema,
  events: z.array(spanEventSchema),
  eventsChars: z.number(),
  droppedEvents: z.number(),
  links: z.array(spanLinkSchema),
  waiting: z.array(waitingMessageSchema),
});

/** An instance that has not ended. */
export type OpenInstance = z.output<typeof openInstanceSchema>;

/** How the span of an instance can end. */
export const END_REASONS = ["terminated", "respawned", "evicted", "stopped"] as const;

type EndReason = (typeof END_REASONS)[number];

/** Creates an instance that starts with the event. */
export function createInstance(
  event: InstanceEvent,
  traceId: string,
  start: OpenInstance["start"],
): OpenInstance {
  const { instanceId: id, timeNanos, service } = event;
  return {
    id,
    self: { traceId, spanId: deriveSpanId("instance", event) },
    name: `instance ${id}`,
    service,
    start,
    startNanos: timeNanos,
    fields: createFields({ instance_id: id }),
    events: [],
    eventsChars: 0,
    droppedEvents: 0,
    links: [],
    waiting: [],
  };
}

/** Adds the fields of the instance_spawn, whenever it arrives, and takes the name and the start from it. */
export function applySpawnFields(
  instance: OpenInstance,
  { fields, timeNanos }: InstanceEvent,
): void {
  mergeFields(instance.fields, fields);
  const name = readText(fields, "role", "instance_name", "name");
  if (name !== undefined) instance.name = `instance ${name}`;
  if (timeNanos < instance.startNanos) instance.startNanos = timeNanos;
}

/** Adds an event; beyond the limits the oldest events are dropped, as in OpenTelemetry's SDK. */
export function addEvent(instance: OpenInstance, event: InstanceEvent): void {
  const added = toSpanEvent(event, instance.self);
  instance.events.push(added);
  instance.eventsChars += charsOf(added);
  while (instance.events.length > EVENTS_MAX || instance.eventsChars > EVENTS_CHARS_MAX) {
    instance.eventsChars -= charsOf(instance.events.shift()!);
    instance.droppedEvents++;
  }
}

export function addLink(instance: OpenInstance, to: SpanReference, relation: string): void {
  if (instance.links.length >= LINKS_MAX) return;
  if (instance.links.some((link) => link.to.spanId === to.spanId)) return;
  instance.links.push({ to, relation });
}

export interface InstanceEnd {
  readonly end: EndReason;
  readonly endNanos: bigint;
  readonly failure?: string | undefined;
  readonly sequence: number;
}

/** Returns the span of an instance that has ended. */
export function toFinishedSpan(instance: OpenInstance, ending: InstanceEnd): FinishedSpan {
  const { startNanos, start } = instance;
  return {
    self: instance.self,
    parentSpanId: undefined,
    name: instance.name,
    service: instance.service,
    startNanos,
    endNanos: ending.endNanos > startNanos ? ending.endNanos : startNanos,
    fields: withFields(instance.fields, { "tailgate.start": start, "tailgate.end": ending.end }),
    events: instance.events,
    droppedEvents: instance.droppedEvents,
    links: instance.links,
    failure: ending.failure,
    sequence: ending.sequence,
  };
}

function toSpanEvent(event: InstanceEvent, { traceId }: SpanReference): SpanEvent {
  const { timeNanos, level, context } = event;
  const isElsewhere = context !== undefined && context.traceId !== traceId;
  const fields = createFields({
    severity: level,
    ...(isElsewhere && { trace_id: context.traceId, span_id: context.spanId }),
  });
  mergeFields(fields, event.fields);
  return { name: displayName(event), timeNanos, fields };
}

function charsOf({ name, fields }: SpanEvent): number {
  return name.length + fields.chars;
}
