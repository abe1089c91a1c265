import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { defineExporter, textOf, z, type Batch, type Exporter, type Host } from "tailgate/plugin";
import { findLastEvent } from "./log-file/audit-resume.ts";
import { LineFile } from "./log-file/line-file.ts";
import { LineBuffer, LineWriter } from "./log-file/line-writer.ts";
import { OtherWriters } from "./log-file/other-writers.ts";

const DIRECTORY = "audit";
const FILE_NAME = /^audit_(\d{4})(\d{2})(\d{2})\.jsonl$/;

const DAY_MS = 86_400_000;

const options = z.strictObject({
  retention_days: z
    .int()
    .min(1)
    .max(36_500)
    .default(30)
    .describe("Files older than this are deleted."),
});

export default defineExporter({
  name: "audit-file",
  description: "Writes audit events as JSON lines to one file per UTC day, synced to disk.",
  type: "audit_log",
  complete: true,
  options,
  owns: () => [DIRECTORY],
  async open({ retention_days: retentionDays }, host) {
    const nowMs = host.journal.clock.now();
    const file = await LineFile.open(host.logDir, fileName(dayOf(nowMs)));
    const paths = (days: Day[]): string[] => days.map((day) => join(host.logDir, fileName(day)));
    const days = await listFilledDays(host.logDir);
    const resumeAfter = await findLastEvent(paths(days), host);
    const newest = days[0] ?? -Infinity;
    const others = new OtherWriters(host, async () => paths(await listDays(host.logDir)));
    const exporter = new DailyFile(file, others, { retentionDays, newest, resumeAfter }, host);
    await exporter.deleteOldFiles();
    return exporter;
  },
});

/** A UTC day, as the number of days since 1970-01-01. */
type Day = number;

interface DailyFileOptions {
  readonly retentionDays: number;
  /** The day of the newest event in the files; -Infinity if there is none. */
  readonly newest: Day;
  /** Its sequence; undefined if unknown. */
  readonly resumeAfter: number | undefined;
}

class DailyFile implements Exporter {
  readonly resumeAfter: number | undefined;
  readonly #file: LineFile;
  readonly #retentionDays: number;
  readonly #host: Host;
  readonly #lines: LineWriter;
  readonly #others: OtherWriters;
  /** The day of the newest event; -Infinity before the first. */
  #day: Day;

  constructor(
    file: LineFile,
    others: OtherWriters,
    { retentionDays, newest, resumeAfter }: DailyFileOptions,
    host: Host,
  ) {
    this.#file = file;
    this.#others = others;
    this.#lines = new LineWriter(file);
    this.#retentionDays = retentionDays;
    this.#host = host;
    this.#day = newest;
    this.resumeAfter = resumeAfter;
  }

  /** Skips records that a previous attempt has written. */
  async write(batch: Batch, signal: AbortSignal): Promise<void> {
    for (const run of runsByDay(batch)) {
      await this.#beginDay(run.day, batch.appendedAt(run.first));
      this.#others.setGrowths(this.#file.growths);
      await this.#add(batch, run, signal);
      await this.#lines.flush(signal);
      await this.#file.sync();
    }
  }

  async #add(batch: Batch, { first, end }: DayRun, signal: AbortSignal): Promise<void> {
    for (let index = first; index < end; index++) {
      const sequence = batch.sequence(index);
      if (sequence <= this.#file.sequence) continue;
      this.#lines.addLine(batch.auditLine(index), sequence);
      if (this.#lines.isFull) await this.#lines.proceed(signal);
    }
  }

  writeSync(batch: Batch): void {
    for (const run of runsByDay(batch)) {
      this.#day = Math.max(run.day, this.#day);
      this.#file.readySync(fileName(this.#day));
      const written = this.#file.sequence;
      const lines = new LineBuffer();
      this.#addSync(batch, run, written, lines);
      this.#file.appendSync(lines);
      this.#file.persistSync();
    }
  }

  #addSync(batch: Batch, { first, end }: DayRun, written: number, lines: LineBuffer): void {
    for (let index = first; index < end; index++) {
      const sequence = batch.sequence(index);
      if (sequence <= written) continue;
      lines.addLine(batch.auditLine(index), sequence);
      if (lines.isFull) this.#file.appendSync(lines);
    }
  }

  async close(): Promise<void> {
    this.#others.close();
    await this.#file.close();
  }

  /**
   * If the clock goes back, events still go to the newest file, also after a restart. Each day's lines are synced before
   * the next day begins.
   */
  async #beginDay(day: Day, appendedAtMs: number): Promise<void> {
    if (day <= this.#day) return this.#file.ready(fileName(this.#day));
    await this.#file.ready(fileName(day));
    this.#day = day;
    await this.deleteOldFiles(appendedAtMs);
  }

  /** Deletes expired files, whichever process wrote them. A failure is retried on the next day. */
  async deleteOldFiles(nowMs?: number): Promise<void> {
    const { clock } = this.#host.journal;
    const oldest = dayOf(clock.agedBefore(this.#retentionDays * DAY_MS, nowMs));
    let deleted = 0;
    try {
      for (const day of await listDays(this.#host.logDir)) {
        if (day >= oldest) continue;
        await rm(join(this.#host.logDir, fileName(day)));
        deleted++;
      }
    } catch (error) {
      this.#host.log.warning(`Old audit files could not be deleted: ${textOf(error)}`);
    }
    if (deleted > 0) {
      this.#host.log.info(
        `Deleted ${deleted} audit ${deleted === 1 ? "file" : "files"} older than ${this.#retentionDays} days.`,
      );
    }
  }
}

/** Consecutive records of a batch that were appended on the same UTC day. */
interface DayRun {
  readonly day: Day;
  readonly first: number;
  readonly end: number;
}

function runsByDay(batch: Batch): DayRun[] {
  const runs: DayRun[] = [];
  for (let first = 0; first < batch.length;) {
    const day = dayOf(batch.appendedAt(first));
    let end = first + 1;
    while (end < batch.length && dayOf(batch.appendedAt(end)) === day) end++;
    runs.push({ day, first, end });
    first = end;
  }
  return runs;
}

/** Returns the days that have a file. */
async function listDays(logDir: string): Promise<Day[]> {
  const entries = await readdir(join(logDir, DIRECTORY), { withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.map(({ name }) => dayOfFileName(name)).filter((day) => day !== undefined);
}

/** Returns the days whose files are not empty, the newest first. */
async function listFilledDays(logDir: string): Promise<Day[]> {
  const days: Day[] = [];
  for (const day of await listDays(logDir)) {
    const { size } = await stat(join(logDir, fileName(day)));
    if (size > 0) days.push(day);
  }
  return days.sort((one, other) => other - one);
}

function dayOf(timeMs: number): Day {
  return Math.floor(timeMs / DAY_MS);
}

function fileName(day: Day): string {
  const digits = new Date(day * DAY_MS).toISOString().slice(0, 10).replaceAll("-", "");
  return join(DIRECTORY, `audit_${digits}.jsonl`);
}

/** Returns undefined for other names, including those of dates that do not exist. */
function dayOfFileName(name: string): Day | undefined {
  const match = FILE_NAME.exec(name);
  if (!match) return undefined;
  const day = dayOf(Date.UTC(Number(match[1]), Number(match[2]) - 1, Number(match[3])));
  return fileName(day) === join(DIRECTORY, name) ? day : undefined;
}
