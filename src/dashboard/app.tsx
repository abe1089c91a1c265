import { useCallback, useState } from "react";
import { ENVELOPE_TYPES } from "../envelope.ts";
import { Details } from "./details.tsx";
import { Panel } from "./panel.tsx";
import { Panels } from "./panels.tsx";
import type { Selection } from "./selection.ts";
import type { Session } from "./session.ts";
import { Toolbar } from "./toolbar.tsx";
import { useLinkedRecord } from "./use-linked-record.ts";

export function App({ session }: { readonly session: Session }) {
  const [selection, setSelection] = useState<Selection>();
  useLinkedRecord(session, setSelection);
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
