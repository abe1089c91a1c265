import { vi } from "vitest";

/**
 * How long a wait for a condition lasts before it fails. Vitest's second is too short for a busy machine, and a wait that
 * succeeds ends at once whatever the limit is. `expect.poll` gets the same by the configuration.
 */
const TIMEOUT_MS = 15_000;

const { waitFor, waitUntil } = vi;

vi.waitFor = (check, options) => waitFor(check, patient(options));
vi.waitUntil = (check, options) => waitUntil(check, patient(options));

function patient(options: Parameters<typeof waitFor>[1] = {}): typeof options {
  return typeof options === "number" ? options : { timeout: TIMEOUT_MS, ...options };
}
