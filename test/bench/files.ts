import { closeSync, openSync, readFileSync, truncateSync, write, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import type { Exporter, ValueMap } from "tailgate/plugin";
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

/** writeSync does not rotate, so nothing else does. */
const FILE_BYTES_MAX = 1 << 30;

/** As in the reference: enough at once that the cost of a call does not matter. */
const PIECE_BYTES = 1 << 20;

/** What it costs to write batches of finished envelopes to a log file. */
export async function benchFiles({ rounds, share }: Scale): Promise<void> {
  const batches = await batchesOf(Math.ceil(SLICE_BATCHES * share));
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  const tailgate = await exporterFile(directory, "backlog");
  const single = await exporterFile(directory, "single");
  const limit = plainFile(directory);
  try {
    const chunks = chunksOf(Buffer.concat(batches.map(linesOf)));
    const samples = await measured(
      [
        {
          name: "files.tailgate",
          prepare: () => truncateSync(tailgate.path),
          run: () => writeBacklog(tailgate, batches),
        },
        {
          name: "files.single_batches",
          prepare: () => truncateSync(single.path),
          run: () => writeBatches(single, batches),
        },
        {
          name: "files.write_sync",
          prepare: () => truncateSync(limit.path),
          run: () => {
            writeChunks(limit, chunks);
            return batches.length * BATCH_RECORDS;
          },
        },
        {
          name: "files.write_in_pool",
          prepare: () => truncateSync(limit.path),
          run: async () => {
            await writeChunksInPool(limit, chunks);
            return batches.length * BATCH_RECORDS;
          },
        },
      ],
      rounds,
    );
    for (const { path } of [tailgate, single]) {
      if (!readFileSync(path).equals(readFileSync(limit.path))) {
        throw new Error("The exporter has written other lines than there were.");
      }
    }
    printFigures("records/s", samples, [
      { name: "files.ratio", of: "files.tailgate", to: "files.write_sync", target: ">= 0.85" },
      {
        name: "files.single_batches_ratio",
        of: "files.single_batches",
        to: "files.write_sync",
        target: undefined,
      },
      {
        name: "files.pool_ratio",
        of: "files.write_in_pool",
        to: "files.write_sync",
        target: undefined,
      },
    ]);
  } finally {
    for (const { exporter } of [tailgate, single]) {
      await exporter.close?.(AbortSignal.timeout(CLOSE_MS_MAX));
    }
    closeSync(limit.descriptor);
    await rm(directory, { recursive: true });
  }
}

const CLOSE_MS_MAX = 5_000;

interface ExporterFile {
  readonly path: string;
  readonly exporter: Exporter;
  /** The sequence of the next record: an exporter skips those that it has written. */
  next: number;
}

async function exporterFile(directory: string, name: string): Promise<ExporterFile> {
  const { default: plugin } =
    await built<typeof import("../../plugins/file.ts")>("plugins/file.js");
  const { testHost } =
    await built<typeof import("../../src/testing/host.ts")>("src/testing/host.js");
  const options = plugin.options.parse({ path: `${name}.log`, max_bytes: FILE_BYTES_MAX });
  const host = await testHost(name, { logDir: directory });
  const exporter = await plugin.open(options, host);
  return { path: join(directory, options.path), exporter, next: 1 };
}

/** As delivery passes on records queued during the previous write (src/delivery/delivery.ts). */
async function writeBacklog(file: ExporterFile, batches: readonly RecordBatch[]): Promise<number> {
  const { CompositeBatch } =
    await built<typeof import("../../src/batch/composite.ts")>("src/batch/composite.js");
  for (const batch of batches) number(file, batch);
  await file.exporter.write(new CompositeBatch(batches), new AbortController().signal);
  return batches.length * BATCH_RECORDS;
}

/** One at a time, as they arrive if the disk keeps up. */
async function writeBatches(file: ExporterFile, batches: readonly RecordBatch[]): Promise<number> {
  const { signal } = new AbortController();
  for (const batch of batches) {
    number(file, batch);
    await file.exporter.write(batch, signal);
  }
  return batches.length * BATCH_RECORDS;
}

function number(file: ExporterFile, batch: RecordBatch): void {
  batch.firstSequence = file.next;
  file.next += batch.length;
}

interface PlainFile {
  readonly path: string;
  readonly descriptor: number;
}

function plainFile(directory: string): PlainFile {
  const path = join(directory, "ready-bytes.log");
  return { path, descriptor: openSync(path, "a") };
}

function writeChunks({ descriptor }: PlainFile, chunks: readonly Uint8Array[]): void {
  for (const chunk of chunks) writeSync(descriptor, chunk);
}

const writeInPool = promisify(write);

/** The same without blocking the event loop, which a disk may do for seconds. */
async function writeChunksInPool(
  { descriptor }: PlainFile,
  chunks: readonly Uint8Array[],
): Promise<void> {
  for (const chunk of chunks) await writeInPool(descriptor, chunk);
}

function chunksOf(bytes: Uint8Array): Uint8Array[] {
  const count = Math.ceil(bytes.length / PIECE_BYTES);
  return Array.from({ length: count }, (_, index) =>
    bytes.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES),
  );
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
