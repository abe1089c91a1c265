import type { Ref } from "react";
import { ENVELOPE_TYPES } from "../wire/envelope.ts";
import { SearchBox } from "./search/search-box.tsx";
import { seenIn } from "./search/suggestions.ts";
import type { Session } from "./session/session.ts";
import { TEXTS } from "./texts.ts";
import { ThemeChoice } from "./theme-choice.tsx";
import type { ViewStore } from "./session/view-store.ts";
import type { View } from "./session/view.ts";

interface ToolbarProps {
  readonly session: Session;
  readonly views: ViewStore;
  readonly view: View;
  readonly isPaused: boolean;
  readonly onPause: (isPaused: boolean) => void;
  readonly onHelp: () => void;
  readonly onExport: () => void;
  readonly searchInput: Ref<HTMLInputElement>;
}

export function Toolbar(props: ToolbarProps) {
  const { session, views, view, isPaused, onPause, onHelp, onExport, searchInput } = props;
  const clear = (): void => {
    for (const lane of ENVELOPE_TYPES) session.panels[lane].clear();
  };
  return (
    <header className="toolbar">
      <h1>{TEXTS.title}</h1>
      <SearchBox
        q={view.q}
        known={() => seenIn(session)}
        onSearch={(q) => views.change({ q })}
        input={searchInput}
      />
      <div className="actions">
        <button type="button" aria-pressed={isPaused} onClick={() => onPause(!isPaused)}>
          {isPaused ? TEXTS.resume : TEXTS.pause}
        </button>
        <button type="button" onClick={clear}>
          {TEXTS.clear}
        </button>
        <button type="button" onClick={onExport}>
          {TEXTS.export.button}
        </button>
        <ThemeChoice />
        <button
          type="button"
          aria-label={TEXTS.help.button}
          title={TEXTS.help.button}
          onClick={onHelp}
        >
          ?
        </button>
      </div>
    </header>
  );
}
