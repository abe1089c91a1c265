import { parseFilter, type Filter } from "../filter/filter.ts";
import { ACCESS_SCOPES, type AccessScope } from "../wire/access-scopes.ts";

/** Who makes a request, and what they may do. */
export interface Access {
  /**
   * The principal with its kind: `token:ci`, `user:alice` of a trusted proxy, or `certificate:edge-1`. Undefined if the
   * gateway runs without authentication.
   */
  readonly principal: string | undefined;
  /** The scopes, including those that others imply. */
  readonly scopes: ReadonlySet<AccessScope>;
  /**
   * Which records the principal may read: a record that does not match must not be returned, counted, or noticeable in any
   * other way. It combines the read scopes with the filter of the token.
   */
  readonly filter: Filter;
  /**
   * Aborts when the access ends: the token is revoked or expires, or the session ends. Whoever serves the request for
   * longer than a response takes must stop then. Undefined without authentication.
   */
  readonly signal: AbortSignal | undefined;
}

/**
 * Who may use a route: everyone (`public`), or principals with at least one of the scopes; with no scopes listed, every
 * authenticated principal.
 */
export type RouteAccess = "public" | readonly AccessScope[];

/** The access of everyone to a gateway without authentication. */
export const OPEN_ACCESS: Access = {
  principal: undefined,
  scopes: new Set(ACCESS_SCOPES),
  filter: parseFilter({}),
  signal: undefined,
};
