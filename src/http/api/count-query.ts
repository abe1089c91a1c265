import { FACETS, type Facet } from "../../wire/fields.ts";
import { FILTER_PARAMETERS, parseFilter } from "../../wire/filter.ts";
import {
  invalidValue,
  ORDERS,
  parametersOf,
  parseChoice,
  parseCursor,
  parseTime,
  parseUntil,
  type HistoryQuery,
} from "./history-query.ts";

const PARAMETERS = [...FILTER_PARAMETERS, "since", "until", "order", "cursor", "facets"];

/** What a request to /api/counts asks for. */
export interface CountQuery extends Omit<HistoryQuery, "limit" | "format" | "waitMs"> {
  /** Whose values are counted, too. */
  readonly facets: readonly Facet[];
}

/** @throws HttpProblem PARAMETER_INVALID, TailgateError FILTER_INVALID */
export function parseCountQuery(search: string): CountQuery {
  const given = parametersOf(search, PARAMETERS);
  return {
    filter: parseFilter(given),
    since: parseTime("since", given["since"]),
    until: parseUntil(given["until"]),
    order: parseChoice("order", ORDERS, given["order"]) ?? "desc",
    cursor: parseCursor(given["cursor"]),
    facets: parseFacets(given["facets"]),
  };
}

function parseFacets(value: string | undefined): readonly Facet[] {
  const names = value?.split(",") ?? [];
  return names.map((name) => {
    const facet = FACETS.find((known) => known === name);
    if (facet === undefined) throw invalidValue("facets", value!, `some of ${FACETS.join(",")}`);
    return facet;
  });
}
