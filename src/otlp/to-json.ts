import { DEPTH_MAX, DEPTH_TEXT } from "../envelope/json-writer.ts";
import { ProtobufReader } from "./protobuf.ts";
import { ANY_VALUE, REQUEST, type Field, type Message } from "./schema.ts";

/**
 * Returns an ExportLogsServiceRequest as OTLP's JSON, in UTF-8. It is translated field by field, so that it keeps what
 * a {@link LogRecord} does not have: types of numbers, schema URLs and counts of dropped attributes.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function otlpToJson(request: Uint8Array): Uint8Array<ArrayBuffer> {
  return Buffer.from(messageText(new ProtobufReader(request), request.length, REQUEST, 0));
}

/** Returns a message that is nested in `depth` lists and maps. If a singular field is repeated, the last value counts. */
function messageText(reader: ProtobufReader, end: number, message: Message, depth: number): string {
  const members = new Map<string, string | string[]>();
  while (reader.position < end) {
    const tag = reader.tag(end);
    const field = message.byNumber[tag >>> 3];
    if (field?.tag !== tag) {
      reader.skip(tag, end, 0);
      continue;
    }
    const isTooDeep = message === ANY_VALUE && field.kind === "message" && depth >= DEPTH_MAX;
    const inner = message === ANY_VALUE ? depth + 1 : depth;
    const text = isTooDeep ? skippedText(reader, end) : valueText(reader, end, field, inner);
    if (message.isOneOf) members.clear();
    const name = isTooDeep ? "stringValue" : field.name;
    const list = members.get(name);
    if (Array.isArray(list)) list.push(text);
    else members.set(name, field.isRepeated ? [text] : text);
  }
  const texts = [...members].map(
    ([name, value]) => `"${name}":${Array.isArray(value) ? `[${value.join(",")}]` : value}`,
  );
  return `{${texts.join(",")}}`;
}

function skippedText(reader: ProtobufReader, end: number): string {
  reader.position = reader.length(end);
  return JSON.stringify(DEPTH_TEXT);
}

function valueText(reader: ProtobufReader, end: number, field: Field, depth: number): string {
  switch (field.kind) {
    case "string":
      return JSON.stringify(reader.content(end).toString());
    case "bytes":
      return `"${reader.content(end).toString("base64")}"`;
    case "traceId":
    case "spanId":
      return `"${reader.content(end).toString("hex")}"`;
    case "bool":
      reader.varint(end);
      return String(reader.low !== 0 || reader.high !== 0);
    case "int64":
      reader.varint(end);
      return `"${reader.int64()}"`;
    case "uint32":
      reader.varint(end);
      return String(reader.low);
    case "severity":
      reader.varint(end);
      return String(reader.low | 0);
    case "fixed32":
      return String(reader.fixed32(end));
    case "time":
      reader.fixed64(end);
      return `"${(BigInt(reader.high) << 32n) | BigInt(reader.low)}"`;
    case "double":
      return doubleText(reader.double(end));
    default:
      return messageText(reader, reader.length(end), field.message!, depth);
  }
}

/** JSON has neither NaN nor infinities, and JavaScript prints negative zero without its sign. */
function doubleText(value: number): string {
  if (Object.is(value, -0)) return "-0.0";
  return Number.isFinite(value) ? String(value) : `"${value}"`;
}
