import { hasPeer } from "./peer.ts";

/** Vitest's global setup: says before the tests which of them will be skipped, or fail in CI, for want of a program. */
export default function setup(): void {
  const wanted = ["otelcol", "victoria-logs", "jaeger", ...(process.env["LOKI"] ? ["loki"] : [])];
  for (const program of wanted.filter((name) => !hasPeer(name))) {
    const what = process.env["CI"] ? "fail" : "are skipped";
    console.warn(`MISSING: ${program}. The tests that need it ${what}: npm run setup:peers`);
  }
}
