import { readFileSync } from "node:fs";
import { join } from "node:path";
import { batchOf, testHost, type TestHost } from "tailgate/testing";
import { onTestFinished } from "vitest";
import auditFile from "../../plugins/audit-file.ts";
import type { Batch, Exporter, LogRecord } from "tailgate/plugin";

export const NEVER = new AbortController().signal;
export const DAY_MS = 86_400_000;
/** Of today: older files would be deleted. */
export const NOON_MS = Math.floor(Date.now() / DAY_MS) * DAY_MS + DAY_MS / 2;

export const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };

interface Opened {
  readonly exporter: Exporter;
  readonly host: TestHost;
  /** The path of a file in the audit directory. */
  at(name: string): string;
}

/** The exporter on a log directory of its own, or on that of a host. */
export async function openAudit(
  options: Readonly<Record<string, unknown>> = {},
  given?: TestHost,
): Promise<Opened> {
  const host = given ?? (await hostWithDirectory());
  const exporter = await auditFile.open(auditFile.options.parse(options), host);
  onTestFinished(() => exporter.close?.(NEVER));
  return { exporter, host, at: (name) => join(host.logDir, "audit", name) };
}

export async function hostWithDirectory(): Promise<TestHost> {
  const host = await testHost("audit-file");
  onTestFinished(() => host.close());
  return host;
}

/** A file name for the UTC day of that moment. */
export function nameOf(timeMs: number): string {
  return `audit_${new Date(timeMs).toISOString().slice(0, 10).replaceAll("-", "")}.jsonl`;
}

let nextSequence = 1;

export function event(message: string, appendedAtMs = NOON_MS): Batch {
  return auditBatch([{ body: message }], appendedAtMs);
}

export function auditBatch(records: readonly Partial<LogRecord>[], appendedAtMs = NOON_MS): Batch {
  const firstSequence = nextSequence;
  nextSequence += records.length;
  return batchOf(
    records.map((record) => ({ scope: AUDIT, ...record })),
    { firstSequence, appendedAtMs },
  );
}

export function read(path: string): string {
  return readFileSync(path, "utf8");
}

export function events(path: string): string[] {
  const lines = read(path).split("\n").slice(0, -1);
  return lines.map((line) => (JSON.parse(line) as { event: string }).event);
}
