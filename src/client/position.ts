import type { GapMessage, RecordBatch, Resume, Start } from "../wire/protocol.ts";
import type { LogEntry, MissingRange, StreamEvent } from "./stream-events.ts";

/** What came while there was no connection; nobody can tell which records, or whether there were any. */
export const UNKNOWN: StreamEvent = { type: "gap", gap: { from: 0, to: 0, reason: "unknown" } };

/** So many gaps may come before the batch that they belong to. */
const HELD_GAPS_MAX = 10_000;

/** A message breaks the protocol: the connection is of no use. */
export class ProtocolFault extends Error {}

/** What a page of the history says of a stretch of the journal. */
export interface Stretch {
  readonly to: number;
  readonly entries: readonly LogEntry[];
  readonly gaps: readonly MissingRange[];
}

/**
 * How far a stream is. A gap comes before the batch that it is told with, and holds when that batch has come: so nothing
 * is missed or doubled wherever a connection breaks.
 */
export class Position {
  /** The numbering of the connection. */
  #epoch = "";
  #resume: Resume | undefined;
  #heldGaps: GapMessage[] = [];
  #isForgotten = false;

  constructor(resume?: Resume) {
    this.#resume = resume;
  }

  /** Behind what was handed on; undefined where nothing is known yet. */
  get resume(): Resume | undefined {
    return this.#resume;
  }

  /** A connection begins; what it says of sequences is in that numbering. */
  connect(epoch: string): void {
    this.#epoch = epoch;
    this.#heldGaps = [];
  }

  /** What is known does not lead on: records have come without their sequences. */
  forget(): void {
    this.#resume = undefined;
    this.#isForgotten = true;
  }

  /** Where to begin that is not known by sequence: what was wanted of the past has come once records have. */
  startOf(wanted: Start): Start {
    return this.#isForgotten ? {} : wanted;
  }

  /** What came between the records without sequences and those with them. */
  #unknown(): StreamEvent[] {
    if (!this.#isForgotten) return [];
    this.#isForgotten = false;
    return [UNKNOWN];
  }

  /** Nothing of the past is wanted, or it was handed on in another way. */
  caughtUp(sequence: number): StreamEvent[] {
    const gaps = this.#resume === undefined ? this.#unknown() : this.#holeBefore(sequence + 1);
    if (this.#resume === undefined || sequence > this.#resume.sequence) {
      this.#moveTo(sequence, this.#resume?.durable ?? sequence);
    }
    return gaps;
  }

  /** @throws ProtocolFault */
  takeGap(gap: GapMessage): StreamEvent[] {
    const { from, to, reason } = gap;
    if (!(from <= to)) throw new ProtocolFault("a gap is not a range");
    if (reason === "epoch") return this.reset(from);
    const range: MissingRange = { from, to, reason, ...detailsOf(gap) };
    if (this.#resume && from <= this.#resume.sequence) return [{ type: "gap", gap: range }];
    if (this.#heldGaps.push(gap) > HELD_GAPS_MAX) throw new ProtocolFault("too many gaps");
    return [];
  }

  /** What was handed on from that sequence on is none of the journal's; it goes on there. */
  reset(from: number): StreamEvent[] {
    this.#heldGaps = [];
    if (this.#resume === undefined) return [];
    const { sequence: to, durable = to } = this.#resume;
    if (from > to) {
      this.#moveTo(to, durable);
      return [];
    }
    this.#moveTo(from - 1, from - 1);
    return [{ type: "reset", epoch: this.#epoch, from, to, reason: resetText(from) }];
  }

  /** @throws ProtocolFault */
  takeBatch({ from, to, durable, sequences, envelopes }: RecordBatch): StreamEvent[] {
    const places = sequences ?? Array.from(envelopes, (_, index) => from + index);
    if (!(from <= to) || places.length !== envelopes.length) {
      throw new ProtocolFault("a batch does not say which records it has");
    }
    const entries = envelopes.map((envelope, index) => ({ sequence: places[index]!, envelope }));
    const held = this.#heldGaps.splice(0) as MissingRange[];
    return this.#take(from, { to, entries, gaps: held }, durable);
  }

  /** Takes what follows on the position. */
  takePage(stretch: Stretch): StreamEvent[] {
    const { sequence, durable } = this.#resume!;
    return this.#take(sequence + 1, stretch, durable ?? sequence);
  }

  #take(from: number, { to, entries, gaps }: Stretch, durable: number): StreamEvent[] {
    const next = this.#resume === undefined ? from : this.#resume.sequence + 1;
    if (to < next) return [];
    const events = [...this.#unknown(), ...this.#holeBefore(from)];
    for (const gap of gaps) {
      const { from: first, to: last, reason } = gap;
      if (last < next) continue;
      const rest = { from: Math.max(first, next), to: last, reason, ...detailsOf(gap) };
      events.push({ type: "gap", gap: rest });
    }
    events.push({
      type: "records",
      entries: inOrder(entries, next, to),
      from: Math.max(from, next),
      to,
    });
    this.#moveTo(to, durable);
    return events;
  }

  #holeBefore(from: number): StreamEvent[] {
    if (this.#resume === undefined || from <= this.#resume.sequence + 1) return [];
    const gap = { from: this.#resume.sequence + 1, to: from - 1, reason: "hole" } as const;
    return [{ type: "gap", gap }];
  }

  #moveTo(sequence: number, durable: number): void {
    this.#resume = { epoch: this.#epoch, sequence, durable: Math.min(durable, sequence) };
  }
}

function detailsOf({
  lane,
  text,
}: Pick<MissingRange, "lane" | "text">): Pick<MissingRange, "lane" | "text"> {
  return { ...(lane && { lane }), ...(text && { text }) };
}

/** Those that are between the bounds and rise: what a gateway repeats, or sends out of its place, is not handed on. */
function inOrder(entries: readonly LogEntry[], first: number, last: number): LogEntry[] {
  let next = first;
  return entries.filter(({ sequence }) => {
    if (!(sequence >= next && sequence <= last)) return false;
    next = sequence + 1;
    return true;
  });
}

function resetText(from: number): string {
  if (from <= 1)
    return "The gateway has another journal now; its records come from the first one on.";
  return `The gateway ended uncleanly, and its records from ${from} on had not been stored.`;
}
