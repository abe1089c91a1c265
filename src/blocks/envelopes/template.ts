/**
 * An envelope's template: what all records of a shape and a scope have in common, as constant JSON, and the values of columns
 * in between. It makes the same bytes as the plain path (renderFrames of envelope/rules.ts) or none.
 */

import {
  attributeName,
  CODE_NAME,
  ERR,
  ERR_NAME,
  ILL_FORMED_NAME,
  publicAttributes,
  RESERVED,
  RESERVED_NAME,
  WORD_BYTES,
  type JsonWords,
} from "../../envelope/attributes.ts";
import {
  FILE_ATTRIBUTES,
  FUNCTION_ATTRIBUTES,
  lastComponent,
  LINE_ATTRIBUTES,
  lineOf,
  moduleOfPath,
  NAMESPACE_ATTRIBUTE,
} from "../../envelope/call-site.ts";
import {
  ENVELOPE_END,
  EVENT_NAME_ATTRIBUTE,
  FUNCTION,
  LINE,
  meaningfulEventName,
  MODULE,
  NO_CALL_SITE,
  type ResourceMembers,
} from "../../envelope/encoder.ts";
import { putId } from "../../envelope/fast/value-writer.ts";
import { ascii, type JsonWriter } from "../../envelope/json-writer.ts";
import { rankOfNumber, rankOfText, type LoggerName } from "../../envelope/prefix.ts";
import { RECORD, type Op } from "../columns/ops.ts";
import { recordShape, type Part, type RecordShape, type ShapedValue } from "./record-shape.ts";
import {
  endOf,
  integerOf,
  startOf,
  textOf,
  valueJson,
  type ValueJson,
  type ViewedValues,
} from "./value-json.ts";

/** Constant JSON, and what follows it of a value. */
export interface TemplateStep {
  readonly constant: JsonWords;
  /** The index of the value among those of a record. */
  readonly slot: number;
  /** Tells what is derived from what else is made of the same column. */
  readonly name: string;
  readonly derive: (values: ViewedValues) => ValueJson;
}

export interface Template {
  /** What follows the head of an envelope (envelope/prefix.ts). */
  readonly steps: readonly TemplateStep[];
  /** Returns what follows the steps in envelopes of records with that resource. */
  end(resource: ResourceMembers): Uint8Array;
}

/** What templates depend on beside the shape. */
export interface TemplateContext {
  /** The logger of the records' scope. */
  readonly scope: Pick<LoggerName, "nameAttributes" | "numbering">;
  /** The attributes of the resource that envelopes have. */
  readonly resourceAttributes: readonly string[];
}

/** Records with more attributes are left to the plain path. */
const ATTRIBUTES_MAX = 64;

const NOTHING: JsonWords = { words: new Int32Array(), length: 0 };
const EMPTY_TEXT = words('""');
const SITE_NONE = wordsOfBytes(NO_CALL_SITE);
const SITE_MODULE = wordsOfBytes(MODULE);
const SITE_FUNCTION = wordsOfBytes(FUNCTION);
const SITE_LINE = wordsOfBytes(LINE);
const ZERO = words("0");
const TRACE_ID = ascii(',"trace_id":"');
const SPAN_ID = ascii(',"span_id":"');
const SEVERITY_TEXT = ascii(',"severity_text":');
const EVENT_NAME = ascii(',"event_name":');

/** Returns the template of a shape with these operations; undefined if its records are left to the plain path. */
export function templateOf(ops: readonly Op[], context: TemplateContext): Template | undefined {
  const record = recordShape(ops);
  const attributes = shownAttributes(record, context);
  if (attributes === undefined) return undefined;
  const steps = new StepBuilder();
  if (attributes.named !== undefined) steps.check(attributes.named, "named", hasText);
  if (!addMessage(steps, record) || !addCallSite(steps, attributes)) return undefined;
  for (const [index, key] of attributes.keys.entries()) {
    const { kind, member } = attributeName(key);
    if (index === attributes.skipped || kind === CODE_NAME) continue;
    steps.value(attributes.values[index]!.parts, member);
  }
  addContext(steps, record, attributes.keys, context.scope);
  const { list, rest } = steps.finish();
  return { steps: list, end: (resource) => endWith(rest, resource, attributes.keys) };
}

interface ShownAttributes {
  /** Their names in the envelope. */
  readonly keys: readonly string[];
  readonly values: readonly ShapedValue[];
  /** The index of the one that names the logger and is left out; -1 if it is not in the list. */
  readonly skipped: number;
  /** Its value, which names the logger only if it is not empty. */
  readonly named: Part | undefined;
}

