/** Makes what a search reads of a block before its records: its directory and its filter. */

import { decodeBlocks } from "../batch/block.ts";
import { LEVELS } from "../wire/envelope.ts";
import type { BlockDirectory, BlockView, Column, ColumnInfo } from "./block-view.ts";
import { fieldsOfBlock } from "./directory.ts";
import { buildFilter } from "./gram-filter.ts";
import type { GramSet } from "./grams.ts";
import { resourcesOf } from "./search/shared-parts.ts";

/** What searches need to know about a block: its directory, and the parts of its filter. */
export interface BlockIndex {
  readonly directory: BlockDirectory;
  readonly filter: readonly Uint8Array[];
}

/** So many envelopes are read at a time. */
const READ_MAX = 512;

/** Makes the index of a block that was just encoded; `counts` has what is known of it. */
export function indexOfBlock(block: BlockView, counts: BlockDirectory): BlockIndex {
  const { parts, hasUnusualFolding } = buildFilter(block.length, (grams) =>
    addTexts(grams, block, counts.loggers),
  );
  const directory = {
    ...counts,
    fields: fieldsOfBlock(block, counts.loggers),
    isFiltered: parts.length > 0,
    hasUnusualFolding,
  };
  return { directory, filter: parts };
}

/** Adds all texts that a search for text sees in envelopes. */
function addTexts(grams: GramSet, block: BlockView, loggers: readonly string[]): void {
  for (const [rank, level] of LEVELS.entries()) {
    if (block.ranks.includes(rank)) grams.addString(level);
  }
  for (const logger of loggers) grams.addString(logger);
  const names = block.resourceMembers;
  for (const { service, attributes } of resourcesOf(block)) {
    grams.addString(service);
    for (const name of names) grams.addJson(attributes.get(name) ?? null);
  }
  const isUnread = new Uint8Array(block.length);
  for (const index of block.exceptions) isUnread[index] = 1;
  for (const [index, info] of block.columns.entries()) {
    // Envelopes have no other numbers of the header than times, of which the filter has none.
    if (info.length === 0 || info.place === "header") continue;
    const column = block.column(index);
    // The JSON of a structured body has more text than its values.
    if (isStructuredBody(info)) for (const record of column.records) isUnread[record] = 1;
    else addColumn(grams, column, isUnread);
  }
  addEnvelopes(grams, block, isUnread);
}

function isStructuredBody({ place, path, isListed, kind }: ColumnInfo): boolean {
  const isWhole = path.length === 0 && !isListed && kind !== "emptyList" && kind !== "emptyMap";
  return place === "body" && !isWhole;
}

/** Adds the values of a column, and marks the records of which it does not tell them. */
function addColumn(grams: GramSet, column: Column, isUnread: Uint8Array): void {
  const { info, numbers, integers, isExact } = column;
  switch (info.kind) {
    case "text":
      return grams.addText(column.text!);
    case "int":
      if (isExact) for (const number of numbers!) grams.addNumber(number);
      else if (integers) for (const integer of integers) grams.addNumber(integer);
      else for (const record of column.records) isUnread[record] = 1;
      return;
    case "double":
      for (const number of numbers!) grams.addNumber(number);
      return;
    case "bool":
      if (numbers!.includes(0)) grams.addBoolean(false);
      if (numbers!.some((value) => value !== 0)) grams.addBoolean(true);
      return;
    case "null":
      return grams.addNull();
    case "bytes":
      return addBytes(grams, column);
    default:
  }
}

function addBytes(grams: GramSet, { info, distinct, bytes, records, codes }: Column): void {
  const { data, width = 0, ends } = bytes!;
  const isId = info.place === "trace_id" || info.place === "span_id";
  const count = codes ? distinct : records.length;
  for (let value = 0; value < count; value++) {
    const start = ends ? (value === 0 ? 0 : ends[value - 1]!) : width * value;
    const end = ends ? ends[value]! : width * (value + 1);
    if (isId) grams.addHex(data, start, end);
    else grams.addBase64(data, start, end);
  }
}

function addEnvelopes(grams: GramSet, block: BlockView, isUnread: Uint8Array): void {
  const unread: number[] = [];
  for (let index = 0; index < isUnread.length; index++)
    if (isUnread[index] === 1) unread.push(index);
  for (let done = 0; done < unread.length && !grams.isFull; done += READ_MAX) {
    const indexes = unread.slice(done, done + READ_MAX);
    const batch = decodeBlocks([block.read(indexes)]);
    for (let item = 0; item < indexes.length; item++) {
      grams.addJson(batch.envelope(item).data as never);
    }
  }
}
