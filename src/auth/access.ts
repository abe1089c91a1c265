/** The accesses that authentication hands out. */

import type { Access, AddressedRequest, RouteRefusal } from "../plugin/index.ts";
import { parseScopes, type AccessScope } from "../wire/access-scopes.ts";
import { NONE } from "../wire/query/nodes.ts";
import {
  bothFilters,
  compileFilter,
  parseAccessFilter,
  parseFilter,
  type Filter,
} from "../filter/filter.ts";

/** One way to authenticate. All of them are synchronous: nothing happens between a request and the decision about it. */
export interface AuthMethod {
  /**
   * Returns who makes the request; why its credentials are rejected; or undefined if it has no credentials of this kind.
   */
  authenticate(request: AddressedRequest): Access | RouteRefusal | undefined;
}

export function isRefusal(outcome: Access | RouteRefusal): outcome is RouteRefusal {
  return "status" in outcome;
}

/** What a principal may do, as the tokens file and the configuration say it. */
export interface Grant {
  readonly scopes: readonly string[];
  /** Terms of the filter language; undefined for all records. */
  readonly filter?: string | undefined;
}

const NO_RECORDS = compileFilter(NONE);

/** A client without credentials, on a route that is for everyone. */
export const ANONYMOUS: Access = {
  principal: "anonymous",
  scopes: new Set(),
  filter: NO_RECORDS,
  signal: undefined,
};

export function isAnonymous(access: Access): boolean {
  return access === ANONYMOUS;
}

/**
 * Returns the access of a principal. `signal` aborts when it ends.
 * @throws TailgateError SCOPE_INVALID or FILTER_INVALID
 */
export function grantedAccess(principal: string, grant: Grant, signal?: AbortSignal): Access {
  const scopes = parseScopes(grant.scopes);
  const filter = bothFilters(typesFilter(scopes), parseAccessFilter(grant.filter ?? ""));
  if (grant.filter) filterTexts.set(filter, grant.filter);
  return { principal, scopes, filter, signal };
}

const filterTexts = new WeakMap<Filter, string>();

/** Returns the filter of a principal as it was configured; undefined if it has none. */
export function filterText({ filter }: Access): string | undefined {
  return filterTexts.get(filter);
}

/** Returns a filter for the types of records that may be read. */
function typesFilter(scopes: ReadonlySet<AccessScope>): Filter {
  const system = scopes.has("read:system");
  const audit = scopes.has("read:audit");
  if (system && audit) return parseFilter({});
  if (!system && !audit) return NO_RECORDS;
  return parseFilter({ type: system ? "system" : "audit" });
}
