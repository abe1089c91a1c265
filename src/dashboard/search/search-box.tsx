import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent, type Ref } from "react";
import { completionsOf, type Known, type Option } from "./completion.ts";
import { TEXTS } from "../texts.ts";
import { problemOf } from "../session/view.ts";

interface SearchBoxProps {
  /** What is shown now. */
  readonly q: string;
  readonly known: () => Known;
  readonly onSearch: (q: string) => void;
  readonly input: Ref<HTMLInputElement>;
}

const NONE: readonly Option[] = [];

/** One box for the filter language: completes what is known, and says under it what is not understood. */
export function SearchBox({ q, known, onSearch, input }: SearchBoxProps) {
  const [text, setText] = useState(q);
  const [problem, setProblem] = useState(() => problemOf(q));
  const [options, setOptions] = useState(NONE);
  const [active, setActive] = useState(-1);
  /** Where the caret goes once the text is in the box. */
  const caret = useRef<number>(undefined);
  const box = useRef<HTMLInputElement>(null);

  useEffect(() => {
    setText(q);
    setProblem(problemOf(q));
    setOptions(NONE);
  }, [q]);

  useEffect(() => {
    if (caret.current === undefined) return;
    box.current!.setSelectionRange(caret.current, caret.current);
    caret.current = undefined;
  }, [text]);

  const offer = (next: string, at: number): void => {
    setOptions(completionsOf(next, at, known()));
    setActive(-1);
  };
  const type = (next: string, at: number): void => {
    setText(next);
    // What is being written is not complained of before it is searched for.
    if (problem !== "") setProblem(problemOf(next));
    offer(next, at);
  };
  const search = (next: string): void => {
    const found = problemOf(next);
    setProblem(found);
    setOptions(NONE);
    if (found === "") onSearch(next.trim());
  };
  const accept = (option: Option): void => {
    caret.current = option.caret;
    setText(option.text);
    if (option.isField) offer(option.text, option.caret);
    else setOptions(NONE);
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    search(text);
  };
  const move = (by: number): void => {
    if (options.length === 0) return offer(text, box.current!.selectionStart ?? text.length);
    const places = options.length + 1;
    setActive(((active + 1 + by + places) % places) - 1);
  };
  const chosen = options[active];
  const pressed = (event: KeyboardEvent): void => {
    const keys: Record<string, (() => void) | undefined> = {
      ArrowDown: () => move(1),
      ArrowUp: () => move(-1),
      Enter: chosen && (() => accept(chosen)),
      Tab: chosen && (() => accept(chosen)),
      Escape: options.length > 0 ? () => setOptions(NONE) : () => box.current!.blur(),
    };
    const act = keys[event.key];
    if (!act || event.nativeEvent.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };

  const isOpen = options.length > 0;
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
          aria-activedescendant={chosen && `completion-${active}`}
          aria-invalid={problem !== ""}
          aria-describedby="filter-problem"
          placeholder={TEXTS.filter.placeholder}
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          value={text}
          onChange={({ target }) => type(target.value, target.selectionStart ?? 0)}
          onKeyDown={pressed}
          onBlur={() => setOptions(NONE)}
        />
        <ul id="completions" role="listbox" aria-label={TEXTS.filter.completions} hidden={!isOpen}>
          {options.map((option, index) => (
            <li
              key={option.label}
              id={`completion-${index}`}
              role="option"
              aria-selected={index === active}
              // The box keeps the focus.
              onPointerDown={(event) => event.preventDefault()}
              onClick={() => accept(option)}
            >
              {option.label}
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
          {TEXTS.filter.none}
        </button>
      )}
      <p id="filter-problem" className="problem" role="alert">
        {problem}
      </p>
    </form>
  );
}
