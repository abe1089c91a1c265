import { useEffect, useState } from "react";
import { ENVELOPE_TYPES, LEVELS, type Envelope, type Level } from "../envelope.ts";
import { isEntry } from "./row.ts";
import type { Session } from "./session.ts";

/** What can be chosen of, each by the name that the filter language has for it. */
export const FACETS = ["logger", "action", "instance_id", "service"] as const;

type Facet = (typeof FACETS)[number];

/** How often it is counted: thousands of records may come in a second. */
const COUNT_MS = 1000;

/** Of the values of a facet, the most frequent. */
const VALUES_MAX = 50;

export interface Mark {
  readonly timeMs: number;
  readonly level: Level;
}

/** What the records are that both panels have loaded. */
export interface Loaded {
  readonly levels: Readonly<Record<Level, number>>;
  readonly facets: Readonly<Record<Facet, readonly (readonly [value: string, count: number])[]>>;
  readonly marks: readonly Mark[];
}

function countLoaded({ panels }: Pick<Session, "panels">): Loaded {
  const levels = Object.fromEntries(LEVELS.map((level) => [level, 0])) as Record<Level, number>;
  const counts = FACETS.map((facet) => [facet, new Map<string, number>()] as const);
  const marks: Mark[] = [];
  for (const lane of ENVELOPE_TYPES) {
    const { rows } = panels[lane];
    for (let index = 0; index < rows.length; index++) {
      const row = rows.at(index)!;
      if (!isEntry(row)) continue;
      const { level, timestamp } = row.envelope.data;
      levels[level]++;
      marks.push({ timeMs: Date.parse(timestamp), level });
      for (const [facet, values] of counts) {
        const value = facetValue(row.envelope, facet);
        if (value !== undefined) values.set(value, (values.get(value) ?? 0) + 1);
      }
    }
  }
  const facets = Object.fromEntries(counts.map(([facet, values]) => [facet, mostFrequent(values)]));
  return { levels, facets: facets as unknown as Loaded["facets"], marks };
}

function facetValue({ type, data }: Envelope, facet: Facet): string | undefined {
  const own = (data as { readonly [field: string]: unknown })[facet];
  const value = own ?? (type === "audit_log" ? data.metadata?.[facet] : undefined);
  return typeof value === "string" ? value : undefined;
}

function mostFrequent(values: ReadonlyMap<string, number>): [string, number][] {
  return [...values].sort((one, other) => other[1] - one[1]).slice(0, VALUES_MAX);
}

/** Counts again when the panels have changed, once a second at most. */
export function useLoaded(session: Session): Loaded {
  const [loaded, setLoaded] = useState(() => countLoaded(session));
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let countedAtMs = -Infinity;
    const count = (): void => {
      timer = undefined;
      countedAtMs = performance.now();
      setLoaded(countLoaded(session));
    };
    const changed = (): void => {
      timer ??= setTimeout(count, Math.max(0, countedAtMs + COUNT_MS - performance.now()));
    };
    const ends = ENVELOPE_TYPES.map((lane) => session.panels[lane].subscribe(changed));
    return () => {
      clearTimeout(timer);
      for (const end of ends) end();
    };
  }, [session]);
  return loaded;
}
