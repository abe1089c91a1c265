import type { Envelope } from "./envelope.ts";

/** What records are told apart by, each by the name that the filter language has for it. */
export const FACETS = ["logger", "action", "instance_id", "service"] as const;

export type Facet = (typeof FACETS)[number];

/** What a record has of it; undefined where it has nothing, or no text. */
export function facetValue({ type, data }: Envelope, facet: Facet): string | undefined {
  const own = (data as { readonly [field: string]: unknown })[facet];
  const value = own ?? (type === "audit_log" ? data.metadata?.[facet] : undefined);
  return typeof value === "string" ? value : undefined;
}
