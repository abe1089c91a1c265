import type { StoredBlock } from "../batch/block.ts";
import { BlockLayout } from "../batch/block-layout.ts";
import { ProtobufOrigin } from "../batch/origin.ts";
import { buildRequest, type EncodedRecord } from "../otlp/encode.ts";
import { historyPath } from "./files.ts";
import type { HistoryPage, HistoryQuery } from "./history.ts";
import { HistoryReader } from "./reader.ts";

/** Reads a page in the calling thread, for one that has no further turn of its event loop. SQLite is loaded only then. */
export function readHistorySync(directory: string, query: HistoryQuery): HistoryPage {
  return withReader(directory, (reader) => reader.read(query));
}

/**
 * Returns the OTLP request of a block from which it was left out, with its records in its order.
 * @throws Error if one of them is not there any more.
 */
export function readRequestSync(directory: string, block: StoredBlock): Uint8Array {
  const layout = new BlockLayout(block);
  const { length, isAudit } = layout;
  const records = new Map<number, EncodedRecord>();
  withReader(directory, (reader) => {
    for (let from = layout.sequence(0); from <= layout.sequence(length - 1);) {
      const page = reader.read({
        from,
        order: "asc",
        type: isAudit ? "audit_log" : "system_log",
        sinceMs: undefined,
        untilMs: undefined,
      });
      if (page.to < page.from) return;
      for (const read of page.blocks) addRecords(read, records);
      from = page.to + 1;
    }
  });
  return buildRequest(length, (record) => {
    const found = records.get(layout.sequence(record));
    if (found === undefined) throw new Error("the record is not in the journal any more");
    return found;
  });
}

function addRecords(block: StoredBlock, records: Map<number, EncodedRecord>): void {
  const layout = new BlockLayout(block);
  const origin = new ProtobufOrigin(layout.request, layout.length);
  for (let record = 0; record < layout.length; record++) {
    records.set(layout.sequence(record), origin.otlp(layout.otlpIndex(record)));
  }
}

function withReader<Result>(directory: string, read: (reader: HistoryReader) => Result): Result {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const db = new DatabaseSync(historyPath(directory), { readOnly: true });
  try {
    return read(new HistoryReader(db));
  } finally {
    db.close();
  }
}
