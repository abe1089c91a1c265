/** Filters as the API takes them; src/wire/query is their language. */

import { QUERY_CHARACTERS_MAX } from "./query/parse.ts";
import { limitExceeded } from "./query/problem.ts";

/** The maximum length of each parameter of a filter, in UTF-16 code units. */
export const FILTER_CHARACTERS_MAX = QUERY_CHARACTERS_MAX;

/** The parameters of a filter; `q` has terms of the filter language. */
export const FILTER_PARAMETERS = ["type", "level", "logger", "q"] as const;

/**
 * A filter as text, by parameter; a record must match all that are set. `type`: `system` or `audit`; `level`: the minimum,
 * or only that one (`=WARNING`); `logger`: a logger with its children; `q`: terms of the filter language. Absent and
 * empty parameters match everything.
 */
export type FilterQuery = {
  readonly [P in (typeof FILTER_PARAMETERS)[number]]?: string | undefined;
};

/** @throws TailgateError FILTER_INVALID if a parameter is longer than {@link FILTER_CHARACTERS_MAX}. */
export function checkFilterLength(query: FilterQuery): void {
  for (const name of FILTER_PARAMETERS) {
    const { length } = query[name] ?? "";
    if (length > FILTER_CHARACTERS_MAX) {
      throw limitExceeded(`The filter's ${name} has ${length} characters`, FILTER_CHARACTERS_MAX);
    }
  }
}
