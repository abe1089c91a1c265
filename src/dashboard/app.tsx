import { useCallback, useState } from "react";
import { ENVELOPE_TYPES, type EnvelopeType } from "../envelope.ts";
import { Details } from "./details.tsx";
import { Panel } from "./panel.tsx";
import { Panels } from "./panels.tsx";
import type { Session } from "./session.ts";
import type { LogEntry } from "./stand-in-client.ts";
import { Toolbar } from "./toolbar.tsx";

/** The record in the details pane, and the panel that it is of. */
export interface Selection {
  readonly lane: EnvelopeType;
  readonly entry: LogEntry;
}

export function App({ session }: { readonly session: Session }) {
  const [selection, setSelection] = useState<Selection>();
  const close = useCallback(() => setSelection(undefined), []);
  const [isPaused, setIsPaused] = useState(false);
  const pause = useCallback(
    (paused: boolean) => {
      for (const lane of ENVELOPE_TYPES) session.panels[lane].setPaused(paused);
      setIsPaused(paused);
    },
    [session],
  );
  return (
    <>
      <Toolbar session={session} isPaused={isPaused} onPause={pause} />
      <div className="body">
        <Panels>
          {(lane, heading) => (
            <Panel
              store={session.panels[lane]}
              heading={heading}
              selected={selection?.lane === lane ? selection.entry : undefined}
              onSelect={setSelection}
              onResume={pause}
            />
          )}
        </Panels>
        {selection && <Details key={selection.lane} selection={selection} onClose={close} />}
      </div>
    </>
  );
}
