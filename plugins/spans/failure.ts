import { numberIn, textIn } from "./fields.ts";
import type { InstanceEvent } from "./instance-event.ts";

/** What an instance_terminate calls the end that it tells of. */
const OUTCOMES = ["outcome", "final_state", "status", "state", "reason"] as const;

const FAILURES =
  /^(error(ed)?|fail(ed|ure)|fatal|crash(ed)?|killed|aborted|time(out|d_out)|lost|dead|oom)$/i;

/** Why an instance was terminated by a failure; undefined where it was not. */
export function failureOf({ fields, level }: InstanceEvent): string | undefined {
  const error = textIn(fields, "exception.message", "error_message", "error", "exception.type");
  if (error !== undefined) return error;
  for (const name of OUTCOMES) {
    const outcome = textIn(fields, name);
    if (outcome !== undefined && FAILURES.test(outcome)) return `${name}: ${outcome}`;
  }
  const exitCode = numberIn(fields, "exit_code") ?? 0;
  if (exitCode !== 0) return `exit_code: ${exitCode}`;
  return level === "ERROR" || level === "CRITICAL" ? `terminated with ${level}` : undefined;
}
