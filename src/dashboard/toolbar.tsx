import { ENVELOPE_TYPES } from "../envelope.ts";
import { FilterForm } from "./filter-form.tsx";
import type { Session } from "./session.ts";
import { TEXTS } from "./texts.ts";
import { ThemeChoice } from "./theme-choice.tsx";

interface ToolbarProps {
  readonly session: Session;
  readonly isPaused: boolean;
  readonly onPause: (isPaused: boolean) => void;
}

export function Toolbar({ session, isPaused, onPause }: ToolbarProps) {
  const clear = (): void => {
    for (const lane of ENVELOPE_TYPES) session.panels[lane].clear();
  };
  return (
    <header className="toolbar">
      <h1>{TEXTS.title}</h1>
      <FilterForm session={session} />
      <div className="actions">
        <button type="button" aria-pressed={isPaused} onClick={() => onPause(!isPaused)}>
          {isPaused ? TEXTS.resume : TEXTS.pause}
        </button>
        <button type="button" onClick={clear}>
          {TEXTS.clear}
        </button>
        <ThemeChoice />
      </div>
    </header>
  );
}
