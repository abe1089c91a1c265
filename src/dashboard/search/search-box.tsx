import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent, type Ref } from "react";
import { filterProblem } from "../session/view.ts";
import { TEXTS } from "../texts.ts";
import { completeQuery, type Completion, type KnownFields } from "./query.ts";

interface SearchBoxProps {
  /** The filter that is applied. */
  readonly q: string;
  readonly known: () => KnownFields;
  readonly onSearch: (q: string) => void;
  readonly input: Ref<HTMLInputElement>;
}

const NO_COMPLETIONS: readonly Completion[] = [];

/** A text field for the filter language, with completions, and with errors shown below it. */
export function SearchBox({ q, known, onSearch, input }: SearchBoxProps) {
  const [text, setText] = useState(q);
  const [problem, setProblem] = useState(() => filterProblem(q));
  const [completions, setCompletions] = useState(NO_COMPLETIONS);
  const [active, setActive] = useState(-1);
  /** Where to put the caret after rendering the text. */
  const caret = useRef<number>(undefined);
  const box = useRef<HTMLInputElement>(null);

  useEffect(() => {
    setText(q);
    setProblem(filterProblem(q));
    setCompletions(NO_COMPLETIONS);
  }, [q]);

  useEffect(() => {
    if (caret.current === undefined) return;
    box.current!.setSelectionRange(caret.current, caret.current);
    caret.current = undefined;
  }, [text]);

  const suggest = (next: string, at: number): void => {
    setCompletions(completeQuery(next, at, known()));
    setActive(-1);
  };
  const type = (next: string, at: number): void => {
    setText(next);
    // A new problem is reported only when the filter is applied, not while the user types.
    if (problem !== "") setProblem(filterProblem(next));
    suggest(next, at);
  };
  const search = (next: string): void => {
    const nextProblem = filterProblem(next);
    setProblem(nextProblem);
    setCompletions(NO_COMPLETIONS);
    if (nextProblem === "") onSearch(next.trim());
  };
  const accept = (completion: Completion): void => {
    caret.current = completion.caret;
    setText(completion.text);
    if (completion.isField) suggest(completion.text, completion.caret);
    else setCompletions(NO_COMPLETIONS);
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    search(text);
  };
  const move = (by: number): void => {
    if (completions.length === 0) return suggest(text, box.current!.selectionStart ?? text.length);
    // One step between the last completion and the first has none active.
    const steps = completions.length + 1;
    setActive(((active + 1 + by + steps) % steps) - 1);
  };
  const activeCompletion = completions[active];
  const handleKey = (event: KeyboardEvent): void => {
    const keys: Record<string, (() => void) | undefined> = {
      ArrowDown: () => move(1),
      ArrowUp: () => move(-1),
      Enter: activeCompletion && (() => accept(activeCompletion)),
      Tab: activeCompletion && (() => accept(activeCompletion)),
      Escape:
        completions.length > 0 ? () => setCompletions(NO_COMPLETIONS) : () => box.current!.blur(),
    };
    const act = keys[event.key];
    if (!act || event.nativeEvent.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };

  const isOpen = completions.length > 0;
  return (
    <form className="search" role="search" aria-label={TEXTS.filter.form} onSubmit={submit}>
      <div className="search-field">
        <input
          ref={(element) => {
            box.current = element;
            if (typeof input === "function") input(element);
            else if (input) input.current = element;
          }}
          type="search"
          role="combobox"
          aria-label={TEXTS.filter.query}
          aria-autocomplete="list"
          aria-expanded={isOpen}
          aria-controls="completions"
          aria-activedescendant={activeCompletion && `completion-${active}`}
          aria-invalid={problem !== ""}
          aria-describedby="filter-problem"
          placeholder={TEXTS.filter.placeholder}
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          value={text}
          onChange={({ target }) => type(target.value, target.selectionStart ?? 0)}
          onKeyDown={handleKey}
          onBlur={() => setCompletions(NO_COMPLETIONS)}
        />
        <ul
          id="completions"
          className="floating"
          role="listbox"
          aria-label={TEXTS.filter.completions}
          hidden={!isOpen}
        >
          {completions.map((completion, index) => (
            <li
              key={completion.label}
              id={`completion-${index}`}
              role="option"
              aria-selected={index === active}
              // Keeps the focus in the text field.
              onPointerDown={(event) => event.preventDefault()}
              onClick={() => accept(completion)}
            >
              {completion.label}
            </li>
          ))}
        </ul>
      </div>
      <button>{TEXTS.filter.apply}</button>
      {text !== "" && (
        <button
          type="button"
          onClick={() => {
            setText("");
            search("");
          }}
        >
          {TEXTS.filter.clear}
        </button>
      )}
      <p id="filter-problem" className="problem" role="alert">
        {problem}
      </p>
    </form>
  );
}
