/** Shared by the journal benchmarks: records, journals in their own directories, and row tables. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import type { SqliteJournal } from "../../src/journal/sqlite.ts";
import { built } from "./built.ts";
import { otlpRequest } from "./otlp-request.ts";

const UNLIMITED = { bytes: 1 << 30, ms: 86_400_000 };

/** A temporary directory on disk, not in memory. */
export class BenchDirectory implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async make(): Promise<BenchDirectory> {
    return new BenchDirectory(await mkdtemp(join(tmpdir(), "tailgate-bench-")));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.path, { recursive: true });
  }
}

export async function openJournal(directory: string): Promise<SqliteJournal> {
  const { SqliteJournal: Journal } =
    await built<typeof import("../../src/journal/sqlite.ts")>("src/journal/sqlite.js");
  const alarm = (text: string): never => {
    throw new Error(text);
  };
  const retention = { system_log: UNLIMITED, audit_log: UNLIMITED };
  return Journal.open({ directory, retention, alarm });
}

/** Creates batches of this many typical records, as decoded from an OTLP request. */
export async function batchMaker(records: number): Promise<() => RecordBatch> {
  const { BatchBuilder } = await built<typeof import("../../src/batch/batch-builder.ts")>(
    "src/batch/batch-builder.js",
  );
  const { encodeOtlpProtobuf } = await built<typeof import("../../src/otlp/request-encoder.ts")>(
    "src/otlp/request-encoder.js",
  );
  const { protobuf } = otlpRequest(records);
  return function makeBatch() {
    const open = new BatchBuilder();
    encodeOtlpProtobuf(protobuf, open, 0);
    return open.take()[0]!;
  };
}

/** The common alternative: one row per record, with its envelope and the original record. */
export class RowTable {
  readonly #db: DatabaseSync;
  readonly #insert;
  readonly #select;
  #sequence = 0;

  constructor(directory: string) {
    this.#db = new DatabaseSync(join(directory, "rows.db"));
    this.#db.exec("PRAGMA journal_mode = WAL");
    this.#db.exec("PRAGMA synchronous = FULL");
    this.#db
      .exec(`CREATE TABLE logs (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, type TEXT NOT NULL,
      level TEXT NOT NULL, logger TEXT NOT NULL, envelope BLOB NOT NULL, otlp BLOB NOT NULL)`);
    this.#insert = this.#db.prepare("INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?)");
    this.#select = this.#db.prepare("SELECT * FROM logs WHERE seq >= ? ORDER BY seq LIMIT ?");
  }

  /** All records of the batches in one transaction. */
  commit(batches: readonly RecordBatch[]): void {
    this.#db.exec("BEGIN IMMEDIATE");
    for (const batch of batches) {
      const now = Date.now();
      for (let index = 0; index < batch.length; index++) {
        this.#insert.run(
          ++this.#sequence,
          now,
          batch.type(index),
          batch.level(index),
          batch.logger(index),
          batch.bytes(index),
          batch.encodedRecord(index).record,
        );
      }
    }
    this.#db.exec("COMMIT");
  }

  /** Reads all envelopes, this many rows at a time, and returns their size in bytes. */
  replay(pageRows: number): number {
    let bytes = 0;
    for (let next = 1; next <= this.#sequence; next += pageRows) {
      for (const { envelope } of this.#select.all(next, pageRows)) {
        bytes += (envelope as Uint8Array).length;
      }
    }
    return bytes;
  }

  close(): void {
    this.#db.close();
  }
}
