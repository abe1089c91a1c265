/** What principals may see beside the records that they may read. */

import { parseFilter } from "../../filter/filter.ts";
import type { ComponentStatus } from "../../gateway/status.ts";
import type { Access } from "../../plugin/index.ts";

/** Whether a principal may read every record of both types, and so texts that may quote one. */
export function readsEverything({ scopes, filter }: Access): boolean {
  return scopes.has("read:system") && scopes.has("read:audit") && filter.key === "";
}

/** The key of the filter of a principal that may read all audit events and no system logs. */
const AUDIT_ONLY = parseFilter({ type: "audit" }).key;

/** Whether a principal may read every audit event, and so the state of their hash chain. */
export function readsTrail({ scopes, filter }: Access): boolean {
  return scopes.has("read:audit") && (filter.key === "" || filter.key === AUDIT_ONLY);
}

const HIDDEN_TROUBLE =
  "This component has reported an error; its text needs a token that reads all records.";

/** Returns the last error of a component, null if there is none. Its text may quote records, URLs and paths. */
export function troubleOf({ lastError }: ComponentStatus, access: Access): string | null {
  if (lastError === undefined) return null;
  return readsEverything(access) ? lastError : HIDDEN_TROUBLE;
}

/** `JOURNAL_FULL: The disk is full. (...)` */
const CODE = /^[A-Z_]+(?=: )/;

/** Returns why the gateway accepts no records. Of an error with a text, which may quote paths, strangers see the code. */
export function reasonOf(notReady: string | undefined, access: Access): string | null {
  if (notReady === undefined) return null;
  return readsEverything(access) ? notReady : (CODE.exec(notReady)?.[0] ?? notReady);
}
