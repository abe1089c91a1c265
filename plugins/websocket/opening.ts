import type { EnvelopeType, HostJournal, GapMessage } from "tailgate/plugin";
import type { Matcher, Wanted } from "./matcher.ts";

/** So far back it is looked for records that a viewer has and that were not stored. */
const UNCONFIRMED_RECORDS_MAX = 100_000;

/** What a viewer has when it comes back. */
export interface Resume {
  readonly epoch: string;
  readonly sequence: number;
  readonly durable?: number | undefined;
}

/** Where the numbering that the viewer knows ends, and what it has beyond. */
export interface Resumption {
  /** What it has up to this sequence is what the journal has. */
  readonly shared: number;
  readonly gaps: readonly GapMessage[];
}

/** Of an epoch that the journal does not know everything is told anew, from the oldest record on. */
export function resumptionOf(journal: HostJournal, { epoch, sequence }: Resume): Resumption {
  const shared = journal.sharedUpTo(epoch, sequence) ?? 0;
  if (shared >= sequence) return { shared, gaps: [] };
  return { shared, gaps: [{ type: "gap", from: shared + 1, to: sequence, reason: "epoch" }] };
}

/** What was not stored of the records up to `last` that the viewer got before they were durable. */
export async function refusedOf(
  journal: HostJournal,
  { durable, sequence }: Resume,
  last: number,
): Promise<GapMessage[]> {
  const gaps: GapMessage[] = [];
  let next = Math.max(durable ?? sequence, last - UNCONFIRMED_RECORDS_MAX) + 1;
  while (next <= last) {
    const page = await journal.read({ from: next });
    if (page.to < page.from) break;
    for (const { from, to, reason } of page.gaps) {
      if (reason === "not_stored" && from <= last) {
        gaps.push({ type: "gap", from, to: Math.min(to, last), reason });
      }
    }
    next = page.to + 1;
  }
  return gaps;
}

/** What a search for the newest records takes. */
export interface Search {
  readonly journal: HostJournal;
  readonly matcher: Matcher;
  readonly wanted: Wanted;
  /** Where only one type of record is wanted. */
  readonly lane: EnvelopeType | undefined;
  readonly count: number;
  /** The last sequence that counts. */
  readonly last: number;
  /** False once nobody waits for the result any more. */
  isOpen(): boolean;
  /** Resolves when the next step may be taken. */
  turn(): Promise<void>;
}

/** With which sequence the newest `count` wanted records begin; behind the last one where there is none. */
export async function newestStart(search: Search): Promise<number> {
  const { journal, matcher, wanted, lane, count, last } = search;
  let start = last + 1;
  let missing = count;
  let from = last;
  while (missing > 0 && from >= 1 && search.isOpen()) {
    const page = await journal.read({ from, order: "desc", type: lane });
    if (page.to < page.from) break;
    const { records } = page;
    const found = records && (await matcher.matched(records, wanted, () => search.isOpen()));
    const length = Math.min(missing, found?.length ?? 0);
    if (length > 0) start = found!.sequence(found!.length - length);
    missing -= length;
    from = page.from - 1;
    await search.turn();
  }
  return start;
}
