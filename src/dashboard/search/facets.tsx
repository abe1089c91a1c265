import { FACETS, type Facet } from "../../wire/fields.ts";
import type { Counted } from "../session/journal-counts.ts";
import { printable } from "../../wire/printable.ts";
import { chooseTerm, hasTerm, termOf } from "./query.ts";
import { TEXTS } from "../texts.ts";

/** Of the values of a facet, the most frequent. */
const VALUES_MAX = 50;

interface FacetsProps {
  readonly q: string;
  readonly counted: Counted | undefined;
  readonly onSearch: (q: string) => void;
  readonly onClose: () => void;
}

/** The values that the records have that match; a click searches for one, another one takes its place. */
export function Facets({ q, counted, onSearch, onClose }: FacetsProps) {
  return (
    <aside id="facets" className="facets" aria-label={TEXTS.facets.title}>
      <div className="facets-head">
        <h2>{TEXTS.facets.title}</h2>
        <button type="button" onClick={onClose}>
          {TEXTS.close}
        </button>
      </div>
      <p className="hint">{counted ? TEXTS.facets.hint(counted) : TEXTS.facets.counting}</p>
      {FACETS.map((facet) => (
        <FacetValues key={facet} facet={facet} q={q} counted={counted} onSearch={onSearch} />
      ))}
    </aside>
  );
}

interface FacetValuesProps extends Omit<FacetsProps, "onClose"> {
  readonly facet: Facet;
}

function FacetValues({ facet, q, counted, onSearch }: FacetValuesProps) {
  const values = mostFrequent(counted?.facets.get(facet) ?? new Map());
  return (
    <section data-facet={facet}>
      <h3>{TEXTS.facets.names[facet]}</h3>
      {counted && values.length === 0 && <p className="hint">{TEXTS.facets.none}</p>}
      <ul>
        {values.map(([value, count]) => {
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
  );
}

/** Those that are as frequent stand in the order of the alphabet: they keep their places while others come. */
function mostFrequent(values: ReadonlyMap<string, number>): [string, number][] {
  return [...values]
    .toSorted(([one, count], [other, otherCount]) => otherCount - count || (one < other ? -1 : 1))
    .slice(0, VALUES_MAX);
}
