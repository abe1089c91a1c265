import { onTestFinished } from "vitest";
import type { LogRecord } from "tailgate/plugin";
import { JournalStage } from "./paged-journal.ts";
import { Rig, type RigOptions } from "./websocket.ts";

/** Until the end of the test. */
export async function startRig(options?: RigOptions): Promise<Rig> {
  const rig = await Rig.start(options);
  onTestFinished(() => rig.close());
  return rig;
}

/** A rig whose memory holds so many records; older ones are read from the disk. */
export async function startStage(
  memoryRecords: number,
  options: RigOptions = {},
): Promise<{ rig: Rig; journal: JournalStage }> {
  let journal: JournalStage | undefined;
  const rig = await startRig({
    ...options,
    journal: (inner) => (journal = new JournalStage(inner, memoryRecords)),
  });
  return { rig, journal: journal! };
}

/** Records whose bodies are numbers that grow. */
export function numbered(
  from: number,
  count: number,
  given: Partial<LogRecord> = {},
): Partial<LogRecord>[] {
  return Array.from({ length: count }, (_, offset) => ({ body: `${from + offset}`, ...given }));
}

/** Both included. */
export function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, offset) => from + offset);
}

export const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };

/** Records whose body is their sequence: every tenth an audit event, every seventh an ERROR. */
export function mixed(from: number, count: number, padding = ""): Partial<LogRecord>[] {
  return numbers(from, from + count - 1).map((sequence) => ({
    body: `${sequence}${padding}`,
    severityText: sequence % 7 === 0 ? "ERROR" : "INFO",
    ...(sequence % 10 === 0 && { scope: AUDIT }),
  }));
}

/** {@link mixed} records behind those that are there, in batches. */
export function emitMixed(rig: Rig, count: number, batchRecords = 10, padding = ""): void {
  for (let done = 0; done < count; done += batchRecords) {
    const records = Math.min(batchRecords, count - done);
    rig.emit(mixed(rig.journal.newest + 1, records, padding));
  }
}
