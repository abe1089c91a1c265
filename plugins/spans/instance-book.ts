import { z } from "tailgate/plugin";
import { failureOf } from "./failure.ts";
import { durationIn, fieldsSchema, merge, textIn, type Fields } from "./fields.ts";
import type { FinishedSpan } from "./finished-span.ts";
import type { InstanceEvent } from "./instance-event.ts";
import {
  exchangeSpan,
  halfOf,
  halfSpan,
  lateSpan,
  messageSpan,
  takeOtherHalf,
  wait,
} from "./messages.ts";
import {
  addEvent,
  addLink,
  describe,
  finished,
  openInstance,
  openInstanceSchema,
  type Ending,
  type OpenInstance,
} from "./open-instance.ts";
import { spanReferenceSchema, traceIdOf } from "./span-reference.ts";
import type { WaitingMessage } from "./waiting-message.ts";

/** An instance whose span has been handed out, as JSON has it. */
const closedInstanceSchema = z.object({
  id: z.string(),
  self: spanReferenceSchema,
  name: z.string(),
  service: z.string().optional(),
  startNanos: z.string().transform((text) => BigInt(text)),
  endNanos: z.string().transform((text) => BigInt(text)),
  /** What is told of it when it goes on; undefined where it does not. */
  fields: fieldsSchema.optional(),
});

type ClosedInstance = z.output<typeof closedInstanceSchema>;

const bookSchema = z.object({
  open: z.array(openInstanceSchema),
  closed: z.array(closedInstanceSchema),
  /** Traces of others that an instance has as its own. */
  taken: z.array(z.string()),
});

/** So many traces are known as taken; a trace is of a moment, so that old ones do not come again. */
const TAKEN_MAX = 1024;

/**
 * Makes spans of what is told of instances, in whatever order and with whatever missing: each instance that is opened
 * is closed once, ends never before it starts, and a child's parent is the span of an instance. It holds `openMax` open
 * instances, and remembers as many closed ones.
 */
export class InstanceBook {
  readonly #openMax: number;
  readonly #closed: (ending: Ending) => void;
  /** Those that were opened first come first. */
  readonly #open = new Map<string, OpenInstance>();
  readonly #remembered = new Map<string, ClosedInstance>();
  readonly #taken = new Set<string>();

  /** `closed` is told of each instance's end. */
  constructor(openMax: number, closed: (ending: Ending) => void) {
    this.#openMax = openMax;
    this.#closed = closed;
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** Answers the spans that end with the event. */
  take(event: InstanceEvent): FinishedSpan[] {
    if (event.isAudit && event.name === "instance_spawn") return this.#spawn(event);
    const open = this.#open.get(event.instanceId);
    if (open !== undefined) return this.#add(open, event);
    const closed = this.#remembered.get(event.instanceId);
    if (closed?.fields !== undefined) return this.#goOn(closed, closed.fields, event);
    if (closed !== undefined) return [lateSpan(event, closed)];
    // Lines of a log tell of instances, but do not begin them.
    if (!event.isAudit) return [];
    const { instance, evicted } = this.#begin(event, "unseen");
    return [...evicted, ...this.#add(instance, event)];
  }

  /** Closes all that are open; they go on where something more is told of them. */
  stop(endNanos: bigint, sequence: number): FinishedSpan[] {
    return [...this.#open.values()].flatMap((instance) =>
      this.#close(instance, { end: "stopped", endNanos, sequence }),
    );
  }

  /** All of it as JSON, for {@link restore}. */
  toText(): string {
    const book = {
      open: [...this.#open.values()],
      closed: [...this.#remembered.values()],
      taken: [...this.#taken],
    };
    return JSON.stringify(book, (_, value: unknown) => {
      if (typeof value === "bigint") return String(value);
      return value instanceof Map ? [...value] : value;
    });
  }

  /** @throws where it is not what {@link toText} tells. */
  restore(book: unknown): void {
    const { open, closed, taken } = bookSchema.parse(book);
    for (const instance of open) this.#open.set(instance.id, instance);
    for (const instance of closed) this.#remembered.set(instance.id, instance);
    for (const traceId of taken) this.#taken.add(traceId);
  }

  #spawn(event: InstanceEvent): FinishedSpan[] {
    const open = this.#open.get(event.instanceId);
    if (open?.start === "unseen") {
      open.start = "spawned";
      this.#introduce(open, event);
      return [];
    }
    if (open !== undefined && event.timeNanos <= open.startNanos) {
      // With the same time it was sent again, else it is of a life before this one.
      if (event.timeNanos < open.startNanos) addEvent(open, event);
      return [];
    }
    const remembered = this.#remembered.get(event.instanceId);
    if (remembered !== undefined && isOf(remembered, event)) return [lateSpan(event, remembered)];
    const { sequence, timeNanos: endNanos } = event;
    const before = open ? this.#close(open, { end: "respawned", endNanos, sequence }) : [];
    const { instance, evicted } = this.#begin(event, "spawned");
    this.#introduce(instance, event);
    return [...before, ...evicted];
  }

  #introduce(instance: OpenInstance, event: InstanceEvent): void {
    describe(instance, event);
    const { context } = event;
    // Jaeger would take a link into the same trace for a parent, and miss it where nobody sends it.
    if (context !== undefined && context.traceId !== instance.self.traceId) {
      addLink(instance, context, "spawned_in");
    }
    this.#linkParent(instance);
  }

  /** In the same trace, behind the span that was closed at a stop. */
  #goOn(closed: ClosedInstance, fields: Fields, event: InstanceEvent): FinishedSpan[] {
    const instance = openInstance(event, closed.self.traceId, "resumed");
    instance.startNanos = closed.endNanos;
    instance.name = closed.name;
    instance.service = closed.service;
    merge(instance.fields, fields);
    addLink(instance, closed.self, "goes_on_from");
    return [...this.#enter(instance, event), ...this.#add(instance, event)];
  }

  #begin(
    event: InstanceEvent,
    start: OpenInstance["start"],
  ): { instance: OpenInstance; evicted: FinishedSpan[] } {
    const instance = openInstance(event, this.#traceIdFor(event), start);
    return { instance, evicted: this.#enter(instance, event) };
  }

  /** Makes room where there is none: the one that was opened first is closed. */
  #enter(instance: OpenInstance, { sequence, timeNanos: endNanos }: InstanceEvent): FinishedSpan[] {
    const evicted: FinishedSpan[] = [];
    for (const oldest of this.#open.values()) {
      if (this.#open.size < this.#openMax) break;
      const closed = this.#close(oldest, { end: "evicted", endNanos, sequence });
      for (const span of closed) evicted.push(span);
    }
    this.#remembered.delete(instance.id);
    this.#open.set(instance.id, instance);
    return evicted;
  }

  #add(instance: OpenInstance, event: InstanceEvent): FinishedSpan[] {
    const half = halfOf(event);
    if (half !== undefined) return this.#addHalf(instance, half);
    if (event.isAudit && event.name === "message_exchange") return [exchangeSpan(instance, event)];
    if (event.isAudit && event.name === "instance_terminate")
      return this.#terminate(instance, event);
    addEvent(instance, event);
    return [];
  }

  #addHalf(instance: OpenInstance, half: WaitingMessage): FinishedSpan[] {
    const found = takeOtherHalf(half, instance, this.#open);
    if (found === undefined) return wait(instance, half);
    const { other, holder } = found;
    return [messageSpan(half, other, half.side === "sent" ? instance : holder)];
  }

  #terminate(instance: OpenInstance, event: InstanceEvent): FinishedSpan[] {
    const { sequence, timeNanos: endNanos } = event;
    merge(instance.fields, event.fields);
    if (instance.start === "unseen") beginBefore(instance, endNanos);
    return this.#close(instance, {
      end: "terminated",
      endNanos,
      failure: failureOf(event),
      sequence,
    });
  }

