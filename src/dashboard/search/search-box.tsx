import {
  useEffect,
  useRef,
  useState,
  useSyncExternalStore,
  type FormEvent,
  type KeyboardEvent,
  type Ref,
} from "react";
import { explainQuery } from "../../wire/query/explain.ts";
import { hintsOf, type Hint } from "../../wire/query/hints.ts";
import { parseQuery, problemOfQuery } from "../../wire/query/parse.ts";
import type { QueryProblem } from "../../wire/query/problem.ts";
import { TEXTS } from "../texts.ts";
import type { FieldCatalog } from "./field-catalog.ts";
import { completeQuery, placeAt, segmentsOf, type Completion } from "./query.ts";

interface SearchBoxProps {
  /** The filter that is applied. */
  readonly q: string;
  readonly catalog: FieldCatalog;
  readonly onSearch: (q: string) => void;
  readonly input: Ref<HTMLInputElement>;
}

/**
 * A text field for the filter language: it colors the terms, suggests names and values, and says below in words what the
 * filter matches. What is wrong is marked quietly while the user types, and reported when the filter is applied.
 */
export function SearchBox({ q, catalog, onSearch, input }: SearchBoxProps) {
  const [text, setText] = useState(q);
  const problem = problemOfQuery(text);
  const [isReported, setIsReported] = useState(problem !== undefined);
  /** The position of the caret while suggestions are shown. */
  const [suggestedAt, setSuggestedAt] = useState<number>();
  const [isExplained, setIsExplained] = useState(false);
  const [active, setActive] = useState(-1);
  /** Where to put the caret after rendering the text. */
  const caret = useRef<number>(undefined);
  const box = useRef<HTMLInputElement>(null);
  useSyncExternalStore(catalog.subscribe, catalog.version);

  useEffect(() => {
    setText(q);
    setIsReported(problemOfQuery(q) !== undefined);
    setSuggestedAt(undefined);
  }, [q]);

  useEffect(() => {
    if (caret.current === undefined) return;
    box.current!.setSelectionRange(caret.current, caret.current);
    caret.current = undefined;
  }, [text]);

  const completions =
    suggestedAt === undefined
      ? []
      : completeQuery(text, suggestedAt, {
          fields: catalog.fields(),
          values: (field) => catalog.values(field),
        });
  const close = (): void => {
    setSuggestedAt(undefined);
    setIsExplained(false);
  };
  const suggest = (next: string, at: number): void => {
    const { field, typed } = placeAt(next, at);
    void catalog.loadFields();
    if (field !== undefined) void catalog.load(field, typed);
    setSuggestedAt(at);
    setActive(-1);
  };
  const type = (next: string, at: number): void => {
    setText(next);
    setIsExplained(true);
    if (isReported) setIsReported(problemOfQuery(next) !== undefined);
    suggest(next, at);
  };
  const search = (next: string): void => {
    const isValid = problemOfQuery(next) === undefined;
    setIsReported(!isValid);
    close();
    if (isValid) onSearch(next.trim());
  };
  const accept = (completion: Completion): void => {
    caret.current = completion.caret;
    setText(completion.text);
    if (completion.isField) suggest(completion.text, completion.caret);
    else setSuggestedAt(undefined);
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
      Escape: completions.length > 0 ? close : () => box.current!.blur(),
    };
    const act = keys[event.key];
    if (!act || event.nativeEvent.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };

  const isOpen = completions.length > 0;
  const hasWords = isExplained && text.trim() !== "";
  const hints = hintsOf(text, catalog.names);
  return (
    <form className="search" role="search" aria-label={TEXTS.filter.form} onSubmit={submit}>
      <div className="search-field">
        <ColoredText
          text={text}
          problem={problem?.isUnfinished && !isReported ? undefined : problem}
          field={box}
        />
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
          aria-invalid={isReported}
          aria-describedby="filter-problem filter-words"
          placeholder={TEXTS.filter.placeholder}
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          value={text}
          onChange={({ target }) => type(target.value, target.selectionStart ?? 0)}
          onKeyDown={handleKey}
          onFocus={() => {
            void catalog.loadFields();
            setIsExplained(true);
          }}
          onBlur={close}
        />
        <div className="search-panel floating" hidden={!isOpen && !hasWords}>
          <ul
            id="completions"
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
                data-records={
                  completion.records === undefined ? undefined : TEXTS.number(completion.records)
                }
                // Keeps the focus in the text field.
                onPointerDown={(event) => event.preventDefault()}
                onClick={() => accept(completion)}
              >
                {completion.label}
              </li>
            ))}
          </ul>
          <p id="filter-words" hidden={!hasWords}>
            {wordsOf(text, problem)}
          </p>
          {hasWords && <Hints hints={hints} />}
        </div>
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
        {isReported && problem && TEXTS.filter.problem(problem, text)}
      </p>
      <div className="filter-hints" role="status">
        {/* Nothing moves while the user types. */}
        {text === q && !hasWords && <Hints hints={hints} />}
      </div>
    </form>
  );
}

function Hints({ hints }: { readonly hints: readonly Hint[] }) {
  return [...new Set(hints.map(({ text }) => text))].map((text) => <p key={text}>{text}</p>);
}

/** Says what the filter matches, or what it still lacks. */
function wordsOf(text: string, problem: QueryProblem | undefined): string {
  return problem ? TEXTS.filter.problem(problem, text) : explainQuery(parseQuery(text));
}

interface ColoredTextProps {
  readonly text: string;
  readonly problem: QueryProblem | undefined;
  /** The field that shows the same text, over this one and transparent. */
  readonly field: { readonly current: HTMLInputElement | null };
}

/** The colors of the text, below the field, which has the caret and the selection. */
function ColoredText({ text, problem, field }: ColoredTextProps) {
  const layer = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const input = field.current!;
    const follow = (): void => {
      layer.current!.scrollLeft = input.scrollLeft;
    };
    // A field does not tell in every browser that it has scrolled.
    const followLater = (): void => void requestAnimationFrame(follow);
    const events = ["scroll", "input", "keydown", "pointermove", "blur"] as const;
    for (const event of events) input.addEventListener(event, followLater);
    return () => {
      for (const event of events) input.removeEventListener(event, followLater);
    };
  }, [field]);
  useEffect(() => {
    layer.current!.scrollLeft = field.current!.scrollLeft;
  }, [text, field]);
  return (
    <div ref={layer} className="search-colors" aria-hidden="true">
      {segmentsOf(text, problem).map(({ text: piece, kind, isWrong }, index) => (
        <span key={index} data-token={kind} className={isWrong ? "wrong" : undefined}>
          {piece}
        </span>
      ))}
    </div>
  );
}
