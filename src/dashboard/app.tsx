import {
  useCallback,
  useEffect,
  useRef,
  useState,
  useSyncExternalStore,
  type FocusEvent,
} from "react";
import { flushSync } from "react-dom";
import { ENVELOPE_TYPES, type EnvelopeType } from "../wire/envelope.ts";
import { Details } from "./details/details.tsx";
import { ExportDialog } from "./search/export-dialog.tsx";
import { Facets } from "./search/facets.tsx";
import { FindingBar } from "./search/overview.tsx";
import { Help } from "./help.tsx";
import { SearchedPattern, useSearchedPattern } from "./panel/highlight.tsx";
import { LinkNotice } from "./details/link-notice.tsx";
import { Modal } from "./modal.tsx";
import { Panel } from "./panel/panel.tsx";
import { Panels } from "./panel/panels.tsx";
import { useRemembered } from "./stored-setting.ts";
import { Related } from "./details/related.tsx";
import { SavedViews } from "./saved-views.tsx";
import type { Selection } from "./details/selection.ts";
import type { Session } from "./session/session.ts";
import { StatusLine } from "./status/status-bar.tsx";
import { TEXTS } from "./texts.ts";
import { TogetherBar } from "./details/correlation-bar.tsx";
import { Toolbar } from "./toolbar.tsx";
import { useInStep } from "./panel/use-scroll-sync.ts";
import { linkTo, useLinkedRecord } from "./details/use-record-link.ts";
import { focusList, pressInList, useShortcuts } from "./use-shortcuts.ts";
import { useView, type ViewStore } from "./session/view-store.ts";
import { filterKey, WHOLE_VIEW, type View } from "./session/view.ts";

interface AppProps {
  readonly session: Session;
  readonly views: ViewStore;
}

export function App({ session, views }: AppProps) {
  const view = useView(views);
  const { counts } = session;
  const counted = useSyncExternalStore(counts.subscribe, counts.current);
  const searchInput = useRef<HTMLInputElement>(null);
  const [selection, setSelection] = useState<Selection>();
  const linkProblem = useLinkedRecord(session, view, selection, setSelection);
  const closeLink = useCallback(
    () => views.change({ record: undefined, epoch: session.epoch }, "replace"),
    [views, session],
  );
  useInStep(session, selection);
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
    const lane = selection?.lane;
    const hadFocus = document.activeElement?.closest(".details") !== null;
    flushSync(() => {
      setSelection(undefined);
      views.change({ record: undefined });
    });
    // It is gone with the details; it goes back to where they were opened.
    if (lane !== undefined && hadFocus) focusList(lane);
  }, [views, selection]);
  const [isPaused, setIsPaused] = useState(false);
  const pause = useCallback(
    (paused: boolean) => {
      for (const lane of ENVELOPE_TYPES) session.panels[lane].setPaused(paused);
      setIsPaused(paused);
    },
    [session],
  );
  const [dialog, setDialog] = useState<"help" | "export" | "views">();
  const closeDialog = useCallback(() => setDialog(undefined), []);
  const press = (key: string) => () => pressInList(views.get().panel, key);
  const follow = (): void => {
    if (isPaused) pause(false);
    for (const lane of ENVELOPE_TYPES) session.panels[lane].followNewest();
  };
  const enter = (panel: EnvelopeType) => () => {
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
    "[": enter("system_log"),
    "]": enter("audit_log"),
    p: () => pause(!isPaused),
    f: follow,
    "?": () => setDialog("help"),
    ...(selection && { Escape: close }),
  });
  const [hasFacets, setHasFacets] = useRemembered("facets", false, isBoolean);
  useEffect(() => counts.setFacets(hasFacets), [counts, hasFacets]);
  const pattern = useSearchedPattern(view.q);
  const isWhole = filterKey(view) === "";
  const showAround = async ({ lane, entry }: Selection): Promise<void> => {
    views.change({ ...WHOLE_VIEW, record: entry.sequence, panel: lane });
    await session.settled();
    await session.panels[lane].goTo(entry.sequence);
  };
  const openView = (saved: View): void => {
    views.change({ ...saved, record: undefined });
    closeDialog();
  };
  const enterPanel = ({ target }: FocusEvent): void => {
    const lane = target.closest<HTMLElement>("[data-lane]")?.dataset["lane"];
    if (lane !== undefined) views.change({ panel: lane as EnvelopeType }, "replace");
  };
  return (
    <SearchedPattern value={pattern}>
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
      <FindingBar
        views={views}
        view={view}
        counted={counted}
        hasFacets={hasFacets}
        onFacets={setHasFacets}
        onViews={() => setDialog("views")}
        now={session.clock.now}
      />
      <LinkNotice problem={linkProblem} onClose={closeLink} />
      <TogetherBar together={session.together} />
      <div className="body" onFocus={enterPanel}>
        {hasFacets && (
          <Facets
            q={view.q}
            counted={counted}
            onSearch={(q) => views.change({ q })}
            onClose={() => setHasFacets(false)}
          />
        )}
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
        {selection && (
          <Details
            key={selection.lane}
            selection={selection}
            onClose={close}
            link={linkTo(selection.entry.sequence, session.epoch)}
            onContext={isWhole ? undefined : () => void showAround(selection)}
          >
            <Related session={session} entry={selection.entry} onClose={close} />
          </Details>
        )}
      </div>
      {dialog === "help" && <Help onClose={closeDialog} />}
      {dialog === "views" && (
        <Modal title={TEXTS.views.title} onClose={closeDialog}>
          <SavedViews view={view} onOpen={openView} />
        </Modal>
      )}
      {dialog === "export" && <ExportDialog session={session} view={view} onClose={closeDialog} />}
      <StatusLine session={session} />
    </SearchedPattern>
  );
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === "boolean";
}
