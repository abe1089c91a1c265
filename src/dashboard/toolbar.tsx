import type { Ref } from "react";
import { ENVELOPE_TYPES } from "../wire/envelope.ts";
import { isTheme, THEMES, useTheme } from "./hooks.ts";
import { SearchBox } from "./search/search-box.tsx";
import { Account } from "./sign-in/account.tsx";
import type { DashboardSession } from "./session/session.ts";
import type { View, ViewStore } from "./session/view.ts";
import { TEXTS } from "./texts.ts";

interface ToolbarProps {
  readonly session: DashboardSession;
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
    for (const type of ENVELOPE_TYPES) session.panels[type].clear();
  };
  return (
    <header className="bar toolbar">
      <h1>{TEXTS.title}</h1>
      <SearchBox
        q={view.q}
        catalog={session.catalog}
        onSearch={(q) => views.change({ q })}
        input={searchInput}
      />
      <div className="actions">
        <button aria-pressed={isPaused} onClick={() => onPause(!isPaused)}>
          {isPaused ? TEXTS.resume : TEXTS.pause}
        </button>
        <button onClick={clear}>{TEXTS.clear}</button>
        <button onClick={onExport}>{TEXTS.export.button}</button>
        <ThemePicker />
        <button aria-label={TEXTS.help.button} title={TEXTS.help.button} onClick={onHelp}>
          ?
        </button>
        <Account store={session.identity} />
      </div>
    </header>
  );
}

function ThemePicker() {
  const [theme, setTheme] = useTheme();
  return (
    <label>
      {TEXTS.theme.label}
      <select
        aria-label={TEXTS.theme.label}
        value={theme}
        onChange={({ target }) => isTheme(target.value) && setTheme(target.value)}
      >
        {THEMES.map((name) => (
          <option key={name} value={name}>
            {TEXTS.theme[name]}
          </option>
        ))}
      </select>
    </label>
  );
}
