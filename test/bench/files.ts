import { closeSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RecordBatch } from "../../src/encode/record-batch.ts";
import type { Exporter, ValueMap } from "../../src/plugin.ts";
import { built } from "./built.ts";
import { printFigures } from "./figure.ts";
import { measured, type Scale } from "./rounds.ts";
import {
  LOGGER_NAME,
  SEVERITY_NUMBER,
  SEVERITY_TEXT,
  typicalAttributes,
  typicalBody,
} from "./typical-record.ts";

const BATCH_RECORDS = 1_000;
const SLICE_BATCHES = 24;

/** writeSync knows no rotation: there is none. */
const FILE_BYTES_MAX = 1 << 30;

/** What it costs to bring batches of ready envelopes into a log file. */
export async function benchFiles({ rounds, share }: Scale): Promise<void> {
  const batches = await batchesOf(Math.ceil(SLICE_BATCHES * share));
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  const tailgate = await exporterFile(directory);
  const limit = plainFile(directory);
  try {
    const pieces = batches.map(linesOf);
    const samples = await measured(
      [
        {
          name: "files.tailgate",
          prepare: () => truncateSync(tailgate.path),
          run: () => writeBatches(tailgate, batches),
        },
        {
          name: "files.write_sync",
          prepare: () => truncateSync(limit.path),
          run: () => writePieces(limit, pieces),
        },
      ],
      rounds,
    );
    if (!readFileSync(tailgate.path).equals(readFileSync(limit.path))) {
      throw new Error("The exporter has written other lines than there were.");
    }
    printFigures("records/s", samples, [
      { name: "files.ratio", of: "files.tailgate", to: "files.write_sync", target: ">= 0.85" },
    ]);
  } finally {
    await tailgate.exporter.close?.(AbortSignal.timeout(CLOSE_MS_MAX));
    closeSync(limit.descriptor);
    await rm(directory, { recursive: true });
  }
}

const CLOSE_MS_MAX = 5_000;

interface ExporterFile {
  readonly path: string;
  readonly exporter: Exporter;
  /** The sequence of the next record: an exporter passes over those that it has written. */
  next: number;
}

async function exporterFile(directory: string): Promise<ExporterFile> {
  const { default: plugin } =
    await built<typeof import("../../plugins/file.ts")>("plugins/file.js");
  const { testHost } =
    await built<typeof import("../../src/testing/host.ts")>("src/testing/host.js");
  const options = plugin.options.parse({ max_bytes: FILE_BYTES_MAX });
  const host = await testHost("file", { logDir: directory });
  const exporter = await plugin.open(options, host);
  return { path: join(directory, options.path), exporter, next: 1 };
}

async function writeBatches(file: ExporterFile, batches: readonly RecordBatch[]): Promise<number> {
  const { signal } = new AbortController();
  for (const batch of batches) {
    batch.firstSequence = file.next;
    file.next += batch.length;
    await file.exporter.write(batch, signal);
  }
  return batches.length * BATCH_RECORDS;
}

interface PlainFile {
  readonly path: string;
  readonly descriptor: number;
}

function plainFile(directory: string): PlainFile {
  const path = join(directory, "ready-bytes.log");
  return { path, descriptor: openSync(path, "a") };
}

function writePieces({ descriptor }: PlainFile, pieces: readonly Uint8Array[]): number {
  for (const piece of pieces) writeSync(descriptor, piece);
  return pieces.length * BATCH_RECORDS;
}

/** The lines of a batch, as the exporter writes them. */
function linesOf(batch: RecordBatch): Uint8Array {
  const lineFeed = Buffer.from("\n");
  return Buffer.concat(
    Array.from({ length: batch.length }, (_, index) => [batch.data(index), lineFeed]).flat(),
  );
}

async function batchesOf(count: number): Promise<RecordBatch[]> {
  const { batchOf } =
    await built<typeof import("../../src/testing/batch.ts")>("src/testing/batch.js");
  const records = Array.from({ length: BATCH_RECORDS }, (_, index) => ({
    severityNumber: SEVERITY_NUMBER,
    severityText: SEVERITY_TEXT,
    body: typicalBody(index),
    attributes: valueMap(typicalAttributes()),
    scope: { name: LOGGER_NAME, version: "", attributes: new Map<never, never>() },
  }));
  return Array.from({ length: count }, () => batchOf(records) as RecordBatch);
}

interface Values {
  readonly [key: string]: string | number | Values;
}

function valueMap(values: Values): ValueMap {
  return new Map(
    Object.entries(values).map(([key, value]) => [
      key,
      typeof value === "object" ? valueMap(value) : value,
    ]),
  );
}
