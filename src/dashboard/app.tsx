import { useEffect, useRef, useState, useSyncExternalStore, type FocusEvent } from "react";
import { flushSync } from "react-dom";
import { ENVELOPE_TYPES, type EnvelopeType } from "../wire/envelope.ts";
import { printable } from "../wire/printable.ts";
import { CorrelationBar, Details, type SelectedRecord } from "./details/details.tsx";
import { LinkNotice, recordLink, useLinkedRecord } from "./details/record-link.tsx";
import { HelpDialog, SavedViewsDialog } from "./dialogs.tsx";
import { useShortcuts, useStoredSetting } from "./hooks.ts";
import { focusList, pressInList } from "./panel/log-list.tsx";
import { SearchHighlight } from "./panel/log-row.tsx";
import { Panel, Panels } from "./panel/panel.tsx";
import { useScrollSync } from "./panel/scroll-sync.ts";
import { ExportDialog } from "./search/export-dialog.tsx";
import { Facets } from "./search/facets.tsx";
import { Overview } from "./search/overview.tsx";
import type { DashboardSession } from "./session/session.ts";
import { DEFAULT_VIEW, filterKey, useView, type View, type ViewStore } from "./session/view.ts";
import { StatusBar } from "./status/status-bar.tsx";
import { TEXTS } from "./texts.ts";
import { Toolbar } from "./toolbar.tsx";

interface AppProps {
  readonly session: DashboardSession;
  readonly views: ViewStore;
}

/** The whole dashboard. */
export function App({ session, views }: AppProps) {
  const view = useView(views);
  const { counts, correlation, panels } = session;
  const count = useSyncExternalStore(counts.subscribe, counts.current);
  const searchInput = useRef<HTMLInputElement>(null);
  const { selection, setSelection, select, closeDetails } = useSelection(views);
  const linkProblem = useLinkedRecord(session, view, selection, setSelection);
  const closeLink = (): void =>
    views.change({ record: undefined, epoch: session.epoch }, "replace");
  const target = useSyncExternalStore(correlation.subscribe, correlation.current);
  useScrollSync(target !== undefined, panels, selection);
  const [isPaused, setIsPaused] = useState(false);
  const pause = (paused: boolean): void => {
    for (const type of ENVELOPE_TYPES) panels[type].setPaused(paused);
    setIsPaused(paused);
  };
  const resume = (): void => pause(false);
  const [dialog, setDialog] = useState<"help" | "export" | "views">();
  const closeDialog = (): void => setDialog(undefined);
  const press = (key: string) => () => pressInList(views.get().panel, key);
  const follow = (): void => {
    if (isPaused) resume();
    for (const type of ENVELOPE_TYPES) panels[type].follow();
  };
  const goToPanel = (panel: EnvelopeType) => () => {
    flushSync(() => views.change({ panel }, "replace"));
    pressInList(panel, "Shift");
  };
  useShortcuts({
    "/": () => {
      searchInput.current?.focus();
      searchInput.current?.select();
    },
    j: press("ArrowDown"),
    k: press("ArrowUp"),
    g: press("Home"),
    G: press("End"),
    "[": goToPanel("system_log"),
    "]": goToPanel("audit_log"),
    p: () => pause(!isPaused),
    f: follow,
    "?": () => setDialog("help"),
    ...(selection && { Escape: closeDetails }),
  });
  const [hasFacets, setHasFacets] = useStoredSetting("facets", false, isBoolean);
  useEffect(() => counts.setFacets(hasFacets), [counts, hasFacets]);
  const isFiltered = filterKey(view) !== "";
  const showInContext = async ({ type, entry }: SelectedRecord): Promise<void> => {
    views.change({ ...DEFAULT_VIEW, record: entry.sequence, panel: type });
    await session.settled();
    await panels[type].goTo(entry.sequence);
  };
  const openView = (saved: View): void => {
    views.change({ ...saved, record: undefined });
    closeDialog();
  };
  const rememberPanel = ({ target: focused }: FocusEvent): void => {
    const type = focused.closest<HTMLElement>("[data-type]")?.dataset["type"];
    if (type !== undefined) views.change({ panel: type as EnvelopeType }, "replace");
  };
  return (
    <SearchHighlight q={view.q}>
      <Toolbar
        session={session}
        views={views}
        view={view}
        isPaused={isPaused}
        onPause={pause}
        onExport={() => setDialog("export")}
        onHelp={() => setDialog("help")}
        searchInput={searchInput}
      />
      <Overview
        views={views}
        view={view}
        count={count}
        hasFacets={hasFacets}
        onFacets={setHasFacets}
        onViews={() => setDialog("views")}
        now={session.clock.now}
      />
      <LinkNotice problem={linkProblem} onClose={closeLink} />
      <CorrelationBar correlation={correlation} />
      <div className="body" onFocus={rememberPanel}>
        {hasFacets && (
          <Facets
            q={view.q}
            count={count}
            onSearch={(q) => views.change({ q })}
            onClose={() => setHasFacets(false)}
          />
        )}
        <Panels panel={view.panel} onPanel={(panel) => views.change({ panel })}>
          {(type, hasHeading) => (
            <Panel
              store={panels[type]}
              hasHeading={hasHeading}
              noAccess={noAccessText(session, type)}
              limit={session.identity.identity.filter}
              selected={selection?.type === type ? selection.entry : undefined}
              onSelect={select}
              onResume={resume}
            />
          )}
        </Panels>
        {selection && (
          <Details
            key={selection.type}
            session={session}
            selection={selection}
            onClose={closeDetails}
            link={recordLink(selection.entry.sequence, session.epoch)}
            onContext={isFiltered ? () => void showInContext(selection) : undefined}
          />
        )}
      </div>
      {dialog === "help" && <HelpDialog onClose={closeDialog} />}
      {dialog === "views" && (
        <SavedViewsDialog view={view} onOpen={openView} onClose={closeDialog} />
      )}
      {dialog === "export" && <ExportDialog session={session} view={view} onClose={closeDialog} />}
      <StatusBar session={session} />
    </SearchHighlight>
  );
}

/** Returns why the user may not read the records of a panel; undefined if they may. */
function noAccessText({ identity: store }: DashboardSession, type: EnvelopeType) {
  const scope = store.lackingScope(type);
  const { principal } = store.identity;
  return scope && TEXTS.noAccess.text(printable(principal ?? ""), scope);
}

/** The record in the details pane. Its sequence is in the address, too. */
function useSelection(views: ViewStore) {
  const [selection, setSelection] = useState<SelectedRecord>();
  const select = (next: SelectedRecord): void => {
    setSelection(next);
    // However many records are selected in turn, one step back closes the details pane.
    const step = views.get().record === undefined ? "push" : "replace";
    views.change({ record: next.entry.sequence, panel: next.type }, step);
  };
  const closeDetails = (): void => {
    const type = selection?.type;
    const hadFocus = document.activeElement?.closest(".details") !== null;
    flushSync(() => {
      setSelection(undefined);
      views.change({ record: undefined });
    });
    // The focused element is gone: return the focus to the list that the record was selected in.
    if (type !== undefined && hadFocus) focusList(type);
  };
  return { selection, setSelection, select, closeDetails };
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === "boolean";
}
