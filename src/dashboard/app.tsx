import { useCallback, useRef, useState, type FocusEvent } from "react";
import { ENVELOPE_TYPES, type EnvelopeType } from "../envelope.ts";
import { Details } from "./details.tsx";
import { useLoaded } from "./loaded.ts";
import { Panel } from "./panel.tsx";
import { Panels } from "./panels.tsx";
import type { Selection } from "./selection.ts";
import type { Session } from "./session.ts";
import { Toolbar } from "./toolbar.tsx";
import { useLinkedRecord } from "./use-linked-record.ts";
import { useView, type ViewStore } from "./view-store.ts";

interface AppProps {
  readonly session: Session;
  readonly views: ViewStore;
}

export function App({ session, views }: AppProps) {
  const view = useView(views);
  const loaded = useLoaded(session);
  const searchInput = useRef<HTMLInputElement>(null);
  const [selection, setSelection] = useState<Selection>();
  useLinkedRecord(session, view.record, selection, setSelection);
  const select = useCallback(
    (next: Selection) => {
      setSelection(next);
      // Going from record to record is one step back.
      const step = views.get().record === undefined ? "push" : "replace";
      views.change({ record: next.entry.sequence, panel: next.lane }, step);
    },
    [views],
  );
  const close = useCallback(() => {
    setSelection(undefined);
    views.change({ record: undefined });
  }, [views]);
  const [isPaused, setIsPaused] = useState(false);
  const pause = useCallback(
    (paused: boolean) => {
      for (const lane of ENVELOPE_TYPES) session.panels[lane].setPaused(paused);
      setIsPaused(paused);
    },
    [session],
  );
  const enterPanel = ({ target }: FocusEvent): void => {
    const lane = target.closest<HTMLElement>("[data-lane]")?.dataset["lane"];
    if (lane !== undefined) views.change({ panel: lane as EnvelopeType }, "replace");
  };
  return (
    <>
      <Toolbar
        session={session}
        views={views}
        view={view}
        loaded={loaded}
        isPaused={isPaused}
        onPause={pause}
        searchInput={searchInput}
      />
      <div className="body" onFocus={enterPanel}>
        <Panels panel={view.panel} onPanel={(panel) => views.change({ panel })}>
          {(lane, heading) => (
            <Panel
              store={session.panels[lane]}
              heading={heading}
              selected={selection?.lane === lane ? selection.entry : undefined}
              onSelect={select}
              onResume={pause}
            />
          )}
        </Panels>
        {selection && <Details key={selection.lane} selection={selection} onClose={close} />}
      </div>
    </>
  );
}
