/** The exporters `file` and `audit-file` on log directories of their own, with what they write. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Batch, Exporter, LogRecord } from "tailgate/plugin";
import { batchOf, testHost, type TestHost } from "tailgate/testing";
import { onTestFinished } from "vitest";
import auditFile from "../../plugins/audit-file.ts";
import file from "../../plugins/file.ts";

export const NEVER = new AbortController().signal;
export const DAY_MS = 86_400_000;
/** Of today: older audit files would be deleted. */
export const NOON_MS = Math.floor(Date.now() / DAY_MS) * DAY_MS + DAY_MS / 2;

export const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };

interface OpenFile {
  readonly exporter: Exporter;
  readonly host: TestHost;
  readonly path: string;
}

interface OpenAuditFile {
  readonly exporter: Exporter;
  readonly host: TestHost;
  /** Returns the path of a file in the audit directory. */
  at(name: string): string;
}

/** Creates a host with a log directory of its own, until the end of the test. */
export async function hostWithDirectory(id = "file"): Promise<TestHost> {
  const host = await testHost(id);
  onTestFinished(() => host.close());
  return host;
}

/** Opens `file` on a log directory of its own, or on that of a host. */
export async function openFile(
  options: Readonly<Record<string, unknown>> = {},
  given?: TestHost,
): Promise<OpenFile> {
  const host = given ?? (await hostWithDirectory());
  const parsed = file.options.parse(options);
  const exporter = await file.open(parsed, host);
  onTestFinished(() => exporter.close?.(NEVER));
  return { exporter, host, path: join(host.logDir, parsed.path) };
}

/** Opens `audit-file` on a log directory of its own, or on that of a host. */
export async function openAudit(
  options: Readonly<Record<string, unknown>> = {},
  given?: TestHost,
): Promise<OpenAuditFile> {
  const host = given ?? (await hostWithDirectory("audit-file"));
  const exporter = await auditFile.open(auditFile.options.parse(options), host);
  onTestFinished(() => exporter.close?.(NEVER));
  return { exporter, host, at: (name) => join(host.logDir, "audit", name) };
}

/** Batches of system logs with growing sequences from 1. */
export function batches(...given: string[][]): Batch[] {
  let firstSequence = 1;
  return given.map((bodies) => {
    const batch = batchOf(
      bodies.map((body) => ({ body })),
      { firstSequence },
    );
    firstSequence += bodies.length;
    return batch;
  });
}

let nextAuditSequence = 1;

/** One audit event, whose sequence follows that of the event before. */
export function event(message: string, appendedAtMs = NOON_MS): Batch {
  return auditBatch([{ body: message }], appendedAtMs);
}

export function auditBatch(records: readonly Partial<LogRecord>[], appendedAtMs = NOON_MS): Batch {
  const firstSequence = nextAuditSequence;
  nextAuditSequence += records.length;
  return batchOf(
    records.map((record) => ({ scope: AUDIT, ...record })),
    { firstSequence, appendedAtMs },
  );
}

/** The lines that `file` should write for the batch. */
export function linesOf(batch: Batch): string[] {
  return Array.from(
    { length: batch.length },
    (_, index) => `${Buffer.from(batch.data(index)).toString()}\n`,
  );
}

/** The name of the audit file of a moment's UTC day. */
export function nameOf(timeMs: number): string {
  return `audit_${new Date(timeMs).toISOString().slice(0, 10).replaceAll("-", "")}.jsonl`;
}

export function read(path: string): string {
  return readFileSync(path, "utf8");
}

/** The messages in a file of system logs. */
export function messages(path: string): string[] {
  return jsonLines<{ message: string }>(path).map(({ message }) => message);
}

/** The events in an audit file. */
export function events(path: string): string[] {
  return jsonLines<{ event: string }>(path).map(({ event: name }) => name);
}

function jsonLines<Line>(path: string): Line[] {
  const lines = read(path).split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Line);
}

/** The contents of a file and of its backups, the oldest first. */
export function readRotation(path: string, backups: number): string[] {
  const older = Array.from({ length: backups }, (_, index) => `${path}.${backups - index}`);
  return [...older, path].filter((name) => existsSync(name)).map(read);
}
