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

/** Nothing is trimmed. */
const KEPT = { bytes: GIB, ms: 3650 * DAY_MS };

/** A record of that body; an audit event where the body begins with "audit". */
function recordWith(body: string): Partial<LogRecord> {
  if (!body.startsWith("audit")) return { body };
  return { body, scope: { name: AUDIT_LOGGER, version: "", attributes: new Map() } };
}

export function batch(...bodies: string[]): RecordBatch {
  return batchOf(bodies.map(recordWith)) as RecordBatch;
}

/** What a journal has, as a text a record: `12 hello`; a gap as `3-5 retention`, with its type where it has one. */
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

/** Reads from one end to the other, a page at a time. */
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

/** A directory with a journal that is opened again and again. All is gone at the end of its scope. */
export class JournalDirectory implements AsyncDisposable {
  readonly path: string;
  /** What an operator was told. */
  readonly alarms: string[] = [];
  /** The thread of the journal that was opened last. */
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
        system_log: { ...KEPT, ...retention.system_log },
        audit_log: { ...KEPT, ...retention.audit_log },
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

  /** Ends the thread of the journal as the end of its process would: nothing is closed, nor begun again. */
  async crash(underway: readonly Promise<void>[] = []): Promise<void> {
    const kill = (worker: Worker): void => void worker.terminate();
    process.on("worker", kill);
    this.#open.clear();
    await this.worker.terminate();
    await Promise.allSettled(underway);
    process.off("worker", kill);
  }

  /**
   * Ends the journal that was opened last and leaves its files as SIGKILL would: the end of a thread alone lets SQLite
   * bring the write-ahead log into the tables.
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
