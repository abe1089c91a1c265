/** The typical record of an orchestrator: a body of 60 characters, four attributes, one of them nested. */

import { SeverityNumber } from "@opentelemetry/api";

export const LOGGER_NAME = "orchestrator.server";

export const SEVERITY_NUMBER = SeverityNumber.INFO;
export const SEVERITY_TEXT = "INFO";

/** A power of two, so that a loop finds the next body fast. */
const BODIES = 64;

/**
 * Bodies of 60 characters, each as a flat string, as logged texts usually are: a concatenated string that was not read
 * yet costs its first reader.
 */
const bodies = Array.from({ length: BODIES }, (_, index) => {
  const text = `Instance inst-${1000 + index} finished step 12 of 40 with exit status 0`;
  return Buffer.from(text.padEnd(60, ".")).toString("latin1");
});

export function typicalBody(index: number): string {
  return bodies[index & (BODIES - 1)]!;
}

/** A text that each record contains once, in every encoding. */
export const ONCE_IN_EACH = "inst-7f3a9c";

/** Created for each record, like the object literal of a logging call. */
export function typicalAttributes() {
  return {
    instance_id: ONCE_IN_EACH,
    role: "engineer",
    attempt: 2,
    usage: { input_tokens: 1843, output_tokens: 512 },
  };
}
