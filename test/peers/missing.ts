import { hasPeer } from "./peer.ts";

/** Vitest's global setup: reports which tests will be skipped, or fail in CI, because a program is missing. */
export default function setup(): void {
  const wanted = ["otelcol", "victoria-logs", "jaeger", ...(process.env["LOKI"] ? ["loki"] : [])];
  for (const program of wanted.filter((name) => !hasPeer(name))) {
    const what = process.env["CI"] ? "fail" : "are skipped";
    console.warn(`MISSING: ${program}. The tests that need it ${what}: npm run setup:peers`);
  }
}
