/** The fields of envelopes that records are counted by. */

import type { Envelope } from "./envelope.ts";

/** The fields whose values are counted, under the names that the filter language has for them. */
export const FACETS = ["logger", "action", "instance_id", "service"] as const;

export type Facet = (typeof FACETS)[number];

/** Returns a record's value of the facet; undefined if it has none or if the value is not a string. */
export function facetValue({ type, data }: Envelope, facet: Facet): string | undefined {
  const own = (data as { readonly [field: string]: unknown })[facet];
  const value = own ?? (type === "audit_log" ? data.metadata?.[facet] : undefined);
  return typeof value === "string" ? value : undefined;
}

/** What values of a field are: `list`: elements of one, or below one; `other`: null or an empty object. */
export type FieldType = "string" | "number" | "boolean" | "list" | "other";
