import { z } from "tailgate/plugin";
import { fieldsOf, fieldsSchema, marked, merge, textIn } from "./fields.ts";
import {
  spanEventSchema,
  spanLinkSchema,
  type FinishedSpan,
  type SpanEvent,
} from "./finished-span.ts";
import { shownName, type InstanceEvent } from "./instance-event.ts";
import { spanIdOf, spanReferenceSchema, type SpanReference } from "./span-reference.ts";
import { waitingMessageSchema } from "./waiting-message.ts";

/** As many as OpenTelemetry's SDKs keep for a span (OTEL_SPAN_EVENT_COUNT_LIMIT, OTEL_SPAN_LINK_COUNT_LIMIT). */
const EVENTS_MAX = 128;
const LINKS_MAX = 128;

/** What the events of one instance may hold, in characters. */
const EVENTS_CHARS_MAX = 65_536;

const nanos = z.string().transform((text) => BigInt(text));

/**
 * An instance whose end has not come, as JSON has it. `start`: its spawning was seen; or something of it was seen before,
 * or without, its spawning; or it goes on after its span was closed at a stop.
 */
export const openInstanceSchema = z.object({
  id: z.string(),
  self: spanReferenceSchema,
  name: z.string(),
  service: z.string().optional(),
  start: z.enum(["spawned", "unseen", "resumed"]),
  startNanos: nanos,
  fields: fieldsSchema,
  events: z.array(spanEventSchema),
  eventsChars: z.number(),
  droppedEvents: z.number(),
  links: z.array(spanLinkSchema),
  waiting: z.array(waitingMessageSchema),
});

export type OpenInstance = z.output<typeof openInstanceSchema>;

/** How an instance's span has ended. */
type End = "terminated" | "respawned" | "evicted" | "stopped";

/** An instance that begins with this event. */
export function openInstance(
  event: InstanceEvent,
  traceId: string,
  start: OpenInstance["start"],
): OpenInstance {
  const { instanceId: id, timeNanos, service } = event;
  return {
    id,
    self: { traceId, spanId: spanIdOf("instance", event) },
    name: `instance ${id}`,
    service,
    start,
    startNanos: timeNanos,
    fields: fieldsOf({ instance_id: id }),
    events: [],
    eventsChars: 0,
    droppedEvents: 0,
    links: [],
    waiting: [],
  };
}

/** What its instance_spawn tells of it, whenever that comes. */
export function describe(instance: OpenInstance, { fields, timeNanos }: InstanceEvent): void {
  merge(instance.fields, fields);
  const name = textIn(fields, "role", "instance_name", "name");
  if (name !== undefined) instance.name = `instance ${name}`;
  if (timeNanos < instance.startNanos) instance.startNanos = timeNanos;
}

/** The oldest events give way to newer ones, as in OpenTelemetry's SDK. */
export function addEvent(instance: OpenInstance, event: InstanceEvent): void {
  const added = spanEventOf(event, instance.self);
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

export interface Ending {
  readonly end: End;
  readonly endNanos: bigint;
  readonly failure?: string | undefined;
  readonly sequence: number;
}

/** Its span, when nothing more is added to it. */
export function finished(instance: OpenInstance, ending: Ending): FinishedSpan {
  const { startNanos, start } = instance;
  return {
    self: instance.self,
    parentSpanId: undefined,
    name: instance.name,
    service: instance.service,
    startNanos,
    endNanos: ending.endNanos > startNanos ? ending.endNanos : startNanos,
    fields: marked(instance.fields, { "tailgate.start": start, "tailgate.end": ending.end }),
    events: instance.events,
    droppedEvents: instance.droppedEvents,
    links: instance.links,
    failure: ending.failure,
    sequence: ending.sequence,
  };
}

function spanEventOf(event: InstanceEvent, { traceId }: SpanReference): SpanEvent {
  const { timeNanos, level, context } = event;
  const isElsewhere = context !== undefined && context.traceId !== traceId;
  const fields = fieldsOf({
    severity: level,
    ...(isElsewhere && { trace_id: context.traceId, span_id: context.spanId }),
  });
  merge(fields, event.fields);
  return { name: shownName(event), timeNanos, fields };
}

function charsOf({ name, fields }: SpanEvent): number {
  return name.length + fields.chars;
}