  #close(instance: OpenInstance, ending: Ending): FinishedSpan[] {
    const { id, self, name, service } = instance;
    this.#linkParent(instance);
    const halves = instance.waiting.map((half) => halfSpan(instance, half));
    const span = finished(instance, ending);
    this.#open.delete(id);
    const fields = ending.end === "stopped" ? instance.fields : undefined;
    const { startNanos, endNanos } = span;
    this.#remember({ id, self, name, service, startNanos, endNanos, fields });
    this.#closed(ending);
    return [...halves, span];
  }

  #remember(closed: ClosedInstance): void {
    this.#remembered.delete(closed.id);
    this.#remembered.set(closed.id, closed);
    const [oldest] = this.#remembered.keys();
    if (this.#remembered.size > this.#openMax) this.#remembered.delete(oldest!);
  }

  /** The parent may be told of after its child. */
  #linkParent(instance: OpenInstance): void {
    const id = textIn(instance.fields, "parent_instance_id", "parent_id", "parent");
    if (id === undefined || id === instance.id) return;
    // The one that it had, also where that id has another instance by now.
    if (instance.links.some(({ relation }) => relation === "parent")) return;
    const parent = this.#open.get(id) ?? this.#remembered.get(id);
    if (parent !== undefined) addLink(instance, parent.self, "parent");
  }

  /**
   * An instance has a trace of its own. It is the one in which its first event was logged, so that log lines lead to
   * it, unless another instance has that: then all instances of a run would be in one.
   */
  #traceIdFor(event: InstanceEvent): string {
    const traceId = event.context?.traceId;
    if (traceId === undefined || this.#taken.has(traceId)) return traceIdOf(event);
    this.#taken.add(traceId);
    const [oldest] = this.#taken;
    if (this.#taken.size > TAKEN_MAX) this.#taken.delete(oldest!);
    return traceId;
  }
}

/** Whether an instance_spawn is of that life, and not of a new one with the same id. */
function isOf({ startNanos, endNanos }: ClosedInstance, { timeNanos }: InstanceEvent): boolean {
  return timeNanos < endNanos || timeNanos === startNanos;
}

/** For one whose spawning was not seen: its end may tell how long it has been there. */
function beginBefore(instance: OpenInstance, endNanos: bigint): void {
  const uptimeNanos = durationIn(instance.fields, [["uptime_seconds", 1e9]]);
  const startNanos = endNanos - uptimeNanos;
  if (startNanos >= 0n && startNanos < instance.startNanos) instance.startNanos = startNanos;
}
