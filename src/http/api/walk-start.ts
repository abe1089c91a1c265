import type { Gap, HostJournal } from "../../plugin/index.ts";
import type { Cursor } from "./history-query.ts";
import { HttpProblem } from "../server/problem.ts";

/** Where a walk through the journal begins, and what was lost of it since the page before. */
interface Start {
  readonly from: number;
  readonly lost?: Gap;
}

/**
 * After an unclean end the newest numbers were given out again: the walk goes on with what has survived.
 * @throws HttpProblem CURSOR_GONE where the journal does not know the cursor's epoch.
 */
export function startOf(
  journal: HostJournal,
  cursor: Cursor | undefined,
  ascending: boolean,
): Start {
  if (cursor === undefined) return { from: ascending ? 1 : journal.newest };
  const { epoch } = cursor;
  // Upwards nothing lies before the first record, and a walk from there would not get on.
  const sequence = ascending ? Math.max(1, cursor.sequence) : cursor.sequence;
  if (epoch === journal.epoch) return { from: sequence };
  const seen = ascending ? sequence - 1 : sequence;
  const shared = journal.sharedUpTo(epoch, seen);
  if (shared === undefined) {
    const why = "This journal does not know the cursor's epoch: it is of another one.";
    throw new HttpProblem(410, "CURSOR_GONE", `${why} Start again without a cursor.`);
  }
  if (ascending) return { from: shared + 1 };
  if (shared === seen) return { from: shared };
  return { from: shared, lost: { from: shared + 1, to: seen, reason: "not_stored" } };
}
