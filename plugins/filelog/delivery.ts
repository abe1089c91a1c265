import { setTimeout as wait } from "node:timers/promises";
import { TailgateError, type HostLogger, type Intake, type LogRecord } from "tailgate/plugin";
import type { LineEvent } from "./event-assembler.ts";
import type { Position, Positions } from "./position.ts";
import type { Source } from "./source.ts";

/** So many records are parsed in one turn of the event loop, and become durable together. */
const RECORDS_MAX = 500;

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 5000;

/** Returns the record of an event of a file; undefined to leave the event out. */
export type ReadEvent = (
  event: LineEvent,
  path: string,
  position: Position,
) => LogRecord | undefined;

export interface Delivered {
  readonly lines: number;
  readonly bytes: number;
  readonly cutBytes: number;
  readonly rejected: number;
}

/** Passes events to the intake, and moves the positions of their files once they are durable. */
export class Delivery {
  readonly #intake: Intake;
  readonly #log: HostLogger;
  readonly #readEvent: ReadEvent;
  readonly #onDelivered: (delivered: Delivered) => void;
  readonly #signal: AbortSignal;
  readonly #positions: Positions;

  constructor(
    intake: Intake,
    log: HostLogger,
    readEvent: ReadEvent,
    positions: Positions,
    onDelivered: (delivered: Delivered) => void,
    signal: AbortSignal,
  ) {
    this.#intake = intake;
    this.#log = log;
    this.#readEvent = readEvent;
    this.#positions = positions;
    this.#onDelivered = onDelivered;
    this.#signal = signal;
  }

  /** Waits until the events are durable. @throws AbortError when the receiver is closed */
  async deliver(source: Source, path: string, events: readonly LineEvent[]): Promise<void> {
    this.#signal.throwIfAborted();
    for (let from = 0; from < events.length; from += RECORDS_MAX) {
      const part = events.slice(from, from + RECORDS_MAX);
      const rejected = await this.#accept(part, path, source.position);
      source.commit(part.at(-1)!.end);
      this.#positions.hasChanges = true;
      this.#onDelivered({
        lines: sum(part, ({ lines }) => lines),
        bytes: sum(part, ({ start, end }) => end - start),
        cutBytes: sum(part, ({ cutBytes }) => cutBytes),
        rejected,
      });
    }
    if (source.settledOffset > source.position.offset) {
      source.commit(source.settledOffset);
      this.#positions.hasChanges = true;
    }
  }

  /** Repeats until the intake has accepted the events; returns how many it has rejected for good. */
  async #accept(events: readonly LineEvent[], path: string, position: Position): Promise<number> {
    for (let delayMs = RETRY_MS_MIN; ; delayMs = Math.min(2 * delayMs, RETRY_MS_MAX)) {
      // Made anew for each attempt: processors may have modified the records.
      const records = events.map((event) => this.#readEvent(event, path, position));
      try {
        const { rejected } = await this.#intake.records(records.filter(isPresent));
        return rejected;
      } catch (error) {
        this.#signal.throwIfAborted();
        const isBusy = TailgateError.is(error) && error.code === "OVERLOADED";
        if (!isBusy) this.#log.error(`${path} waits, because its lines cannot be stored:`, error);
        await this.#wait(delayMs);
      }
    }
  }

  async #wait(delayMs: number): Promise<void> {
    await wait(delayMs, undefined, { signal: this.#signal });
  }
}

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined;
}

function sum(events: readonly LineEvent[], valueOf: (event: LineEvent) => number): number {
  return events.reduce((total, event) => total + valueOf(event), 0);
}
