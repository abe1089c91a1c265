/** A thread that searches the history. It has a connection of its own, which only reads. */

import type { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import { FileIdentity } from "../runtime/private-file.ts";
import { textOf } from "../wire/errors.ts";
import { BlockSearcher } from "./block-searcher.ts";
import { openForReading } from "./database.ts";
import { historyPath } from "./files.ts";
import type { FindResult, SearchSetup, SearchTask } from "./search-tasks.ts";
import type { TaskReply } from "./worker-pool.ts";

const { directory } = workerData as SearchSetup;

/** The file that is open. */
interface OpenFile {
  readonly db: DatabaseSync;
  readonly identity: FileIdentity;
  readonly searcher: BlockSearcher;
}

let current: OpenFile | undefined;

parentPort!.on("message", (task: SearchTask) => {
  let reply: TaskReply<unknown>;
  try {
    reply = { result: resultOf(task) };
  } catch (error) {
    reply = { failure: textOf(error) };
  }
  parentPort!.postMessage(reply, task.kind === "find" ? memoryOf(reply) : []);
});

function resultOf(task: SearchTask): unknown {
  const { searcher } = openFile();
  switch (task.kind) {
    case "plan":
      return searcher.plan(task.search);
    case "find":
      return searcher.find(task);
    default:
      return searcher.count(task);
  }
}

/** A file that was put aside is not searched any more. */
function openFile(): OpenFile {
  if (current?.identity.isInPlace) return current;
  current?.db.close();
  current = undefined;
  const db = openForReading(directory);
  const identity = new FileIdentity(historyPath(directory));
  return (current = { db, identity, searcher: new BlockSearcher(db) });
}

/** Returns the memory that is transferred and not copied. */
function memoryOf(reply: TaskReply<unknown>): ArrayBuffer[] {
  if ("failure" in reply || reply.result === undefined) return [];
  const { blocks } = reply.result as FindResult;
  return blocks
    .filter(({ bytes }) => bytes.byteLength === bytes.buffer.byteLength)
    .map(({ bytes }) => bytes.buffer);
}
