import { FACETS, type Facet } from "../../wire/fields.ts";
import { printable } from "../../wire/printable.ts";
import { hasTerm, toggleTerm } from "../../wire/query/edit.ts";
import { formatTerm } from "../../wire/query/format.ts";
import type { JournalCount } from "../session/journal-counts.ts";
import { TEXTS } from "../texts.ts";

/** The most frequent values of a facet that are shown. */
const VALUES_MAX = 50;

interface FacetsProps {
  readonly q: string;
  readonly count: JournalCount | undefined;
  readonly onSearch: (q: string) => void;
  readonly onClose: () => void;
}

/** The most frequent values of some fields in the matching records. Clicking a value filters for it. */
export function Facets({ q, count, onSearch, onClose }: FacetsProps) {
  return (
    <aside id="facets" className="facets" aria-label={TEXTS.facets.title}>
      <div className="facets-head sticky-head">
        <h2>{TEXTS.facets.title}</h2>
        <button onClick={onClose}>{TEXTS.close}</button>
      </div>
      <p className="hint">{count ? TEXTS.facets.hint(count) : TEXTS.facets.counting}</p>
      {FACETS.map((facet) => (
        <FacetValues key={facet} facet={facet} q={q} count={count} onSearch={onSearch} />
      ))}
    </aside>
  );
}

interface FacetValuesProps extends Omit<FacetsProps, "onClose"> {
  readonly facet: Facet;
}

function FacetValues({ facet, q, count, onSearch }: FacetValuesProps) {
  const values = mostFrequent(count?.facets.get(facet) ?? new Map());
  return (
    <section data-facet={facet}>
      <h3>{TEXTS.facets.names[facet]}</h3>
      {count && values.length === 0 && <p className="hint">{TEXTS.facets.none}</p>}
      <ul>
        {values.map(([value, records]) => {
          const term = formatTerm(facet, value);
          return (
            <li key={value}>
              <button
                aria-pressed={hasTerm(q, term)}
                title={printable(value)}
                onClick={() => onSearch(toggleTerm(q, term))}
              >
                <span className="facet-value">{printable(value)}</span>
                <span className="count">{TEXTS.number(records)}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** Sorts equally frequent values alphabetically, so that they do not move while records arrive. */
function mostFrequent(values: ReadonlyMap<string, number>): [string, number][] {
  return [...values]
    .toSorted(([one, count], [other, otherCount]) => otherCount - count || (one < other ? -1 : 1))
    .slice(0, VALUES_MAX);
}
