import { useState, type FormEvent } from "react";
import { ENVELOPE_TYPES, LEVELS } from "../envelope.ts";
import type { FilterQuery } from "../filter.ts";
import type { Session } from "./session.ts";
import { TEXTS } from "./texts.ts";

/** A level and a text in the filter language, for both panels. */
export function FilterForm({ session }: { readonly session: Session }) {
  const [problem, setProblem] = useState("");
  const [filter, setFilter] = useState<FilterQuery>({});

  const apply = async (next: FilterQuery): Promise<void> => {
    const found = await problemOf(session, next);
    setProblem(found);
    if (found === "") for (const lane of ENVELOPE_TYPES) session.panels[lane].setFilter(next);
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    void apply(filter);
  };
  const choose = (level: string): void => {
    const next = { ...filter, level };
    setFilter(next);
    void apply(next);
  };
  return (
    <form role="search" aria-label={TEXTS.filter.form} onSubmit={submit}>
      <select
        aria-label={TEXTS.filter.level}
        value={filter.level ?? ""}
        onChange={({ target }) => choose(target.value)}
      >
        <option value="">{TEXTS.filter.allLevels}</option>
        {LEVELS.slice(1).map((level) => (
          <option key={level}>{level}</option>
        ))}
      </select>
      <input
        type="search"
        value={filter.q ?? ""}
        onChange={({ target }) => setFilter({ ...filter, q: target.value })}
        placeholder={TEXTS.filter.placeholder}
        aria-label={TEXTS.filter.query}
        aria-describedby="filter-problem"
        autoComplete="off"
        spellCheck={false}
      />
      <button>{TEXTS.filter.apply}</button>
      <p id="filter-problem" className="problem" role="alert">
        {problem}
      </p>
    </form>
  );
}

/** A refused WebSocket hides its reason from the page, so that the history is asked first whether it takes the filter. */
async function problemOf({ history }: Session, filter: FilterQuery): Promise<string> {
  try {
    await history.page({ filter, order: "desc", limit: 1 });
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
