/** The names of the rules, as they are in the configuration, in masks and in metrics. */

export const BUILT_IN_RULES = [
  "email",
  "card",
  "jwt",
  "authorization",
  "cloud_keys",
  "private_key",
  "assignments",
  "url_credentials",
] as const;

export type BuiltInRule = (typeof BUILT_IN_RULES)[number];

/** The rule of the option `keys`. */
export const KEYS_RULE = "keys";

/** Where replaced text begins; it ends with `]`. */
export const MASK_START = "[REDACTED:";
export const HASH_START = "[HASH:";

/** Attributes that identify a record or an instance. Only the option `keys` redacts them, because others refer to them. */
const IDENTIFIERS: readonly string[] = ["log.record.uid", "instance_id"];

export function isIdentifier(key: string): boolean {
  return IDENTIFIERS.includes(key);
}

/** Their keys, encoded. */
export const IDENTIFIER_BYTES: readonly Uint8Array[] = IDENTIFIERS.map((key) => Buffer.from(key));
