import { TailgateError } from "tailgate";
import { cursorText, parseCountQuery, parseHistoryQuery } from "../../../src/http/api/query.ts";
import { mutated } from "../mutation.ts";
import { lengthOf, type Random } from "../random.ts";
import { same, type FuzzTarget, type Timed } from "../target.ts";
import { filterQuery } from "./filter.ts";

/** Queries of /api/logs and /api/counts: cursors, times, limits and waits. Each is rejected with a reason, or read literally. */
export function cursor(): FuzzTarget {
  return {
    input: (random) => {
      const query = historyQuery(random);
      return random.once(3) ? mutated(Buffer.from(query), random) : Buffer.from(query);
    },
    check: (input, timed) => check(Buffer.from(input).toString(), timed),
  };
}

const NUMBERS = [
  ...["0", "1", "2", "100", "1000", "1001", "9999", "-1", "1e3", "0x10", "٣", "1.5", " 1"],
  ...["9007199254740991", "9007199254740993", "999999999999999", "1000000000000000"],
];
const TIMES = [
  ...["2025-10-13T09:27:24Z", "2025-10-13", "2025-10-13T09:27", "2025-10-13T09:27:24.339163Z"],
  ...["2025-10-13T09:27:24 02:00", "2025-10-13t09:27:24.1234567891z", "1760347644339", "0"],
  ...["253402300799999", "253402300800000", "9999-12-31T23:59:59.999999999Z", "2025-02-31"],
  ...["0000-01-01", "1969-12-31T23:59:59Z", "2025-10-13T24:00Z", "2025-10-13T09:27:60Z", "now"],
];
const PLAUSIBLE: Readonly<Record<string, readonly string[]>> = {
  since: TIMES,
  until: TIMES,
  limit: NUMBERS,
  wait: [...NUMBERS, "0.001", "30", "30.001", "99.999"],
  order: ["asc", "desc", "ASC", "both", ""],
  format: ["json", "ndjson", "xml", ""],
  facets: ["level", "logger,type", "level,level,level", ",", "nonsense"],
};

/** Returns a URL-encoded query for records. */
export function historyQuery(random: Random): string {
  const query = new URLSearchParams(random.once(3) ? filterQuery(random) : "");
  if (random.once(2)) query.set("cursor", cursorOf(random));
  for (const [name, values] of Object.entries(PLAUSIBLE)) {
    if (random.once(5)) query.append(name, random.once(8) ? odd(random) : random.pick(values));
  }
  if (random.once(20)) query.append(random.pick(["limit", "unknown", "__proto__", ""]), "1");
  return query.toString();
}

function cursorOf(random: Random): string {
  if (random.once(8)) return odd(random);
  const epoch = random.once(8) ? odd(random) : random.pick(["1", "abc", "0192f0c0-7a3b", ":", "é"]);
  return `${epoch}:${random.pick(NUMBERS)}`;
}

function odd(random: Random): string {
  const piece = random.pick(["9", "0", ":", "a", "\u0000", "é", "😀", "%", "&", "=", "-", "."]);
  return piece.repeat(Math.min(lengthOf(random), 5000));
}

function check(search: string, timed: Timed): void {
  checkCounts(search, timed);
  const query = read(() => timed(() => parseHistoryQuery(search)));
  if (query === undefined) return;
  const { since, until, limit, waitMs, cursor: position } = query;
  for (const time of [since, until]) {
    if (time !== undefined && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(time)) {
      throw new Error(`The time was read as ${JSON.stringify(time)}.`);
    }
  }
  // Undefined: all records.
  if (limit !== undefined && (!Number.isInteger(limit) || limit < 1 || limit > 1000)) {
    throw new Error(`limit is ${limit}.`);
  }
  if (waitMs !== undefined && !(waitMs >= 0 && waitMs <= 30_000)) {
    throw new Error(`wait is ${waitMs} ms.`);
  }
  if (position === undefined) return;
  if (!Number.isSafeInteger(position.sequence))
    throw new Error("A sequence number is not a safe integer.");
  const given = new URLSearchParams(search).get("cursor") ?? "";
  const canonical = given.replace(/:0+(?=\d+$)/, ":");
  same(cursorText(position.epoch, position.sequence), canonical, "The cursor");
}

function checkCounts(search: string, timed: Timed): void {
  read(() => timed(() => parseCountQuery(search)));
}

/** Returns undefined if the query was rejected correctly. */
function read<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    const { status } = error as { status?: number };
    if (status === 400 || TailgateError.is(error, "FILTER_INVALID")) return undefined;
    throw error;
  }
}
