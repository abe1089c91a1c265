import type { EnvelopeType } from "../wire/envelope.ts";
import type { GapMessage, BatchMessage, Resume, Start } from "../wire/protocol.ts";
import type { GapReason, LogEntry, MissingRange, StreamEvent } from "./stream-events.ts";

/** Reported after a time without a connection to a gateway without sequences: any records of that time are missing. */
export const UNKNOWN_GAP: StreamEvent = { type: "gap", gap: { from: 0, to: 0, reason: "unknown" } };

/** Gaps that may precede the batch they belong to. */
const PENDING_GAPS_MAX = 10_000;

/** What a page of the history says about a range of the journal, which ends at `to`. */
export interface PageRange {
  readonly to: number;
  readonly entries: readonly LogEntry[];
  readonly gaps: readonly MissingRange[];
}

/** A gap of `tailgate.v1` or of the history, from gateways that send its type under either name. */
export interface ReceivedGap {
  readonly from: number;
  readonly to: number;
  readonly type?: "gap" | EnvelopeType | undefined;
  readonly record_type?: EnvelopeType | undefined;
  readonly lane?: EnvelopeType | undefined;
  readonly reason: GapReason;
  readonly text?: string | undefined;
}

/**
 * The position up to which a stream has delivered records. Gaps precede the batch they belong to and count only once
 * that batch has arrived, so that nothing is lost or duplicated wherever a connection breaks.
 */
export class StreamPosition {
  /** The epoch of the connection's sequences. */
  #epoch = "";
  #resume: Resume | undefined;
  #pendingGaps: MissingRange[] = [];
  #isForgotten = false;

  constructor(resume?: Resume) {
    this.#resume = resume;
  }

  /** The last position that was delivered; undefined before the first. */
  get resume(): Resume | undefined {
    return this.#resume;
  }

  /** Starts a connection, whose sequences are of this epoch. */
  connect(epoch: string): void {
    this.#epoch = epoch;
    this.#pendingGaps = [];
  }

  /** Forgets the position: records without sequences were received since. */
  forget(): void {
    this.#resume = undefined;
    this.#isForgotten = true;
  }

  /** Returns where to start without a position. After records without sequences the start is not repeated. */
  startFrom(start: Start): Start {
    return this.#isForgotten ? {} : start;
  }

  /** The gap between records without sequences and those with them. */
  #unknownGap(): StreamEvent[] {
    if (!this.#isForgotten) return [];
    this.#isForgotten = false;
    return [UNKNOWN_GAP];
  }

  /** Everything up to this sequence has been delivered, or was not requested. */
  caughtUp(sequence: number): StreamEvent[] {
    const gaps = this.#resume === undefined ? this.#unknownGap() : this.#holeBefore(sequence + 1);
    if (this.#resume === undefined || sequence > this.#resume.sequence) {
      this.#moveTo(sequence, this.#resume?.durable ?? sequence);
    }
    return gaps;
  }

  /** @throws Error if the gateway broke the protocol: the connection cannot be used any longer. */
  addGap(message: GapMessage): StreamEvent[] {
    const { from, to, reason } = message;
    if (!(from <= to)) throw new Error("invalid gap");
    if (reason === "epoch") return this.reset(from);
    const gap = parseGap({ ...message, reason });
    if (this.#resume && from <= this.#resume.sequence) return [{ type: "gap", gap }];
    if (this.#pendingGaps.push(gap) > PENDING_GAPS_MAX) throw new Error("too many gaps");
    return [];
  }

  /** Records from this sequence on are no longer in the journal: moves back to before it. */
  reset(from: number): StreamEvent[] {
    this.#pendingGaps = [];
    if (this.#resume === undefined) return [];
    const { sequence: to, durable = to } = this.#resume;
    if (from > to) {
      this.#moveTo(to, durable);
      return [];
    }
    this.#moveTo(from - 1, from - 1);
    return [{ type: "reset", epoch: this.#epoch, from, to, reason: resetText(from) }];
  }

  /**
   * Advances by a batch and its pending gaps. `raw` is the JSON of its envelopes.
   * @throws Error if the gateway broke the protocol: the connection cannot be used any longer.
   */
  advanceByBatch(batch: BatchMessage & { readonly raw?: readonly string[] }): StreamEvent[] {
    const { from, to, durable, envelopes, raw } = batch;
    const sequences = batch.sequences ?? Array.from(envelopes, (_, index) => from + index);
    if (!(from <= to) || sequences.length !== envelopes.length) {
      throw new Error("invalid batch");
    }
    const entries = envelopes.map((envelope, index) => ({
      sequence: sequences[index]!,
      envelope,
      ...(raw && { raw: raw[index]! }),
    }));
    return this.#advance(from, { to, entries, gaps: this.#pendingGaps.splice(0) }, durable);
  }

  /** Advances by a page of the history, which begins after the position. */
  advanceByPage(page: PageRange): StreamEvent[] {
    const { sequence, durable } = this.#resume!;
    return this.#advance(sequence + 1, page, durable ?? sequence);
  }

  #advance(from: number, { to, entries, gaps }: PageRange, durable: number): StreamEvent[] {
    const next = this.#resume === undefined ? from : this.#resume.sequence + 1;
    if (to < next) return [];
    const events = [...this.#unknownGap(), ...this.#holeBefore(from)];
    for (const gap of gaps) {
      if (gap.to < next) continue;
      events.push({ type: "gap", gap: { ...gap, from: Math.max(gap.from, next) } });
    }
    const records = {
      entries: ascendingEntries(entries, next, to),
      from: Math.max(from, next),
      to,
    };
    events.push({ type: "records", ...records });
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

/** Returns a gap as clients get it. */
export function parseGap(gap: ReceivedGap): MissingRange {
  const { from, to, reason, text } = gap;
  const named = gap.record_type ?? gap.lane ?? gap.type;
  const type = named === "gap" ? undefined : named;
  return { from, to, reason, ...(type && { type, lane: type }), ...(text && { text }) };
}

/** Returns the entries within the bounds in ascending order, without those that a gateway repeats or misplaces. */
function ascendingEntries(entries: readonly LogEntry[], first: number, last: number): LogEntry[] {
  let next = first;
  return entries.filter(({ sequence }) => {
    if (!(sequence >= next && sequence <= last)) return false;
    next = sequence + 1;
    return true;
  });
}

function resetText(from: number): string {
  return from <= 1
    ? "The gateway has a new journal."
    : `The gateway crashed, and its records from ${from} on had not been stored.`;
}
