/** Writes module, function and line of an envelope, as `callSiteOf` of `envelope/call-site.ts` does, from protobuf. */

import {
  FILE_PATH,
  FILE_PATH_OLD,
  FUNCTION_NAME,
  FUNCTION_NAME_OLD,
  LINE_NUMBER,
  LINE_NUMBER_OLD,
  NAMESPACE,
  type AttributeTable,
} from "./attribute-table.ts";
import { FUNCTION, LINE, MODULE } from "../encoder.ts";
import { putNumber } from "../json-writer.ts";
import { putRaw, putText, type ByteTarget } from "./value-writer.ts";
import type { ProtobufReader } from "../../otlp/protobuf.ts";

const COLON = 0x3a;
const DOT = 0x2e;
const SLASH = 0x2f;
const BACKSLASH = 0x5c;

/** Writes the three members at a reserved position; returns -1 if the line has more than 31 bits. */
export function putCallSite(
  target: ByteTarget,
  at: number,
  reader: ProtobufReader,
  attributes: AttributeTable,
): number {
  const line = lineOf(reader, attributes);
  if (line < 0) return -1;
  const file = firstText(attributes, FILE_PATH, FILE_PATH_OLD);
  const named = firstText(attributes, FUNCTION_NAME, FUNCTION_NAME_OLD);
  let position = putRaw(target, at, MODULE);
  position =
    file < 0
      ? putLastComponent(target, position, reader, attributes, firstText(attributes, NAMESPACE))
      : putModule(target, position, reader, attributes, file);
  position = putRaw(target, position, FUNCTION);
  position = putLastComponent(target, position, reader, attributes, named);
  return putNumber(target.buffer, putRaw(target, position, LINE), line);
}

/** Returns the first attribute of these kinds that has a non-empty string; -1 if there is none. */
function firstText(attributes: AttributeTable, stable: number, old = stable): number {
  let index = attributes.indexOf(stable);
  if (isText(attributes, index)) return index;
  index = attributes.indexOf(old);
  return isText(attributes, index) ? index : -1;
}

function isText(attributes: AttributeTable, index: number): boolean {
  return index >= 0 && attributes.valueStart(index) < attributes.valueEnd(index);
}

/** Writes a file's name without its directory and its last extension. */
function putModule(
  target: ByteTarget,
  at: number,
  reader: ProtobufReader,
  attributes: AttributeTable,
  index: number,
): number {
  const { bytes } = reader;
  const start = attributes.valueStart(index);
  const end = attributes.valueEnd(index);
  let base = end;
  let dot = -1;
  while (base > start && bytes[base - 1] !== SLASH && bytes[base - 1] !== BACKSLASH) {
    base--;
    if (bytes[base] === DOT && dot < 0) dot = base;
  }
  return putText(target, at, reader, base, dot > base ? dot : end);
}

/** Writes what follows the last dot or double colon of an attribute; for index -1, an empty string. */
function putLastComponent(
  target: ByteTarget,
  at: number,
  reader: ProtobufReader,
  attributes: AttributeTable,
  index: number,
): number {
  const { bytes } = reader;
  const start = index < 0 ? 0 : attributes.valueStart(index);
  const end = index < 0 ? 0 : attributes.valueEnd(index);
  let component = end;
  while (component > start && !isSeparator(bytes, start, component - 1)) component--;
  return putText(target, at, reader, component, end);
}

/** True if the byte is a dot or the second of two colons. */
function isSeparator(bytes: Uint8Array, start: number, index: number): boolean {
  const byte = bytes[index];
  return byte === DOT || (byte === COLON && index > start && bytes[index - 1] === COLON);
}

/** Returns the line, 0 if there is none, or -1 if it has more than 31 bits. */
function lineOf(reader: ProtobufReader, attributes: AttributeTable): number {
  const stable = attributes.indexOf(LINE_NUMBER);
  const index = stable >= 0 ? stable : attributes.indexOf(LINE_NUMBER_OLD);
  if (index < 0) return 0;
  const end = attributes.valueEnd(index);
  reader.position = attributes.valueStart(index);
  reader.tag(end);
  reader.varint(end);
  const { low, high } = reader;
  return high === 0 && low < 2 ** 31 ? low : -1;
}
