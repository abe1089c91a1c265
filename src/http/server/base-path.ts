import { quotedExcerpt } from "../../wire/printable.ts";
import { METRICS_PATH } from "../metrics/metrics.ts";
import { HEALTH_PATH, READINESS_PATH } from "./health.ts";
import type { HttpRejection } from "./routes.ts";

/** Probes and Prometheus ask the gateway itself, not the proxy before it. */
const ROOT_PATHS: ReadonlySet<string> = new Set([HEALTH_PATH, READINESS_PATH, METRICS_PATH]);

/**
 * What proxies, routers and file systems read differently: empty and dot segments, backslashes, encoded slashes and dots,
 * and characters that a URL does not have.
 */
const AMBIGUOUS = /\/\/|\/\.{1,2}(?:\/|$)|%(?:2e|2f|5c|00)|[\\#]|[^\x21-\x7e]/i;

/** Where a request leads, and its target: below the base path if it leads `here`, and as it was sent if not. */
export interface Destination {
  /**
   * `slash`: the base path lacks its trailing slash. `outside`: there is nothing outside of the base path. `ambiguous`: the
   * path could be read in several ways.
   */
  readonly kind: "here" | "slash" | "outside" | "ambiguous";
  readonly target: string;
}

/**
 * Returns where a target in origin form leads below `basePath`, which is "" or a path such as `/tailgate`. Paths are
 * compared as they are sent, also when access is decided, so anything ambiguous is rejected.
 */
export function destinationOf(target: string, basePath: string): Destination {
  const [path = ""] = target.split("?", 1);
  if (AMBIGUOUS.test(path)) return { kind: "ambiguous", target };
  if (basePath === "" || ROOT_PATHS.has(path)) return { kind: "here", target };
  if (path === basePath) return { kind: "slash", target };
  if (!path.startsWith(`${basePath}/`)) return { kind: "outside", target };
  return { kind: "here", target: target.slice(basePath.length) };
}

/** Returns the path below the base path; undefined if the request leads elsewhere. */
export function pathAt({ kind, target }: Destination): string | undefined {
  return kind === "here" ? target.split("?", 1)[0] : undefined;
}

/** Returns why nothing is served there; undefined for a path below the base path. */
export function rejectionAt(
  { kind, target }: Destination,
  basePath: string,
): HttpRejection | undefined {
  if (kind === "here") return undefined;
  const path = quotedExcerpt(target.split("?", 1)[0]!);
  if (kind === "ambiguous") {
    const text = `The path ${path} is ambiguous: it has an empty or dot segment, a backslash, or an encoded slash or dot.`;
    return { status: 400, text };
  }
  return { status: 404, text: `There is nothing at ${path}: the gateway is at ${basePath}/.` };
}
