/** A thread that searches and reads the history. It has a connection of its own, which only reads. */

import type { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import { FileIdentity } from "../runtime/private-file.ts";
import { textOf } from "../wire/errors.ts";
import { BlockSearcher } from "./block-searcher.ts";
import { openForReading } from "./database.ts";
import { historyPath } from "./files.ts";
import type { HistoryPage, HistoryQuery } from "./history.ts";
import { HistoryReader } from "./reader.ts";
import type { FindResult, SearchSetup, SearchTask } from "./search-tasks.ts";
import type { TaskReply } from "./worker-pool.ts";

const { directory } = workerData as SearchSetup;

/** The file that is open. */
interface OpenFile {
  readonly db: DatabaseSync;
  readonly identity: FileIdentity;
  readonly searcher: BlockSearcher;
  readonly reader: HistoryReader;
}

let current: OpenFile | undefined;

parentPort!.on("message", (task: SearchTask) => {
  let reply: TaskReply<unknown>;
  try {
    reply = { result: resultOf(task) };
  } catch (error) {
    reply = { failure: textOf(error) };
  }
  const hasRecords = task.kind === "find" || task.kind === "read";
  parentPort!.postMessage(reply, hasRecords ? memoryOf(reply) : []);
});

function resultOf(task: SearchTask): unknown {
  const { db, searcher, reader } = openFile();
  switch (task.kind) {
    case "plan":
      return searcher.plan(task.search);
    case "find":
      return searcher.find(task);
    case "read":
      return readPage(db, reader, task.query);
    default:
      return searcher.count(task);
  }
}

/** After this time without a page, no blocks are kept open for the next one. */
const IDLE_MS = 10_000;
let idleTimer: NodeJS.Timeout | undefined;

/** Blocks may be merged and expire meanwhile: all of a page is of the same state. */
function readPage(db: DatabaseSync, reader: HistoryReader, query: HistoryQuery): HistoryPage {
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => reader.closeBlocks(), IDLE_MS).unref();
  db.exec("BEGIN");
  try {
    return reader.read(query);
  } finally {
    db.exec("ROLLBACK");
  }
}

/** A file that was put aside is not searched any more. */
function openFile(): OpenFile {
  if (current?.identity.isInPlace) return current;
  current?.db.close();
  current = undefined;
  const db = openForReading(directory);
  const identity = new FileIdentity(historyPath(directory));
  const searcher = new BlockSearcher(db);
  return (current = { db, identity, searcher, reader: new HistoryReader(db) });
}

/** Returns the memory that is transferred and not copied. */
function memoryOf(reply: TaskReply<unknown>): ArrayBuffer[] {
  if ("failure" in reply || reply.result === undefined) return [];
  const { blocks } = reply.result as FindResult | HistoryPage;
  return blocks
    .filter(({ bytes }) => bytes.byteLength === bytes.buffer.byteLength)
    .map(({ bytes }) => bytes.buffer);
}
