import { historyPath } from "./files.ts";
import type { HistoryPage, HistoryQuery } from "./history.ts";
import { HistoryReader } from "./reader.ts";

/** Reads a page in the calling thread, for one that has no further turn of its event loop. SQLite is loaded only then. */
export function readHistorySync(directory: string, query: HistoryQuery): HistoryPage {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const db = new DatabaseSync(historyPath(directory), { readOnly: true });
  try {
    return new HistoryReader(db).read(query);
  } finally {
    db.close();
  }
}
