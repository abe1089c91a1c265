import { TailgateError } from "./errors.ts";
import { quotedExcerpt } from "./printable.ts";

/** What a principal may do. `admin` includes all others. */
export const ACCESS_SCOPES = [
  "ingest:system",
  "ingest:audit",
  "read:system",
  "read:audit",
  "metrics",
  "admin",
] as const;

/** One of {@link ACCESS_SCOPES}. */
export type AccessScope = (typeof ACCESS_SCOPES)[number];

/** Names that stand for several scopes. */
const GROUPS = new Map<string, readonly AccessScope[]>([
  ["ingest", ["ingest:system", "ingest:audit"]],
  ["read", ["read:system", "read:audit"]],
  ["admin", ACCESS_SCOPES],
]);

/**
 * Returns the scopes that these names stand for, with those that they include.
 * @throws TailgateError SCOPE_INVALID for an unknown name.
 */
export function parseScopes(names: readonly string[]): ReadonlySet<AccessScope> {
  return new Set(names.flatMap(scopesOf));
}

function scopesOf(name: string): readonly AccessScope[] {
  const scope = ACCESS_SCOPES.find((known) => known === name);
  const scopes = GROUPS.get(name) ?? (scope && [scope]);
  if (scopes !== undefined) return scopes;
  throw new TailgateError("SCOPE_INVALID", `There is no scope ${quotedExcerpt(name)}.`);
}