function shownAttributes(
  { keys, values }: RecordShape,
  { scope, resourceAttributes }: TemplateContext,
): ShownAttributes | undefined {
  if (keys.length > ATTRIBUTES_MAX) return undefined;
  // Pino's error has members of other names.
  if (values[keys.indexOf(ERR)]?.kind === "map") return undefined;
  if (resourceAttributes.some((name) => RESERVED.has(name))) return undefined;
  const naming = (scope.nameAttributes ?? []).find(
    (name) => values[keys.indexOf(name)]?.kind === "text",
  );
  const skipped = naming === undefined ? -1 : keys.indexOf(naming);
  const named = values[skipped]?.parts[0];
  const isUnusual = keys.some(
    (key) => (attributeName(key).kind & (ERR_NAME | ILL_FORMED_NAME | RESERVED_NAME)) !== 0,
  );
  if (!isUnusual) return { keys, values, skipped, named };
  const shown = publicAttributes({ keys, values }, skipped, true);
  return { keys: shown.keys, values: shown.values as ShapedValue[], skipped: -1, named };
}

/** Without a text as the body, what the message is depends on more. */
function addMessage(steps: StepBuilder, { body, fields, keys }: RecordShape): boolean {
  if (body?.kind === "text") steps.value(body.parts, NOTHING);
  else if (body !== undefined && body.kind !== "null") return false;
  else if (fields.has(RECORD.eventName) || keys.includes(EVENT_NAME_ATTRIBUTE)) return false;
  else steps.constant(EMPTY_TEXT);
  return true;
}

function addCallSite(steps: StepBuilder, attributes: ShownAttributes): boolean {
  if (!attributes.keys.some((key) => attributeName(key).kind === CODE_NAME)) {
    steps.constant(SITE_NONE);
    return true;
  }
  const texts = (names: readonly string[]): Part[] => partsOf(attributes, names, ["text"]);
  const files = texts(FILE_ATTRIBUTES);
  const modules = [...files, ...texts([NAMESPACE_ATTRIBUTE])];
  steps.constant(SITE_MODULE);
  addName(steps, modules, files.length > 0 ? moduleOfPath : lastComponent);
  steps.constant(SITE_FUNCTION);
  addName(steps, texts(FUNCTION_ATTRIBUTES), lastComponent);
  steps.constant(SITE_LINE);
  const [stable, old] = LINE_ATTRIBUTES.map(
    (name) => attributes.values[attributes.keys.indexOf(name)],
  );
  const line = stable === undefined || stable.kind === "null" ? old : stable;
  const part = line?.parts[0];
  if (part?.op.kind === "int") {
    steps.derived(part, "line", (values) => (writer, value) => {
      writer.number(lineOf(integerOf(values, value)));
      return true;
    });
  } else if (part?.op.kind === "text" || part?.op.kind === "double") return false;
  else steps.constant(ZERO);
  return true;
}

/** Returns the values of the attributes with these names that are of these kinds. */
function partsOf(
  { keys, values }: ShownAttributes,
  names: readonly string[],
  kinds: readonly string[],
): Part[] {
  return names
    .map((name) => values[keys.indexOf(name)])
    .filter((value) => value !== undefined && kinds.includes(value.kind))
    .map((value) => value!.parts[0]!);
}

/** The first of several texts that is not empty counts; here it has to be the first of all. */
function addName(
  steps: StepBuilder,
  [first, ...others]: readonly Part[],
  shorten: (text: string) => string,
): void {
  if (first === undefined) return steps.constant(EMPTY_TEXT);
  const name = others.length === 0 ? shorten.name : `${shorten.name} or others`;
  steps.derived(first, name, (values) => (writer, value) => {
    const text = textOf(values, value);
    if (text === "" && others.length > 0) return false;
    writer.string(shorten(text));
    return true;
  });
}

/** Adds what the gateway adds, unless an attribute has that name. */
function addContext(
  steps: StepBuilder,
  { body, fields }: RecordShape,
  keys: readonly string[],
  { numbering }: TemplateContext["scope"],
): void {
  const isFree = (name: string): boolean => !keys.includes(name);
  const severityText = fields.get(RECORD.severityText);
  const severityNumber = fields.get(RECORD.severityNumber);
  if (severityText !== undefined && severityNumber !== undefined) {
    // Without a number that tells the level, the text may be shown.
    steps.check(severityNumber, "ranked", isRanked);
  } else if (severityText !== undefined && isFree("severity_text")) {
    steps.derived(severityText, `severity ${numbering}`, (values) => (writer, value) => {
      const text = textOf(values, value);
      const shown = rankOfText(text, numbering) === undefined ? text.trim() : "";
      if (shown !== "") putMember(writer, SEVERITY_TEXT, shown);
      return true;
    });
  }
  const eventName = fields.get(RECORD.eventName);
  const hasBody = body !== undefined && body.kind !== "null";
  if (eventName !== undefined && hasBody && isFree("event_name")) {
    steps.derived(eventName, "event", (values) => (writer, value) => {
      const shown = meaningfulEventName(textOf(values, value));
      if (shown !== "") putMember(writer, EVENT_NAME, shown);
      return true;
    });
  }
  const traceId = fields.get(RECORD.traceId);
  if (traceId !== undefined && isFree("trace_id")) steps.derived(traceId, "id", idJson(TRACE_ID));
  const spanId = fields.get(RECORD.spanId);
  if (spanId !== undefined && isFree("span_id")) steps.derived(spanId, "id", idJson(SPAN_ID));
}

