import { useState, type KeyboardEvent, type ReactNode } from "react";
import type { LogEntry, StreamStatus } from "../../client/index.ts";
import { ENVELOPE_TYPES, type EnvelopeType } from "../../wire/envelope.ts";
import { printable } from "../../wire/printable.ts";
import type { SelectedRecord } from "../details/details.tsx";
import { useIsNarrow, useNow, useStoredSetting } from "../hooks.ts";
import { TEXTS } from "../texts.ts";
import { ColumnMenu, useColumns } from "./columns.tsx";
import { LogList } from "./log-list.tsx";
import { usePanelStore, type PanelStore } from "./panel-store.ts";
import { Separator } from "./separator.tsx";

/** The system panel's fraction of the width. */
const SYSTEM_FRACTION = 0.6;
const SYSTEM_FRACTION_MIN = 0.15;
const SYSTEM_FRACTION_MAX = 0.85;
const SYSTEM_FRACTION_STEP = 0.02;

interface PanelsProps {
  /** The panel that a narrow page shows; undefined for the one that it showed last. */
  readonly panel: EnvelopeType | undefined;
  readonly onPanel: (panel: EnvelopeType) => void;
  readonly children: (type: EnvelopeType, hasHeading: boolean) => ReactNode;
}

/** Both panels: side by side with a divider, or as tabs on a narrow page. */
export function Panels(props: PanelsProps) {
  return useIsNarrow() ? <Tabs {...props} /> : <SideBySide>{props.children}</SideBySide>;
}

function SideBySide({ children }: Pick<PanelsProps, "children">) {
  const [fraction, setFraction] = useStoredSetting("divider", SYSTEM_FRACTION, isFraction);
  const [main, setMain] = useState<HTMLElement | null>(null);
  return (
    <main
      ref={setMain}
      className="panels"
      style={{ gridTemplateColumns: `minmax(0, ${fraction}fr) auto minmax(0, ${1 - fraction}fr)` }}
    >
      {children("system_log", true)}
      <Separator
        className="divider"
        label={TEXTS.divider}
        value={fraction}
        min={SYSTEM_FRACTION_MIN}
        max={SYSTEM_FRACTION_MAX}
        step={SYSTEM_FRACTION_STEP}
        unitPx={() => main!.clientWidth}
        onChange={setFraction}
      />
      {children("audit_log", true)}
    </main>
  );
}

function Tabs({ panel, onPanel, children }: PanelsProps) {
  const [stored, store] = useStoredSetting("tab", "system_log", isEnvelopeType);
  const shown = panel ?? stored;
  const show = (type: EnvelopeType): void => {
    store(type);
    onPanel(type);
  };
  const move = (event: KeyboardEvent): void => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = ENVELOPE_TYPES.find((type) => type !== shown)!;
    show(other);
    document.getElementById(tabId(other))?.focus();
  };
  return (
    <main className="tabbed">
      <div className="tabs" role="tablist" aria-label={TEXTS.tabs} onKeyDown={move}>
        {ENVELOPE_TYPES.map((type) => (
          <button
            key={type}
            id={tabId(type)}
            role="tab"
            aria-selected={type === shown}
            aria-controls="tab-panel"
            tabIndex={type === shown ? 0 : -1}
            onClick={() => show(type)}
          >
            {TEXTS.panels[type]}
          </button>
        ))}
      </div>
      <div id="tab-panel" className="tab-panel" role="tabpanel" aria-labelledby={tabId(shown)}>
        {children(shown, false)}
      </div>
    </main>
  );
}

function tabId(type: EnvelopeType): string {
  return `tab-${type}`;
}

function isFraction(value: unknown): value is number {
  return typeof value === "number" && value >= SYSTEM_FRACTION_MIN && value <= SYSTEM_FRACTION_MAX;
}

function isEnvelopeType(value: unknown): value is EnvelopeType {
  return ENVELOPE_TYPES.some((type) => type === value);
}

interface PanelProps {
  readonly store: PanelStore;
  /** Undefined if the user may read the records; else why not. */
  readonly noAccess: string | undefined;
  /** The filter that limits what the user may read; null if there is none. */
  readonly limit: string | null;
  /** False if a tab names the panel. */
  readonly hasHeading: boolean;
  readonly selected: LogEntry | undefined;
  readonly onSelect: (selection: SelectedRecord) => void;
  readonly onResume: () => void;
}

/** The system logs or the audit events, with the state of their stream. */
export function Panel(props: PanelProps) {
  const { store, hasHeading, noAccess, limit, selected, onSelect, onResume } = props;
  const { type } = store;
  const columns = useColumns(type);
  const select = (entry: LogEntry): void => onSelect({ type, entry });
  if (noAccess !== undefined) {
    return (
      <section className="panel" aria-label={TEXTS.panels[type]} data-type={type}>
        <div className="panel-head">{hasHeading && <h2>{TEXTS.panels[type]}</h2>}</div>
        <div className="no-access">
          <h3>{TEXTS.noAccess.title[type]}</h3>
          <p>{noAccess}</p>
        </div>
      </section>
    );
  }
  return (
    <section className="panel" aria-label={TEXTS.panels[type]} data-type={type}>
      <div className="panel-head">
        {hasHeading && <h2>{TEXTS.panels[type]}</h2>}
        <PanelState store={store} limit={limit} />
        <ColumnMenu columns={columns} />
      </div>
      <LogList store={store} columns={columns} selected={selected} onSelect={select} />
      <JumpToLatest store={store} onResume={onResume} />
    </section>
  );
}

function PanelState({ store, limit }: Pick<PanelProps, "store" | "limit">) {
  usePanelStore(store);
  const { status } = store;
  const { state, retryInMs } = status;
  const nowMs = useNow(retryInMs !== undefined);
  const retry = retryText(status, nowMs);
  const parts = [
    TEXTS.state[state],
    shownReason(status),
    limit === null ? "" : TEXTS.state.limited(printable(limit)),
    store.isPaused ? TEXTS.state.paused : "",
    store.rejection.replace(/\.$/, ""),
  ];
  return (
    <p className="panel-state" data-state={state}>
      <span role="status">{joinParts(parts)}</span>
      {/* A screen reader would announce the countdown every second. */}
      {retry !== "" && <span aria-hidden="true"> · {retry}</span>}
    </p>
  );
}

/** Returns why a stream is not live. The dialog tells what to do when nobody is signed in; the gateway's advice is for programs. */
export function shownReason({ state, reason }: StreamStatus): string {
  return state === "unauthorized" ? "" : reason.replace(/\.$/, "");
}

export function joinParts(parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join(" · ");
}

/** Returns the countdown to a stream's next attempt to connect; "" if none is due. */
export function retryText({ since, retryInMs }: StreamStatus, nowMs: number): string {
  if (retryInMs === undefined) return "";
  return TEXTS.state.retry(Math.max(0, Math.ceil((since + retryInMs - nowMs) / 1000)));
}

/** Shows how many records are new while the panel does not follow. */
function JumpToLatest({ store, onResume }: Pick<PanelProps, "store" | "onResume">) {
  usePanelStore(store);
  if (store.isFollowing) return null;
  const jump = (): void => {
    if (store.isPaused) onResume();
    store.follow();
  };
  return (
    <button className="jump-to-latest" onClick={jump}>
      {TEXTS.list.jumpToLatest(store.counts.buffered)}
      <span aria-hidden="true"> ↓</span>
    </button>
  );
}
