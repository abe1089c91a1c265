import { useEffect, useRef, useState } from "react";
import { HistoryError, type MissingRange } from "../../client/index.ts";
import type { DashboardSession } from "../session/session.ts";
import { formatView, parseView, type View } from "../session/view.ts";
import { TEXTS } from "../texts.ts";
import type { SelectedRecord } from "./details.tsx";

/** Why the target of a link cannot be shown. */
export interface LinkProblem {
  /** Undefined for a link to a time. */
  readonly record: number | undefined;
  /** `journal`: the record is from another journal; `absent`: there never was such a record. */
  readonly reason: "journal" | "absent" | MissingRange["reason"];
}

/** Returns the address at which the dashboard shows this record. */
export function recordLink(sequence: number, epoch: string | undefined): string {
  const link = new URL(location.href);
  link.search = formatView({ ...parseView(link.search), record: sequence, epoch }, link.search);
  link.hash = "";
  return link.href;
}

type LinkTarget = Pick<View, "record" | "epoch">;

/**
 * Shows the record that the address names, among those around it, unless it is shown already. Returns why it cannot be
 * shown; undefined if it can.
 */
export function useLinkedRecord(
  session: DashboardSession,
  { record, epoch }: LinkTarget,
  shown: SelectedRecord | undefined,
  onFound: (selection: SelectedRecord | undefined) => void,
): LinkProblem | undefined {
  const [problem, setProblem] = useState<LinkProblem>();
  const latest = useRef<LinkTarget>({ record, epoch });
  const shownSequence = shown?.entry.sequence;
  useEffect(() => {
    const target = { record, epoch };
    latest.current = target;
    const isLatest = (): boolean => latest.current === target;
    setProblem(undefined);
    if (record === undefined) onFound(undefined);
    else if (record === shownSequence) return;
    const search = findRecord(session, target, (selection) => isLatest() && onFound(selection));
    void search.then((found) => isLatest() && setProblem(found));
    // Not on a change of `shown`: it changes with the address, or after it.
  }, [session, record, epoch]);
  return problem;
}

async function findRecord(
  session: DashboardSession,
  { record, epoch }: LinkTarget,
  onFound: (selection: SelectedRecord) => void,
): Promise<LinkProblem | undefined> {
  if (record === undefined && epoch === undefined) return undefined;
  await session.settled();
  if (record === undefined && epoch === session.epoch) return undefined;
  try {
    // In descending order the history API reports what happened to the epoch.
    const query = { order: "desc", from: record ?? 0, epoch, limit: 1 } as const;
    const { entries, gaps } = await session.history.page(query);
    if (record === undefined) return undefined;
    const [entry] = entries;
    if (entry?.sequence !== record) {
      const gap = gaps.find(({ from, to }) => from <= record && record <= to);
      return { record, reason: gap?.reason ?? "absent" };
    }
    const { type } = entry.envelope;
    onFound({ type, entry });
    await session.panels[type].goTo(record);
  } catch (error) {
    const isOtherJournal = error instanceof HistoryError && error.code === "CURSOR_GONE";
    if (isOtherJournal) return { record, reason: "journal" };
  }
  return undefined;
}

/** Says why the target of a link cannot be shown. */
export function LinkNotice(props: { problem: LinkProblem | undefined; onClose: () => void }) {
  const { problem, onClose } = props;
  return (
    <div className="bar link-notice" role="alert" hidden={!problem}>
      {problem && (
        <>
          <span>{TEXTS.link.problem(problem)}</span>
          <button onClick={onClose}>{TEXTS.link.close}</button>
        </>
      )}
    </div>
  );
}
