import { z } from "tailgate/plugin";
import {
  mergeFields,
  readDuration,
  readText,
  spanFieldsSchema,
  type SpanFields,
} from "./fields.ts";
import { readFailure, type InstanceEvent } from "./instance-event.ts";
import {
  addWaiting,
  createExchangeSpan,
  createHalfSpan,
  createLateSpan,
  createMessageSpan,
  takeOtherHalf,
  toWaitingMessage,
} from "./messages.ts";
import {
  addEvent,
  addLink,
  applySpawnFields,
  createInstance,
  openInstanceSchema,
  toFinishedSpan,
  type InstanceEnd,
  type OpenInstance,
  type WaitingMessage,
} from "./open-instance.ts";
import { deriveTraceId, nanosSchema, spanReferenceSchema, type FinishedSpan } from "./span.ts";

const closedInstanceSchema = z.object({
  id: z.string(),
  self: spanReferenceSchema,
  name: z.string(),
  service: z.string().optional(),
  startNanos: nanosSchema,
  endNanos: nanosSchema,
  /** The fields of an instance that may resume; undefined for one that ended. */
  fields: spanFieldsSchema.optional(),
});

/** An instance whose span has ended. */
type ClosedInstance = z.output<typeof closedInstanceSchema>;

const trackerStateSchema = z.object({
  open: z.array(openInstanceSchema),
  closed: z.array(closedInstanceSchema),
  /** Traces of callers that an instance has as its own. */
  taken: z.array(z.string()),
});

/** How many claimed traces are remembered; traces are short-lived, so that old ones do not recur. */
const CLAIMED_TRACES_MAX = 1024;

/**
 * Derives spans from events of instances, in any order and with any of them missing. Each opened instance is closed
 * exactly once, no span ends before it starts, and the parent of a child is always the span of an instance. At most
 * `openMax` instances are open, and as many closed ones are remembered.
 */
export class InstanceTracker {
  readonly #openMax: number;
  readonly #onClosed: (ending: InstanceEnd) => void;
  /** In the order in which they were opened. */
  readonly #open = new Map<string, OpenInstance>();
  readonly #closed = new Map<string, ClosedInstance>();
  readonly #claimedTraces = new Set<string>();

  /** `onClosed` is called at the end of each instance. */
  constructor(openMax: number, onClosed: (ending: InstanceEnd) => void) {
    this.#openMax = openMax;
    this.#onClosed = onClosed;
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** Returns the spans that end with the event. */
  add(event: InstanceEvent): FinishedSpan[] {
    if (event.isAudit && event.name === "instance_spawn") return this.#spawn(event);
    const open = this.#open.get(event.instanceId);
    if (open !== undefined) return this.#addTo(open, event);
    const closed = this.#closed.get(event.instanceId);
    if (closed?.fields !== undefined) return this.#resume(closed, closed.fields, event);
    if (closed !== undefined) return [createLateSpan(event, closed)];
    // System logs mention instances, but do not open them.
    if (!event.isAudit) return [];
    const { instance, evicted } = this.#openNew(event, "unseen");
    return [...evicted, ...this.#addTo(instance, event)];
  }

  /** Closes all open instances. They resume with their next event. */
  stop(endNanos: bigint, sequence: number): FinishedSpan[] {
    return [...this.#open.values()].flatMap((instance) =>
      this.#close(instance, { end: "stopped", endNanos, sequence }),
    );
  }

  /** Returns the state as JSON, for {@link restore}. */
  serialize(): string {
    const state = {
      open: [...this.#open.values()],
      closed: [...this.#closed.values()],
      taken: [...this.#claimedTraces],
    };
    return JSON.stringify(state, (_, value: unknown) => {
      if (typeof value === "bigint") return String(value);
      return value instanceof Map ? [...value] : value;
    });
  }

  /** @throws Error if the state is not one of {@link serialize}. */
  restore(state: unknown): void {
    const { open, closed, taken } = trackerStateSchema.parse(state);
    for (const instance of open) this.#open.set(instance.id, instance);
    for (const instance of closed) this.#closed.set(instance.id, instance);
    for (const traceId of taken) this.#claimedTraces.add(traceId);
  }

  #spawn(event: InstanceEvent): FinishedSpan[] {
    const open = this.#open.get(event.instanceId);
    if (open?.start === "unseen") {
      open.start = "spawned";
      this.#applySpawn(open, event);
      return [];
    }
    if (open !== undefined && event.timeNanos <= open.startNanos) {
      // The same time means a duplicate, an earlier one a previous life of the instance.
      if (event.timeNanos < open.startNanos) addEvent(open, event);
      return [];
    }
    const remembered = this.#closed.get(event.instanceId);
    if (remembered !== undefined && isSameLife(remembered, event))
      return [createLateSpan(event, remembered)];
    const { sequence, timeNanos: endNanos } = event;
    const before = open ? this.#close(open, { end: "respawned", endNanos, sequence }) : [];
    const { instance, evicted } = this.#openNew(event, "spawned");
    this.#applySpawn(instance, event);
    return [...before, ...evicted];
  }

  #applySpawn(instance: OpenInstance, event: InstanceEvent): void {
    applySpawnFields(instance, event);
    const { context } = event;
    // Jaeger treats a link into the same trace as a parent, and reports it missing if nobody sends it.
    if (context !== undefined && context.traceId !== instance.self.traceId) {
      addLink(instance, context, "spawned_in");
    }
    this.#linkParent(instance);
  }

  /** Opens the instance again, in the same trace, after the span that the stop of the gateway closed. */
  #resume(closed: ClosedInstance, fields: SpanFields, event: InstanceEvent): FinishedSpan[] {
    const instance = createInstance(event, closed.self.traceId, "resumed");
    instance.startNanos = closed.endNanos;
    instance.name = closed.name;
    instance.service = closed.service;
    mergeFields(instance.fields, fields);
    addLink(instance, closed.self, "goes_on_from");
    return [...this.#insert(instance, event), ...this.#addTo(instance, event)];
  }

  #openNew(
    event: InstanceEvent,
    start: OpenInstance["start"],
  ): { instance: OpenInstance; evicted: FinishedSpan[] } {
    const instance = createInstance(event, this.#claimTraceId(event), start);
    return { instance, evicted: this.#insert(instance, event) };
  }

  /** Adds an open instance; at capacity the oldest one is evicted. */
  #insert(
    instance: OpenInstance,
    { sequence, timeNanos: endNanos }: InstanceEvent,
  ): FinishedSpan[] {
    const evicted: FinishedSpan[] = [];
    for (const oldest of this.#open.values()) {
      if (this.#open.size < this.#openMax) break;
      const closed = this.#close(oldest, { end: "evicted", endNanos, sequence });
      for (const span of closed) evicted.push(span);
    }
    this.#closed.delete(instance.id);
    this.#open.set(instance.id, instance);
    return evicted;
  }

  #addTo(instance: OpenInstance, event: InstanceEvent): FinishedSpan[] {
    const half = toWaitingMessage(event);
    if (half !== undefined) return this.#addHalf(instance, half);
    if (event.isAudit && event.name === "message_exchange")
      return [createExchangeSpan(instance, event)];
    if (event.isAudit && event.name === "instance_terminate")
      return this.#terminate(instance, event);
    addEvent(instance, event);
    return [];
  }

  #addHalf(instance: OpenInstance, half: WaitingMessage): FinishedSpan[] {
    const found = takeOtherHalf(half, instance, this.#open);
    if (found === undefined) return addWaiting(instance, half);
    const { other, holder } = found;
    return [createMessageSpan(half, other, half.side === "sent" ? instance : holder)];
  }

  #terminate(instance: OpenInstance, event: InstanceEvent): FinishedSpan[] {
    const { sequence, timeNanos: endNanos } = event;
    mergeFields(instance.fields, event.fields);
    if (instance.start === "unseen") applyUptime(instance, endNanos);
    return this.#close(instance, {
      end: "terminated",
      endNanos,
      failure: readFailure(event),
      sequence,
    });
  }

