import { useEffect, useRef } from "react";
import type { Selection } from "./selection.ts";
import type { Session } from "./session.ts";
import { searchOf, viewOf } from "./view.ts";

/** The address of the page at which it shows this record. */
export function linkTo(sequence: number): string {
  const link = new URL(location.href);
  link.search = searchOf({ ...viewOf(link.search), record: sequence }, link.search);
  return link.href;
}

/** Shows the record that the page's address names, among those around it, where it is not the one that is shown. */
export function useLinkedRecord(
  session: Session,
  sequence: number | undefined,
  shown: Selection | undefined,
  onFound: (selection: Selection | undefined) => void,
): void {
  const latest = useRef(sequence);
  const shownSequence = shown?.entry.sequence;
  useEffect(() => {
    latest.current = sequence;
    if (sequence === undefined) return onFound(undefined);
    if (sequence === shownSequence) return;
    const isLatest = (): boolean => latest.current === sequence;
    void show(session, sequence, (selection) => isLatest() && onFound(selection));
    // What is shown changes after the address, or with it.
  }, [session, sequence]);
}

async function show(
  session: Session,
  sequence: number,
  onFound: (selection: Selection) => void,
): Promise<void> {
  await session.settled();
  const { entries } = await session.history.page({ order: "asc", from: sequence, limit: 1 });
  const [entry] = entries;
  if (entry?.sequence !== sequence) return;
  const lane = entry.envelope.type;
  onFound({ lane, entry });
  await session.panels[lane].goTo(sequence);
}