function putMember(writer: JsonWriter, name: Uint8Array, text: string): void {
  writer.raw(name);
  writer.string(text);
}

/** Writes a member with an id in hexadecimal, unless it is all zero, which is no id. */
function idJson(member: Uint8Array): (values: ViewedValues) => ValueJson {
  return (values) => (writer, value) => {
    const { data } = values;
    const start = startOf(values, value);
    const end = endOf(values, value);
    let first = start;
    while (first < end && data[first] === 0) first++;
    if (first === end) return true;
    writer.reserve(member.length + 2 * (end - start) + 1);
    writer.raw(member);
    writer.position = putId(writer, writer.position, values, start, end - start);
    return true;
  };
}

function hasText(values: ViewedValues): ValueJson {
  return (_, value) => endOf(values, value) > startOf(values, value);
}

function isRanked(values: ViewedValues): ValueJson {
  return (_, value) => {
    const number = Number(BigInt.asIntN(32, BigInt(integerOf(values, value))));
    return rankOfNumber(number) !== undefined;
  };
}

function endWith(
  rest: Uint8Array,
  { service, attributes }: ResourceMembers,
  keys: readonly string[],
): Uint8Array {
  const shown = attributes.filter(({ name }) => !keys.includes(Buffer.from(name).toString()));
  return Buffer.concat([
    rest,
    keys.includes("service") ? ascii("") : service,
    ...shown.map(({ json }) => json),
    ENVELOPE_END,
  ]);
}

const COMMA = words(",");
const OPEN = { list: words("["), map: words("{") };
const CLOSE = { list: words("]"), map: words("}") };

const CONSTANTS: Readonly<Partial<Record<Op["kind"], JsonWords>>> = {
  null: words("null"),
  emptyList: words("[]"),
  emptyMap: words("{}"),
};

/** Puts steps together; constants in a row become one. */
class StepBuilder {
  readonly #steps: TemplateStep[] = [];
  #constants: JsonWords[] = [];

  constant(constant: JsonWords): void {
    if (constant.length > 0) this.#constants.push(constant);
  }

  /** Adds a value after the name of its member. */
  value(parts: readonly Part[], member: JsonWords): void {
    if (parts.length === 1) return this.#scalar(parts[0]!, member);
    this.constant(member);
    const open: ("list" | "map")[] = [];
    let isFirst = true;
    for (const part of parts) {
      const { kind, key } = part.op;
      if (kind === "close") {
        this.constant(CLOSE[open.pop()!]);
        isFirst = false;
        continue;
      }
      if (!isFirst) this.constant(COMMA);
      if (open.at(-1) === "map") this.constant(words(`${JSON.stringify(key)}:`));
      isFirst = kind === "list" || kind === "map";
      if (kind === "list" || kind === "map") {
        open.push(kind);
        this.constant(OPEN[kind]);
      } else this.#scalar(part, NOTHING);
    }
  }

  #scalar(part: Part, member: JsonWords): void {
    const { kind } = part.op;
    const constant = CONSTANTS[kind];
    if (constant !== undefined) {
      this.constant(member);
      return this.constant(constant);
    }
    this.derived(part, `value ${textOfWords(member)}`, (values) => {
      const write = valueJson(kind, values)!;
      if (member.length === 0) return write;
      return (writer, value) => {
        writer.words(member);
        return write(writer, value);
      };
    });
  }

  /** Adds a condition without which the record is left to the plain path. */
  check(part: Part, name: string, make: (values: ViewedValues) => ValueJson): void {
    this.derived(part, name, make);
  }

  /** Adds what is made of a value; `name` tells it from what else is made of the same column. */
  derived(part: Part, name: string, derive: TemplateStep["derive"]): void {
    this.#steps.push({ constant: this.#takeConstant(), slot: part.slot, name, derive });
  }

  #takeConstant(): JsonWords {
    const constants = this.#constants;
    this.#constants = [];
    if (constants.length <= 1) return constants[0] ?? NOTHING;
    return wordsOfBytes(Buffer.concat(constants.map(bytesOfWords)));
  }

  /** `rest`: the constant after the last step. */
  finish(): { readonly list: readonly TemplateStep[]; readonly rest: Uint8Array } {
    return { list: this.#steps, rest: bytesOfWords(this.#takeConstant()) };
  }
}

function words(text: string): JsonWords {
  return wordsOfBytes(Buffer.from(text));
}

function wordsOfBytes(bytes: Uint8Array): JsonWords {
  const list = new Int32Array(Math.ceil(bytes.length / WORD_BYTES));
  new Uint8Array(list.buffer).set(bytes);
  return { words: list, length: bytes.length };
}

function bytesOfWords({ words: { buffer, byteOffset }, length }: JsonWords): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length);
}

function textOfWords(constant: JsonWords): string {
  return Buffer.from(bytesOfWords(constant)).toString();
}
