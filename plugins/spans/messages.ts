import { durationIn, fieldsOf, marked, merge, textIn } from "./fields.ts";
import type { FinishedSpan, SpanLink } from "./finished-span.ts";
import { shownName, type InstanceEvent } from "./instance-event.ts";
import type { OpenInstance } from "./open-instance.ts";
import { spanIdOf, type SpanReference } from "./span-reference.ts";
import type { WaitingMessage } from "./waiting-message.ts";

/** So much of halves of messages waits in one instance; the oldest is then shown without its other half. */
const WAITING_MAX = 64;
const WAITING_CHARS_MAX = 65_536;

/** The names under which orchestrators tell how long an exchange has taken, and their units in nanoseconds. */
const DURATIONS = [
  ["duration_ms", 1e6],
  ["duration_seconds", 1e9],
  ["response_time_ms", 1e6],
  ["response_time_seconds", 1e9],
  ["response_time", 1e9],
] as const;

/** Who else has to do with a message, by the half that names it. */
const OTHER_PARTY = { sent: "to", received: "from" } as const;

/** Undefined for events that are no half of a message. */
export function halfOf(event: InstanceEvent): WaitingMessage | undefined {
  const { isAudit, name, instanceId, timeNanos, sequence, fields, context } = event;
  if (!isAudit || (name !== "message_sent" && name !== "message_received")) return undefined;
  return {
    side: name === "message_sent" ? "sent" : "received",
    messageId: textIn(fields, "message_id") ?? "",
    instanceId,
    timeNanos,
    sequence,
    fields,
    context,
  };
}

/** The other half, taken out of those that wait; it may wait in the instance that this half names. */
export function takeOtherHalf(
  half: WaitingMessage,
  instance: OpenInstance,
  open: ReadonlyMap<string, OpenInstance>,
): { readonly other: WaitingMessage; readonly holder: OpenInstance } | undefined {
  const { side, messageId, fields } = half;
  const wanted = side === "sent" ? "received" : "sent";
  const named = messageId === "" ? undefined : open.get(textIn(fields, OTHER_PARTY[side]) ?? "");
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
  const place = waiting.findIndex((one) => one.side === side && one.messageId === messageId);
  return place < 0 ? undefined : waiting.splice(place, 1)[0];
}

/** Lets it wait; answers the spans of those that have waited for too many others. */
export function wait(instance: OpenInstance, half: WaitingMessage): FinishedSpan[] {
  const { waiting } = instance;
  waiting.push(half);
  const shown: FinishedSpan[] = [];
  while (waiting.length > WAITING_MAX || charsOf(waiting) > WAITING_CHARS_MAX) {
    shown.push(halfSpan(instance, waiting.shift()!));
  }
  return shown;
}

function charsOf(waiting: readonly WaitingMessage[]): number {
  return waiting.reduce((chars, { fields }) => chars + fields.chars, 0);
}

/** A message from its sending to its receiving: a child of the instance that has sent it. */
export function messageSpan(
  one: WaitingMessage,
  other: WaitingMessage,
  owner: OpenInstance,
): FinishedSpan {
  const [sent, received] = one.side === "sent" ? [one, other] : [other, one];
  const fields = fieldsOf({ instance_id: owner.id });
  merge(fields, sent.fields);
  merge(fields, received.fields);
  const later = one.sequence > other.sequence ? one : other;
  return child(owner, "message", later, {
    startNanos: sent.timeNanos,
    endNanos: received.timeNanos,
    fields,
    contexts: [sent.context, received.context],
  });
}

/** One whose other half has not come: without a length, unless it says how long it took. */
export function halfSpan(owner: OpenInstance, half: WaitingMessage): FinishedSpan {
  const { side, timeNanos, fields, context } = half;
  const missing = side === "sent" ? "received" : "sent";
  return child(owner, `message_${side}`, half, {
    startNanos: side === "sent" ? timeNanos : timeNanos - durationIn(fields, DURATIONS),
    endNanos: timeNanos,
    fields: marked(fields, { instance_id: half.instanceId, "tailgate.missing": missing }),
    contexts: [context],
  });
}

/** An exchange from its message's sending, where that waits, else of the length that it tells. */
export function exchangeSpan(owner: OpenInstance, event: InstanceEvent): FinishedSpan {
  const { timeNanos, fields } = event;
  const messageId = textIn(fields, "message_id");
  const sent = messageId === undefined ? undefined : takeWaiting(owner, "sent", messageId);
  const all = fieldsOf({ instance_id: owner.id });
  if (sent !== undefined) merge(all, sent.fields);
  merge(all, fields);
  return child(owner, "message_exchange", event, {
    startNanos: sent?.timeNanos ?? timeNanos - durationIn(fields, DURATIONS),
    endNanos: timeNanos,
    fields: all,
    contexts: [sent?.context, event.context],
  });
}

/** What happened to an instance whose span is closed already: a child of that, without a length. */
export function lateSpan(
  event: InstanceEvent,
  parent: Parent & { readonly id: string },
): FinishedSpan {
  const { timeNanos, fields, level, context } = event;
  return child(parent, shownName(event), event, {
    startNanos: timeNanos,
    endNanos: timeNanos,
    fields: marked(fields, { instance_id: parent.id, severity: level, "tailgate.late": true }),
    contexts: [context],
  });
}

interface Parent {
  readonly self: SpanReference;
  readonly service?: string | undefined;
}

interface Shape extends Pick<FinishedSpan, "startNanos" | "endNanos" | "fields"> {
  /** Where it was logged. */
  readonly contexts: readonly (SpanReference | undefined)[];
}

function child(
  { self, service }: Parent,
  name: string,
  ending: { readonly instanceId: string; readonly sequence: number; readonly timeNanos: bigint },
  { startNanos, endNanos, fields, contexts }: Shape,
): FinishedSpan {
  // Two machines' clocks, or a duration from before 1970: the end is what counts.
  const isOrdered = startNanos >= 0n && startNanos <= endNanos;
  return {
    self: { traceId: self.traceId, spanId: spanIdOf(name, ending) },
    parentSpanId: self.spanId,
    name,
    service,
    startNanos: isOrdered ? startNanos : endNanos,
    endNanos,
    fields,
    links: linksTo(contexts, self),
    events: [],
    droppedEvents: 0,
    failure: undefined,
    sequence: ending.sequence,
  };
}

/** A context of the same trace is no link: Jaeger takes that for a parent, and misses it where nobody sends it. */
function linksTo(contexts: Shape["contexts"], { traceId }: SpanReference): SpanLink[] {
  const others = new Map<string, SpanLink>();
  for (const to of contexts) {
    if (to === undefined || to.traceId === traceId) continue;
    others.set(to.spanId, { to, relation: "logged_in" });
  }
  return [...others.values()];
}
