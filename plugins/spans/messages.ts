import { createFields, mergeFields, readDuration, readText, withFields } from "./fields.ts";
import { displayName, type InstanceEvent } from "./instance-event.ts";
import type { OpenInstance, WaitingMessage } from "./open-instance.ts";
import { deriveSpanId, type FinishedSpan, type SpanLink, type SpanReference } from "./span.ts";

/** Limits of the halves that wait in one instance; beyond them the oldest becomes a span without its other half. */
const WAITING_MAX = 64;
const WAITING_CHARS_MAX = 65_536;

/** Fields in which orchestrators log the duration of an exchange, with their units in nanoseconds. */
const DURATIONS = [
  ["duration_ms", 1e6],
  ["duration_seconds", 1e9],
  ["response_time_ms", 1e6],
  ["response_time_seconds", 1e9],
  ["response_time", 1e9],
] as const;

/** The field of each half that names the other instance. */
const OTHER_PARTY = { sent: "to", received: "from" } as const;

/** Returns the event as half a message, or undefined if it is none. */
export function toWaitingMessage(event: InstanceEvent): WaitingMessage | undefined {
  const { isAudit, name, instanceId, timeNanos, sequence, fields, context } = event;
  if (!isAudit || (name !== "message_sent" && name !== "message_received")) return undefined;
  return {
    side: name === "message_sent" ? "sent" : "received",
    messageId: readText(fields, "message_id") ?? "",
    instanceId,
    timeNanos,
    sequence,
    fields,
    context,
  };
}

/** Removes and returns the other half, which may wait in the instance that this half names. */
export function takeOtherHalf(
  half: WaitingMessage,
  instance: OpenInstance,
  open: ReadonlyMap<string, OpenInstance>,
): { readonly other: WaitingMessage; readonly holder: OpenInstance } | undefined {
  const { side, messageId, fields } = half;
  const wanted = side === "sent" ? "received" : "sent";
  const named = messageId === "" ? undefined : open.get(readText(fields, OTHER_PARTY[side]) ?? "");
  for (const holder of [instance, named]) {
    const other = holder && takeWaiting(holder, wanted, messageId);
    if (other !== undefined) return { other, holder: holder! };
  }
  return undefined;
}

function takeWaiting(
  { waiting }: OpenInstance,
  side: WaitingMessage["side"],
  messageId: string,
): WaitingMessage | undefined {
  const at = waiting.findIndex((one) => one.side === side && one.messageId === messageId);
  return at < 0 ? undefined : waiting.splice(at, 1)[0];
}

/** Adds a waiting half; returns the spans of those that exceed the limits. */
export function addWaiting(instance: OpenInstance, half: WaitingMessage): FinishedSpan[] {
  const { waiting } = instance;
  waiting.push(half);
  const evicted: FinishedSpan[] = [];
  while (waiting.length > WAITING_MAX || charsOf(waiting) > WAITING_CHARS_MAX) {
    evicted.push(createHalfSpan(instance, waiting.shift()!));
  }
  return evicted;
}

function charsOf(waiting: readonly WaitingMessage[]): number {
  return waiting.reduce((chars, { fields }) => chars + fields.chars, 0);
}

/** Returns the span of a message from sending to receiving, a child of the sender's span. */
export function createMessageSpan(
  one: WaitingMessage,
  other: WaitingMessage,
  owner: OpenInstance,
): FinishedSpan {
  const [sent, received] = one.side === "sent" ? [one, other] : [other, one];
  const fields = createFields({ instance_id: owner.id });
  mergeFields(fields, sent.fields);
  mergeFields(fields, received.fields);
  const later = one.sequence > other.sequence ? one : other;
  return createChild(owner, "message", later, {
    startNanos: sent.timeNanos,
    endNanos: received.timeNanos,
    fields,
    contexts: [sent.context, received.context],
  });
}

/** Returns the span of half a message: of no duration, unless a field has one. */
export function createHalfSpan(owner: OpenInstance, half: WaitingMessage): FinishedSpan {
  const { side, timeNanos, fields, context } = half;
  const missing = side === "sent" ? "received" : "sent";
  return createChild(owner, `message_${side}`, half, {
    startNanos: side === "sent" ? timeNanos : timeNanos - readDuration(fields, DURATIONS),
    endNanos: timeNanos,
    fields: withFields(fields, { instance_id: half.instanceId, "tailgate.missing": missing }),
    contexts: [context],
  });
}

/** Returns the span of an exchange: from the sending of its message if that waits, else of the duration in its fields. */
export function createExchangeSpan(owner: OpenInstance, event: InstanceEvent): FinishedSpan {
  const { timeNanos, fields } = event;
  const messageId = readText(fields, "message_id");
  const sent = messageId === undefined ? undefined : takeWaiting(owner, "sent", messageId);
  const all = createFields({ instance_id: owner.id });
  if (sent !== undefined) mergeFields(all, sent.fields);
  mergeFields(all, fields);
  return createChild(owner, "message_exchange", event, {
    startNanos: sent?.timeNanos ?? timeNanos - readDuration(fields, DURATIONS),
    endNanos: timeNanos,
    fields: all,
    contexts: [sent?.context, event.context],
  });
}

/** Returns a span of no duration for an event after its instance's span ended, a child of that span. */
export function createLateSpan(
  event: InstanceEvent,
  parent: ParentSpan & { readonly id: string },
): FinishedSpan {
  const { timeNanos, fields, level, context } = event;
  return createChild(parent, displayName(event), event, {
    startNanos: timeNanos,
    endNanos: timeNanos,
    fields: withFields(fields, { instance_id: parent.id, severity: level, "tailgate.late": true }),
    contexts: [context],
  });
}

interface ParentSpan {
  readonly self: SpanReference;
  readonly service?: string | undefined;
}

interface ChildSpan extends Pick<FinishedSpan, "startNanos" | "endNanos" | "fields"> {
  /** The spans in which the records were logged. */
  readonly contexts: readonly (SpanReference | undefined)[];
}

function createChild(
  { self, service }: ParentSpan,
  name: string,
  ending: { readonly instanceId: string; readonly sequence: number; readonly timeNanos: bigint },
  { startNanos, endNanos, fields, contexts }: ChildSpan,
): FinishedSpan {
  // Clocks of two machines may differ, and a duration may reach back before 1970: the end is what is trusted.
  const isOrdered = startNanos >= 0n && startNanos <= endNanos;
  return {
    self: { traceId: self.traceId, spanId: deriveSpanId(name, ending) },
    parentSpanId: self.spanId,
    name,
    service,
    startNanos: isOrdered ? startNanos : endNanos,
    endNanos,
    fields,
    links: createLinks(contexts, self),
    events: [],
    droppedEvents: 0,
    failure: undefined,
    sequence: ending.sequence,
  };
}

/** Skips contexts of the same trace: Jaeger treats such a link as a parent, and reports it missing if nobody sends it. */
function createLinks(contexts: ChildSpan["contexts"], { traceId }: SpanReference): SpanLink[] {
  const others = new Map<string, SpanLink>();
  for (const to of contexts) {
    if (to === undefined || to.traceId === traceId) continue;
    others.set(to.spanId, { to, relation: "logged_in" });
  }
  return [...others.values()];
}
