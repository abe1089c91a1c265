import { useCallback } from "react";
import type { EnvelopeType } from "../../wire/envelope.ts";
import { ColumnMenu } from "./column-menu.tsx";
import { LogList } from "./log-list.tsx";
import type { PanelStore } from "./panel-store.ts";
import { retryText } from "./retry-text.ts";
import { TEXTS } from "../texts.ts";
import type { Selection } from "../details/selection.ts";
import type { LogEntry } from "../../client/index.ts";
import { useColumns } from "./use-columns.ts";
import { useNow } from "../use-now.ts";
import { usePanel } from "./use-panel.ts";

interface PanelProps {
  readonly store: PanelStore;
  /** False where a tab names the panel. */
  readonly heading: boolean;
  readonly selected: LogEntry | undefined;
  readonly onSelect: (selection: Selection) => void;
  readonly onResume: (isPaused: false) => void;
}

/** One lane's records, with what is to be said of them. */
export function Panel({ store, heading, selected, onSelect, onResume }: PanelProps) {
  const { lane } = store;
  const columns = useColumns(lane);
  const select = useCallback((entry: LogEntry) => onSelect({ lane, entry }), [lane, onSelect]);
  return (
    <section className="panel" aria-label={TEXTS.panels[lane]} data-lane={lane}>
      <div className="panel-head">
        {heading && <h2>{TEXTS.panels[lane]}</h2>}
        <PanelState store={store} />
        <ColumnMenu columns={columns} />
      </div>
      <LogList store={store} columns={columns} selected={selected} onSelect={select} />
      <ToNewest store={store} lane={lane} onResume={onResume} />
    </section>
  );
}

function PanelState({ store }: { readonly store: PanelStore }) {
  usePanel(store);
  const { status } = store;
  const { state, reason, retryInMs } = status;
  const nowMs = useNow(retryInMs !== undefined);
  const retry = retryText(status, nowMs);
  const words = [
    TEXTS.state[state],
    reason.replace(/\.$/, ""),
    store.isPaused ? TEXTS.state.paused : "",
    store.refusal.replace(/\.$/, ""),
  ];
  return (
    <p className="panel-state" data-state={state}>
      <span role="status">{words.filter((word) => word !== "").join(", ")}</span>
      {/* Not read aloud every second. */}
      {retry !== "" && <span aria-hidden="true">, {retry}</span>}
    </p>
  );
}

interface ToNewestProps {
  readonly store: PanelStore;
  readonly lane: EnvelopeType;
  readonly onResume: (isPaused: false) => void;
}

/** Says how much is new while the panel holds still, and goes there. */
function ToNewest({ store, onResume }: ToNewestProps) {
  usePanel(store);
  if (store.isFollowing) return null;
  const { buffered } = store.counts;
  const go = (): void => {
    if (store.isPaused) onResume(false);
    store.followNewest();
  };
  return (
    <button className="to-newest" type="button" onClick={go}>
      {store.isPaused ? TEXTS.list.waiting(buffered) : TEXTS.list.newest(buffered)}
      <span aria-hidden="true"> ↓</span>
    </button>
  );
}
