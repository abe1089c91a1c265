import { useState, type FormEvent } from "react";
import { useRemembered } from "./stored-setting.ts";
import { TEXTS } from "./texts.ts";
import { searchOf, viewOf, type View } from "./session/view.ts";

interface SavedView {
  readonly name: string;
  /** As in the page's address. */
  readonly search: string;
}

interface SavedViewsProps {
  readonly view: View;
  readonly onOpen: (view: View) => void;
}

/** Views under names of their own, in this browser. */
export function SavedViews({ view, onOpen }: SavedViewsProps) {
  const [saved, setSaved] = useRemembered<readonly SavedView[]>("views", [], areSavedViews);
  const [name, setName] = useState("");
  const others = (one: string): SavedView[] => saved.filter((other) => other.name !== one);
  const save = (event: FormEvent): void => {
    event.preventDefault();
    const trimmed = name.trim();
    if (trimmed === "") return;
    const search = searchOf({ ...view, record: undefined });
    setSaved([...others(trimmed), { name: trimmed, search }]);
    setName("");
  };
  return (
    <div className="saved-views">
      {saved.length === 0 && <p>{TEXTS.views.none}</p>}
      <ul>
        {saved.map((one) => (
          <li key={one.name}>
            <button type="button" className="view" onClick={() => onOpen(viewOf(one.search))}>
              {one.name}
            </button>
            <button
              type="button"
              aria-label={TEXTS.views.remove(one.name)}
              onClick={() => setSaved(others(one.name))}
            >
              ×
            </button>
          </li>
        ))}
      </ul>
      <form onSubmit={save}>
        <input
          aria-label={TEXTS.views.name}
          placeholder={TEXTS.views.name}
          maxLength={60}
          value={name}
          onChange={({ target }) => setName(target.value)}
        />
        <button>{TEXTS.views.save}</button>
      </form>
    </div>
  );
}

function areSavedViews(value: unknown): value is readonly SavedView[] {
  return (
    Array.isArray(value) &&
    value.every((one) => typeof one?.name === "string" && typeof one.search === "string")
  );
}
