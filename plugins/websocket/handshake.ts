import {
  FILTER_PARAMETERS,
  parseFilter,
  quotedExcerpt,
  type Filter,
  type FilterQuery,
  type Level,
} from "tailgate/plugin";

/** What a viewer asks for. */
export interface Wish {
  /** What it says of filters. */
  readonly query: FilterQuery;
  readonly filter: Filter;
  /** How many earlier records it wants first; undefined if it does not say. */
  readonly replay: number | undefined;
}

const PARAMETERS: readonly string[] = [...FILTER_PARAMETERS, "replay"];

/**
 * Reads the query of a request's target. A parameter without a value counts as absent.
 * @throws TailgateError FILTER_INVALID, and RangeError for the other parameters; both texts are for the viewer.
 */
export function wishOf(
  target: string,
  { replayMax, lowest }: { replayMax: number; lowest: Level | undefined },
): Wish {
  const start = target.indexOf("?");
  const query = new URLSearchParams(start < 0 ? "" : target.slice(start + 1));
  for (const name of query.keys()) {
    if (!PARAMETERS.includes(name)) {
      throw new RangeError(
        `The query parameter ${quotedExcerpt(name)} is not known; those known are ${PARAMETERS.join(", ")}.`,
      );
    }
    if (query.getAll(name).length > 1) {
      throw new RangeError(`The query parameter ${name} is given more than once.`);
    }
  }
  const terms: FilterQuery = Object.fromEntries(
    FILTER_PARAMETERS.map((name) => [name, query.get(name) || undefined]),
  );
  return {
    query: terms,
    filter: viewerFilter(terms, lowest),
    replay: replayOf(query.get("replay") || undefined, replayMax),
  };
}

/**
 * A viewer's filter under the exporter's own level.
 * @throws TailgateError FILTER_INVALID
 */
export function viewerFilter(query: FilterQuery, lowest: Level | undefined): Filter {
  return both(parseFilter({ level: lowest }), parseFilter(query));
}

function both(first: Filter, second: Filter): Filter {
  if (first.key === "") return second;
  return {
    key: `${first.key}\n${second.key}`,
    type: second.type,
    terms: [...first.terms, ...second.terms],
    effort: (bytes) => first.effort(bytes) + second.effort(bytes),
    matches: (records, index) => first.matches(records, index) && second.matches(records, index),
  };
}

/** A browser does not show its page why a WebSocket was refused: who asks for too many gets as many as there may be. */
function replayOf(text: string | undefined, replayMax: number): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Math.min(Number(text), replayMax);
  throw new RangeError(`The query parameter replay is a whole number, not ${quotedExcerpt(text)}.`);
}
