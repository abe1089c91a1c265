import type { Batch, HostJournal } from "tailgate/plugin";
import type { Chunk, Encoder } from "./encoders.ts";
import type { Matcher, MatchWaiter, Selector } from "./matcher.ts";

/** The encoded form of some records for clients with the same protocol and position. */
interface SharedChunks {
  readonly encoder: Encoder;
  readonly from: number;
  readonly isFiltered: boolean;
  readonly chunks: readonly Chunk[];
}

/**
 * Reads, matches and encodes records once for all clients that are served in the same turn of the event loop: clients
 * with the same position, filter and protocol get the same bytes. Must not be used beyond that turn, in which the
 * journal does not change.
 */
export class SharedFrames {
  /** The batch that the exporter was given; undefined if clients are served for another reason. */
  readonly delivered: Batch | undefined;
  /** The bounds of the delivered batch, and whether it has every sequence between them. */
  readonly firstSequence: number = 0;
  readonly lastSequence: number = 0;
  readonly isContiguous: boolean = false;
  readonly #journal: HostJournal;
  readonly #matcher: Matcher;
  readonly #runs = new Map<number, Batch | undefined>();
  /** By run and filter; undefined if a match exceeds the time budget of this turn. */
  readonly #matches = new Map<Batch, Map<string, Batch | undefined>>();
  /** By the records that were encoded: a selection of one run, or all of it. */
  readonly #chunks = new Map<Batch, SharedChunks[]>();

  /** @param delivered not empty */
  constructor(journal: HostJournal, matcher: Matcher, delivered?: Batch) {
    this.#journal = journal;
    this.#matcher = matcher;
    this.delivered = delivered;
    if (delivered === undefined) return;
    const { length } = delivered;
    this.firstSequence = delivered.sequence(0);
    this.lastSequence = delivered.sequence(length - 1);
    this.isContiguous = this.lastSequence - this.firstSequence === length - 1;
  }

  /** Returns the longest run of records in memory that starts with `sequence`. */
  runFrom(sequence: number): Batch | undefined {
    if (!this.#runs.has(sequence)) this.#runs.set(sequence, this.#journal.readFrom(sequence));
    return this.#runs.get(sequence);
  }

  /** Returns the records of a run that match; undefined if matching them would exceed the time budget of this turn. */
  matchNow(run: Batch, selector: Selector): Batch | undefined {
    const { key } = selector;
    if (key === "") return run;
    const matches = this.#matchesOf(run);
    if (!matches.has(key)) matches.set(key, this.#matcher.matchNow(run, selector));
    return matches.get(key);
  }

  /** Returns the records of a run that match; undefined if the match is deferred: the waiter is then called when it is done. */
  match(run: Batch, selector: Selector, waiter: MatchWaiter): Batch | undefined {
    const { key } = selector;
    if (key === "") return run;
    const matches = this.#matchesOf(run);
    const records = matches.get(key) ?? this.#matcher.match(run, selector, waiter);
    if (records) matches.set(key, records);
    return records;
  }

  #matchesOf(run: Batch): Map<string, Batch | undefined> {
    let matches = this.#matches.get(run);
    if (matches === undefined) this.#matches.set(run, (matches = new Map()));
    return matches;
  }

  /** Encodes the records that match of a run, for clients whose last message ends before `from`. */
  encode(
    encoder: Encoder,
    {
      run,
      records,
      from,
      isFiltered,
    }: { run: Batch; records: Batch; from: number; isFiltered: boolean },
  ): readonly Chunk[] {
    let shared = this.#chunks.get(records);
    if (shared === undefined) this.#chunks.set(records, (shared = []));
    for (const known of shared) {
      const isSame =
        known.encoder === encoder && known.from === from && known.isFiltered === isFiltered;
      if (isSame) return known.chunks;
    }
    const to = run.sequence(run.length - 1);
    const { durable } = this.#journal;
    const chunks = encoder.encode({ from, to, records, isFiltered, gaps: [], durable });
    shared.push({ encoder, from, isFiltered, chunks });
    return chunks;
  }
}
