import type { StreamStatus } from "../../client/index.ts";
import { TEXTS } from "../texts.ts";

/** When a stream tries again, counted from now; "" where it need not. */
export function retryText({ since, retryInMs }: StreamStatus, nowMs: number): string {
  if (retryInMs === undefined) return "";
  return TEXTS.state.retry(Math.max(0, Math.ceil((since + retryInMs - nowMs) / 1000)));
}