  #close(instance: OpenInstance, ending: InstanceEnd): FinishedSpan[] {
    const { id, self, name, service } = instance;
    this.#linkParent(instance);
    const halves = instance.waiting.map((half) => createHalfSpan(instance, half));
    const span = toFinishedSpan(instance, ending);
    this.#open.delete(id);
    const fields = ending.end === "stopped" ? instance.fields : undefined;
    const { startNanos, endNanos } = span;
    this.#remember({ id, self, name, service, startNanos, endNanos, fields });
    this.#onClosed(ending);
    return [...halves, span];
  }

  #remember(closed: ClosedInstance): void {
    this.#closed.delete(closed.id);
    this.#closed.set(closed.id, closed);
    const [oldest] = this.#closed.keys();
    if (this.#closed.size > this.#openMax) this.#closed.delete(oldest!);
  }

  /** Links the parent, which may be opened after its child. */
  #linkParent(instance: OpenInstance): void {
    const id = readText(instance.fields, "parent_instance_id", "parent_id", "parent");
    if (id === undefined || id === instance.id) return;
    // The first parent stays, even if another instance has its id by now.
    if (instance.links.some(({ relation }) => relation === "parent")) return;
    const parent = this.#open.get(id) ?? this.#closed.get(id);
    if (parent !== undefined) addLink(instance, parent.self, "parent");
  }

  /**
   * Returns the trace of an instance: the one in which its first event was logged, so that its log records lead to it,
   * unless another instance has claimed that. Each instance has its own; otherwise a whole run would be one trace.
   */
  #claimTraceId(event: InstanceEvent): string {
    const traceId = event.context?.traceId;
    if (traceId === undefined || this.#claimedTraces.has(traceId)) return deriveTraceId(event);
    this.#claimedTraces.add(traceId);
    const [oldest] = this.#claimedTraces;
    if (this.#claimedTraces.size > CLAIMED_TRACES_MAX) this.#claimedTraces.delete(oldest!);
    return traceId;
  }
}

/** True if an instance_spawn belongs to that life of the instance, not to a new one with the same id. */
function isSameLife(
  { startNanos, endNanos }: ClosedInstance,
  { timeNanos }: InstanceEvent,
): boolean {
  return timeNanos < endNanos || timeNanos === startNanos;
}

/** Moves the start of an instance without an instance_spawn back by the uptime that its end reports. */
function applyUptime(instance: OpenInstance, endNanos: bigint): void {
  const uptimeNanos = readDuration(instance.fields, [["uptime_seconds", 1e9]]);
  const startNanos = endNanos - uptimeNanos;
  if (startNanos >= 0n && startNanos < instance.startNanos) instance.startNanos = startNanos;
}
