import { basename } from "node:path";
import { recordOfLine, type LineParser, type LogRecord } from "tailgate/plugin";
import type { LineEvent } from "./event-assembler.ts";
import type { Position } from "./position.ts";

export interface RecordOptions {
  readonly parser: LineParser;
  /** The logger of lines that do not name one; undefined for the name of the file. */
  readonly logger: string | undefined;
  readonly includeFileName: boolean;
  readonly includeFilePath: boolean;
}

/** Returns the record of an event of a file. */
export function recordOfEvent(
  { text, start }: LineEvent,
  path: string,
  position: Position,
  { parser, logger, includeFileName, includeFilePath }: RecordOptions,
): LogRecord {
  const record = recordOfLine(parser.parse(text), logger ?? stemOf(path));
  const { attributes } = record;
  if (includeFileName) attributes.set("log.file.name", basename(path));
  if (includeFilePath) attributes.set("log.file.path", path);
  setUid(record, position, start);
  return record;
}

/** Sets the id by which a record is recognized that is read again after a crash, unless its program has set one. */
export function setUid({ attributes }: LogRecord, position: Position, start: number): void {
  const { id, generation } = position;
  if (attributes.has("log.record.uid")) return;
  attributes.set("log.record.uid", `${id}:${generation}:${start}`);
}

/** `/var/log/shop/cart.log` gives `cart`. */
function stemOf(path: string): string {
  const name = basename(path);
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(0, dot) : name;
}
