import type { GapMessage, ServerMessage } from "tailgate/plugin";
import type { Envelope } from "tailgate/plugin";

interface Resume {
  readonly epoch: string;
  readonly sequence: number;
  readonly durable: number;
}

/**
 * What a client has received by the README's rules, across all of its connections. Throws if a
 * message breaks a rule that holds for every stream.
 */
export class Ledger {
  readonly envelopes = new Map<number, Envelope>();
  /** The gaps in effect, in the order reported. */
  readonly gaps: GapMessage[] = [];
  /** How many records arrived more than once. */
  duplicates = 0;
  resume: Resume | undefined;
  #epoch: string | undefined;
  #held: GapMessage[] = [];
  #isFirst = true;

  /** Starts a new connection. */
  connect(): void {
    this.#epoch = undefined;
    this.#held = [];
    this.#isFirst = true;
  }

  apply(message: ServerMessage): void {
    if ((this.#epoch === undefined) !== (message.type === "hello")) {
      throw new Error(`Not the first message, or a second one: ${JSON.stringify(message)}`);
    }
    if (message.type === "hello") this.#epoch = message.epoch;
    else if (message.type === "gap") this.#takeGap(message);
    else if (message.type === "batch") this.#takeBatch(message);
    else if (message.type === "caught_up") this.#takeCaughtUp(message.sequence);
  }

  #takeCaughtUp(sequence: number): void {
    if (this.#isFirst) this.#moveTo(sequence, sequence);
    else if (sequence !== this.resume!.sequence) throw new Error(`Caught up at ${sequence}.`);
  }

  #takeGap(gap: GapMessage): void {
    if (gap.to < gap.from) throw new Error(`An empty gap: ${JSON.stringify(gap)}`);
    if (gap.reason === "epoch") {
      this.gaps.push(gap);
      for (const sequence of this.envelopes.keys()) {
        if (sequence >= gap.from) this.envelopes.delete(sequence);
      }
      this.#moveTo(gap.from - 1, gap.from - 1);
    } else if (gap.from <= (this.resume?.sequence ?? 0)) {
      this.gaps.push(gap);
    } else {
      this.#held.push(gap);
    }
  }

  #takeBatch(batch: Extract<ServerMessage, { type: "batch" }>): void {
    const { from, to, envelopes, durable } = batch;
    const text = JSON.stringify({ ...batch, envelopes: envelopes.length });
    const places = to - from + 1;
    const isExpected = this.#isFirst || from === this.resume!.sequence + 1;
    if (!isExpected) throw new Error(`It goes on elsewhere than at ${from}: ${text}`);
    const isComplete = envelopes.length === 0 || envelopes.length === places;
    if (isComplete === (batch.sequences !== undefined)) {
      throw new Error(`Sequences where none are needed, or none where they are: ${text}`);
    }
    const sequences = batch.sequences ?? envelopes.map((_, index) => from + index);
    if (sequences.length !== envelopes.length) throw new Error(`Not one for each: ${text}`);
    for (const [index, sequence] of sequences.entries()) {
      if (sequence < (sequences[index - 1] ?? from - 1) + 1 || sequence > to) {
        throw new Error(`A sequence out of place: ${text}`);
      }
      if (this.envelopes.has(sequence)) this.duplicates++;
      this.envelopes.set(sequence, envelopes[index]!);
    }
    for (const gap of this.#held) {
      if (gap.from < from || gap.to > to) {
        throw new Error(`A gap outside of its batch: ${JSON.stringify(gap)} ${text}`);
      }
      this.gaps.push(gap);
    }
    this.#held = [];
    this.#moveTo(to, durable);
  }

  #moveTo(sequence: number, durable: number): void {
    this.#isFirst = false;
    this.resume = { epoch: this.#epoch!, sequence, durable };
  }

  get sequences(): number[] {
    return [...this.envelopes.keys()];
  }

  get messages(): string[] {
    return [...this.envelopes.values()].map(({ data }) => data.message);
  }
}
