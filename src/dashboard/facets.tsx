import { FACETS, type Loaded } from "./loaded.ts";
import { printable } from "../printable.ts";
import { chooseTerm, hasTerm, termOf } from "./terms.ts";
import { TEXTS } from "./texts.ts";

interface FacetsProps {
  readonly q: string;
  readonly facets: Loaded["facets"];
  readonly onSearch: (q: string) => void;
  readonly onClose: () => void;
}

/** The values that the loaded records have; a click searches for one, another one takes its place. */
export function Facets({ q, facets, onSearch, onClose }: FacetsProps) {
  return (
    <aside id="facets" className="facets" aria-label={TEXTS.facets.title}>
      <div className="facets-head">
        <h2>{TEXTS.facets.title}</h2>
        <button type="button" onClick={onClose}>
          {TEXTS.close}
        </button>
      </div>
      <p className="hint">{TEXTS.facets.hint}</p>
      {FACETS.map((facet) => (
        <section key={facet} data-facet={facet}>
          <h3>{TEXTS.facets.names[facet]}</h3>
          {facets[facet].length === 0 && <p className="hint">{TEXTS.facets.none}</p>}
          <ul>
            {facets[facet].map(([value, count]) => {
              const term = termOf(facet, value);
              return (
                <li key={value}>
                  <button
                    type="button"
                    aria-pressed={hasTerm(q, term)}
                    title={printable(value)}
                    onClick={() => onSearch(chooseTerm(q, facet, term))}
                  >
                    <span className="facet-value">{printable(value)}</span>
                    <span className="count">{TEXTS.number(count)}</span>
                  </button>
                </li>
              );
            })}
          </ul>
        </section>
      ))}
    </aside>
  );
}
