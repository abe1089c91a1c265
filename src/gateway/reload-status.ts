import { createHash } from "node:crypto";
import { SECTIONS } from "../config/built-ins.ts";
import type { Config } from "../config/config.ts";
import { mask } from "../config/secrets.ts";
import type { ReloadStatus } from "./status.ts";

/** Returns the state of a gateway that was just started. */
export function initialReloadStatus(config: Config): ReloadStatus {
  const outcomes = { applied: 0, unchanged: 0, invalid: 0, refused: 0, failed: 0 };
  return { outcomes, succeededAtMs: Date.now(), hash: hashOf(config), lastError: undefined };
}

const HASH_DIGITS = 16;

/** Returns a hash by which gateways with the same configuration are known. Secrets do not count: they could be guessed. */
export function hashOf(config: Config): string {
  const sections = SECTIONS.map((section) => [
    section,
    config[section].map(({ id, given = {} }) => [id, given]),
  ]);
  const text = JSON.stringify(mask([config.settings, ...sections]));
  return createHash("sha256").update(text).digest("hex").slice(0, HASH_DIGITS);
}
