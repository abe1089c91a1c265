import { JsonTraceSerializer, ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import type { Host } from "tailgate/plugin";
import type { Destination } from "../otlp/destination.ts";
import { Losses } from "../otlp/losses.ts";
import { post } from "../otlp/request.ts";
import { laterError, verdictOf } from "../otlp/verdict.ts";
import { ReadableSpans, type FinishedSpan } from "./finished-span.ts";

/** A request becomes about so large, in characters of what spans hold; a larger span goes alone. */
const REQUEST_CHARS_MAX = 1 << 20;

/** Sends spans, in order, until they are taken or refused for good. */
export class SpanSender {
  readonly #destination: Destination;
  readonly #readable: ReadableSpans;
  readonly #losses: Losses;
  readonly #countSent: (count: number) => void;
  readonly #countDropped: (count: number, labels: Record<string, string>) => void;

  /** `service`: of all spans; where absent each has its own. */
  constructor(destination: Destination, service: string | undefined, { log, metrics }: Host) {
    this.#destination = destination;
    this.#readable = new ReadableSpans(service);
    this.#losses = new Losses(destination.name, undefined, log, "spans");
    this.#countSent = metrics.counter("sent", "Spans that the other side has taken.");
    this.#countDropped = metrics.counter(
      "dropped",
      "Spans that the other side has not taken, by reason.",
    );
  }

  /**
   * Takes what is settled out of the front of `waiting`.
   * @throws where the other side is to be asked again
   */
  async send(waiting: FinishedSpan[], signal: AbortSignal): Promise<void> {
    try {
      await this.#sendAll(waiting, signal);
    } finally {
      for (const [reason, count] of Object.entries(this.#losses.take())) {
        if (count > 0) this.#countDropped(count, { reason });
      }
    }
  }

  /** What is refused for good is sent in smaller parts, down to the spans that are to blame. */
  async #sendAll(waiting: FinishedSpan[], signal: AbortSignal): Promise<void> {
    for (let countMax = Infinity; waiting.length > 0; countMax *= 2) {
      let count = Math.min(partOf(waiting), countMax);
      while (!(await this.#isSettled(waiting.slice(0, count), signal))) count >>= 1;
      waiting.splice(0, count);
      countMax = count;
    }
  }

  /** False where smaller parts are to be tried. */
  async #isSettled(spans: readonly FinishedSpan[], signal: AbortSignal): Promise<boolean> {
    const verdict = verdictOf(await post(this.#destination, this.#bodyOf(spans), signal));
    if (verdict.kind === "later") throw laterError(this.#destination.name, verdict);
    if (verdict.kind === "taken") {
      const rejected = Math.min(verdict.rejected, spans.length);
      this.#losses.rejected(rejected, verdict.message);
      this.#countSent(spans.length - rejected);
      return true;
    }
    if (spans.length > 1) return false;
    this.#losses.refused(spans[0]!.sequence, verdict.reason);
    return true;
  }

  #bodyOf(spans: readonly FinishedSpan[]): Uint8Array {
    const isJson = this.#destination.protocol === "http/json";
    const serializer = isJson ? JsonTraceSerializer : ProtobufTraceSerializer;
    return serializer.serializeRequest(this.#readable.of(spans))!;
  }
}

/** How many of them go in one request. */
function partOf(spans: readonly FinishedSpan[]): number {
  let chars = 0;
  for (const [index, span] of spans.entries()) {
    chars += charsOf(span);
    if (chars > REQUEST_CHARS_MAX && index > 0) return index;
  }
  return spans.length;
}

/** Names, ids and frames are a few hundred bytes. */
function charsOf({ fields, events }: FinishedSpan): number {
  let chars = 300 + fields.chars;
  for (const event of events) chars += 100 + event.fields.chars;
  return chars;
}
