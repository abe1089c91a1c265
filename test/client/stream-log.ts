import { vi } from "vitest";
import {
  LogStream,
  type LogEntry,
  type LogStreamOptions,
  type MissingRange,
  type StreamEvent,
  type StreamStatus,
} from "tailgate/client";

type Kind = StreamEvent["type"];
type EventOf<K extends Kind> = Extract<StreamEvent, { type: K }>;

/** A stream whose listener records all events and checks invariants. */
export class StreamLog implements Disposable {
  readonly stream: LogStream;
  readonly events: StreamEvent[] = [];
  readonly entries = new Map<number, LogEntry>();
  readonly gaps: MissingRange[] = [];
  /** Violated invariants. */
  readonly faults: string[] = [];
  #sequence = 0;

  constructor(options: LogStreamOptions) {
    this.stream = new LogStream(options);
    this.stream.listen((event) => this.#take(event));
  }

  #take(event: StreamEvent): void {
    this.events.push(event);
    if (event.type === "gap") this.gaps.push(event.gap);
    if (event.type === "reset") this.#reset(event.from, event.to);
    if (event.type === "records" && event.to > 0) this.#add(event);
  }

  #reset(from: number, to: number): void {
    if (to !== this.#sequence)
      this.faults.push(`A reset of ${from} to ${to}, not ${this.#sequence}`);
    for (const sequence of this.entries.keys()) {
      if (sequence >= from) this.entries.delete(sequence);
    }
    this.#sequence = from - 1;
  }

  #add({ entries, from, to }: EventOf<"records">): void {
    const isNext = this.#sequence === 0 || from === this.#sequence + 1;
    if (!isNext) this.faults.push(`${from} to ${to} behind ${this.#sequence}`);
    for (const entry of entries) {
      const { sequence } = entry;
      if (this.entries.has(sequence)) this.faults.push(`${sequence} twice`);
      if (sequence < from || sequence > to) this.faults.push(`${sequence} in ${from} to ${to}`);
      this.entries.set(sequence, entry);
    }
    this.#sequence = to;
  }

  all<K extends Kind>(type: K): EventOf<K>[] {
    return this.events.filter((event): event is EventOf<K> => event.type === type);
  }

  /** The messages of all records, including those without sequences. */
  get messages(): string[] {
    return this.all("records").flatMap(({ entries }) =>
      entries.map(({ envelope }) => envelope.data.message),
    );
  }

  /** The sequence of connection states, one per change. */
  get states(): StreamStatus["state"][] {
    const states = this.all("status").map(({ status }) => status.state);
    return states.filter((state, index) => state !== states[index - 1]);
  }

  /** Resolves with the first event that matches. */
  async until<K extends Kind>(
    type: K,
    isIt: (event: EventOf<K>) => boolean = () => true,
  ): Promise<EventOf<K>> {
    return vi.waitFor(
      () => {
        const found = this.all(type).findLast(isIt);
        if (found) return found;
        throw new Error(`No such ${type}: ${JSON.stringify(this.events.slice(-5))}`);
      },
      { timeout: 20_000, interval: 5 },
    );
  }

  /** Resolves when the stream is in that state. */
  async is(state: StreamStatus["state"]): Promise<StreamStatus> {
    return vi.waitFor(
      () => {
        const { status } = this.stream;
        if (status.state === state) return status;
        throw new Error(`It is ${JSON.stringify(status)}, not ${state}.`);
      },
      { timeout: 20_000, interval: 5 },
    );
  }

  /** Resolves when the stream has been in that state, even if it has left it. */
  async was(state: StreamStatus["state"]): Promise<StreamStatus> {
    const { status } = await this.until("status", (event) => event.status.state === state);
    return status;
  }

  /** Resolves when the stream has reached that sequence. */
  async at(sequence: number): Promise<void> {
    await vi.waitFor(
      () => {
        const { sequence: reached = 0 } = this.stream.status;
        if (reached < sequence) throw new Error(`It is at ${reached}, not at ${sequence}.`);
      },
      { timeout: 20_000, interval: 5 },
    );
  }

  /** Reconnects at once whenever the stream waits, to speed up tests. */
  get impatient(): this {
    this.stream.listen((event) => {
      if (event.type === "status" && event.status.state === "waiting") {
        setTimeout(() => this.stream.retry(), 20);
      }
    });
    return this;
  }

  [Symbol.dispose](): void {
    this.stream.close();
  }
}
