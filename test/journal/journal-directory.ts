import { copyFile, cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import type { RecordBatch } from "../harness/records.ts";
import { AUDIT_LOGGER, type EnvelopeType } from "tailgate";
import { SqliteJournal, type SqliteJournalOptions } from "../../src/journal/sqlite.ts";
import type { JournalPage, JournalQuery, LogRecord } from "tailgate/plugin";
import { batchOf } from "tailgate/testing";

const DAY_MS = 86_400_000;
const GIB = 2 ** 30;

/** Nothing expires. */
const UNLIMITED = { bytes: GIB, ms: 3650 * DAY_MS };

/** Returns a record with that body; an audit event if the body begins with "audit". */
function recordWith(body: string): Partial<LogRecord> {
  if (!body.startsWith("audit")) return { body };
  return { body, scope: { name: AUDIT_LOGGER, version: "", attributes: new Map() } };
}

export function batch(...bodies: string[]): RecordBatch {
  return batchOf(bodies.map(recordWith)) as RecordBatch;
}

/**
 * The contents of a page, one text per record: `12 hello`; a gap as `3-5 retention`, with its type
 * if it has one.
 */
export function textsOf({ records, gaps }: JournalPage): string[] {
  const texts: [number, string][] = gaps.map(({ from, to, type, reason }) => [
    from,
    [`${from}-${to}`, reason, ...(type ? [type] : [])].join(" "),
  ]);
  for (let index = 0; index < (records?.length ?? 0); index++) {
    const sequence = records!.sequence(index);
    texts.push([sequence, `${sequence} ${records!.envelope(index).data.message}`]);
  }
  return texts.sort(([one], [other]) => one - other).map(([, text]) => text);
}

/** Reads the whole journal, a page at a time. */
export async function pagesOf(
  journal: SqliteJournal,
  query: Partial<JournalQuery> = {},
): Promise<JournalPage[]> {
  const pages: JournalPage[] = [];
  const isUpwards = query.order !== "desc";
  let from = query.from ?? (isUpwards ? 1 : journal.newest);
  for (;;) {
    const page = await journal.read({ ...query, from });
    if (page.to < page.from) return pages;
    pages.push(page);
    from = isUpwards ? page.to + 1 : page.from - 1;
  }
}

export async function allOf(
  journal: SqliteJournal,
  query: Partial<JournalQuery> = {},
): Promise<string[]> {
  const pages = await pagesOf(journal, query);
  if (query.order === "desc") pages.reverse();
  return pages.flatMap(textsOf);
}

/** A directory with a journal that is opened repeatedly. Removed at the end of its scope. */
export class JournalDirectory implements AsyncDisposable {
  readonly path: string;
  /** The alarms raised so far. */
  readonly alarms: string[] = [];
  /** The thread of the journal opened last. */
  worker!: Worker;
  readonly #open = new Set<SqliteJournal>();

  private constructor(path: string) {
    this.path = path;
  }

  static async create(): Promise<JournalDirectory> {
    return new JournalDirectory(await mkdtemp(join(tmpdir(), "tailgate-journal-")));
  }

  file(name: string): string {
    return join(this.path, name);
  }

  async open(
    retention: Partial<Record<EnvelopeType, { bytes?: number; ms?: number }>> = {},
  ): Promise<SqliteJournal> {
    const watch = (worker: Worker): void => {
      this.worker = worker;
    };
    process.on("worker", watch);
    const options: SqliteJournalOptions = {
      directory: this.path,
      retention: {
        system_log: { ...UNLIMITED, ...retention.system_log },
        audit_log: { ...UNLIMITED, ...retention.audit_log },
      },
      alarm: (text) => this.alarms.push(text),
    };
    try {
      const journal = await SqliteJournal.open(options);
      this.#open.add(journal);
      return journal;
    } finally {
      process.off("worker", watch);
    }
  }

  /** Ends the journal's thread as the end of its process would: nothing is closed or restarted. */
  async crash(underway: readonly Promise<void>[] = []): Promise<void> {
    const kill = (worker: Worker): void => void worker.terminate();
    process.on("worker", kill);
    await this.worker.terminate();
    await Promise.allSettled(underway);
    // Without its thread it writes nothing, but it would start another thread to see whether the disk works again.
    for (const journal of this.#open) await journal.close();
    this.#open.clear();
    process.off("worker", kill);
  }

  /**
   * Ends the journal opened last and leaves its files as SIGKILL would: ending only the thread lets
   * SQLite checkpoint the write-ahead log.
   */
  async kill(): Promise<void> {
    const copy = await mkdtemp(join(tmpdir(), "tailgate-killed-"));
    await cp(this.path, copy, { recursive: true });
    await this.crash();
    for (const name of await readdir(copy)) await copyFile(join(copy, name), this.file(name));
    await rm(copy, { recursive: true });
  }

  async close(journal: SqliteJournal): Promise<void> {
    this.#open.delete(journal);
    await journal.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const journal of this.#open) await journal.close();
    await rm(this.path, { recursive: true, force: true });
  }
}
