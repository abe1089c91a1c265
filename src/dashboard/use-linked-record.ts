import { useEffect } from "react";
import type { Selection } from "./selection.ts";
import type { Session } from "./session.ts";

const PARAMETER = "record";

/** The address of the page at which it shows this record. */
export function linkTo(sequence: number): string {
  const link = new URL(location.href);
  link.searchParams.set(PARAMETER, String(sequence));
  return link.href;
}

/** Shows the record that the page's address names, among those around it. */
export function useLinkedRecord(session: Session, onFound: (selection: Selection) => void): void {
  useEffect(() => {
    const sequence = Number(new URLSearchParams(location.search).get(PARAMETER));
    if (Number.isSafeInteger(sequence) && sequence > 0) void show(session, sequence, onFound);
  }, [session, onFound]);
}

async function show(
  { history, panels }: Session,
  sequence: number,
  onFound: (selection: Selection) => void,
): Promise<void> {
  const { entries } = await history.page({ order: "asc", from: sequence, limit: 1 });
  const [entry] = entries;
  if (entry?.sequence !== sequence) return;
  const lane = entry.envelope.type;
  onFound({ lane, entry });
  await panels[lane].goTo(sequence);
}
