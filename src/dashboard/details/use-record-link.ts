import { useEffect, useRef, useState } from "react";
import { HistoryError, type MissingRange } from "../../client/index.ts";
import type { Selection } from "./selection.ts";
import type { Session } from "../session/session.ts";
import { searchOf, viewOf, type View } from "../session/view.ts";

/** Why what a link leads to is not shown. */
export interface LinkProblem {
  /** Undefined for a link to a time. */
  readonly record: number | undefined;
  /** `journal`: it is of another one; `absent`: there was never such a record. */
  readonly reason: "journal" | "absent" | MissingRange["reason"];
}

/** The address of the page at which it shows this record. */
export function linkTo(sequence: number, epoch: string | undefined): string {
  const link = new URL(location.href);
  link.search = searchOf({ ...viewOf(link.search), record: sequence, epoch }, link.search);
  link.hash = "";
  return link.href;
}

type Linked = Pick<View, "record" | "epoch">;

/**
 * Shows the record that the page's address names, among those around it, where it is not the one that is shown. Returns
 * why that cannot be; undefined while it can.
 */
export function useLinkedRecord(
  session: Session,
  { record, epoch }: Linked,
  shown: Selection | undefined,
  onFound: (selection: Selection | undefined) => void,
): LinkProblem | undefined {
  const [problem, setProblem] = useState<LinkProblem>();
  const latest = useRef<Linked>({ record, epoch });
  const shownSequence = shown?.entry.sequence;
  useEffect(() => {
    const linked = { record, epoch };
    latest.current = linked;
    const isLatest = (): boolean => latest.current === linked;
    setProblem(undefined);
    if (record === undefined) onFound(undefined);
    else if (record === shownSequence) return;
    const searched = find(session, linked, (selection) => isLatest() && onFound(selection));
    void searched.then((found) => isLatest() && setProblem(found));
    // What is shown changes after the address, or with it.
  }, [session, record, epoch]);
  return problem;
}

async function find(
  session: Session,
  { record, epoch }: Linked,
  onFound: (selection: Selection) => void,
): Promise<LinkProblem | undefined> {
  if (record === undefined && epoch === undefined) return undefined;
  await session.settled();
  if (record === undefined && epoch === session.epoch) return undefined;
  try {
    // Downwards the history says what became of the numbering that it is asked for.
    const query = { order: "desc", from: record ?? 0, epoch, limit: 1 } as const;
    const { entries, gaps } = await session.history.page(query);
    if (record === undefined) return undefined;
    const [entry] = entries;
    if (entry?.sequence !== record) {
      const gap = gaps.find(({ from, to }) => from <= record && record <= to);
      return { record, reason: gap?.reason ?? "absent" };
    }
    const lane = entry.envelope.type;
    onFound({ lane, entry });
    await session.panels[lane].goTo(record);
  } catch (error) {
    const isAnother = error instanceof HistoryError && error.code === "CURSOR_GONE";
    if (isAnother) return { record, reason: "journal" };
  }
  return undefined;
}
