/** Makes the part of a block's directory that tells which fields its records have. */

import { decodeBlocks } from "../batch/block.ts";
import { ERR, RENAME_PREFIX, RESERVED } from "../envelope/attributes.ts";
import { tellsCallSite } from "../envelope/call-site.ts";
import { LEVELS, type JsonValue } from "../wire/envelope.ts";
import type { FieldType } from "../wire/fields.ts";
import type { BlockView, Column, ColumnInfo, FieldSummary } from "./block-view.ts";
import { resourcesOf } from "./search/shared-parts.ts";
import { textsOf } from "./search/column-search.ts";

/** Blocks with more fields, or with longer names in all, do not list them: they are no names but values. */
const FIELDS_MAX = 1000;
const NAMES_CHARS_MAX = 1 << 16;

const VALUES_MAX = 64;
const VALUE_CHARS_MAX = 64;
const TEXT_BYTES_MAX = VALUES_MAX * (3 * VALUE_CHARS_MAX + 1);

/** So many envelopes are read at a time. */
const READ_MAX = 512;

/** Members of every system log, beside its level, its logger and its line. */
const FIXED_TEXTS = ["timestamp", "message", "module", "function"];
/** Attributes that name the logger of some records; then they are no fields. */
const NAMING = new Set(["logger.name", "name", "label"]);
/** Members that the attribute `err` may become. */
const EXCEPTION = ["exception.type", "exception.message", "exception.stacktrace"];
/** What the gateway adds to system logs, unless an attribute has the name. */
const ADDED: ReadonlySet<string> = new Set(["severity_text", "event_name", "trace_id", "span_id"]);

/** Returns the fields of a block for its directory; undefined if not all are known. `loggers`: the names of its loggers. */
export function fieldsOfBlock(
  block: BlockView,
  loggers: readonly string[],
): readonly FieldSummary[] | undefined {
  return new FieldTable(block, loggers).fields();
}

/** What is known of a field so far. */
interface Field {
  /** What its values come from: the path of an attribute, or {@link RESOURCE}. */
  readonly origin: string;
  readonly types: Set<FieldType>;
  records: number;
  /** True if it is not known which of its values records have: several origins have its name, or the rules of envelopes. */
  isVague: boolean;
  min: number;
  max: number;
  /** Undefined if there are too many, or some are in lists. */
  values: Map<string, number> | undefined;
}

const RESOURCE = "resource";
const NO_ORIGIN = "";

class FieldTable {
  readonly #block: BlockView;
  readonly #loggers: readonly string[];
  readonly #fields = new Map<string, Field>();
  #nameChars = 0;
  /** True if the block has too many fields. */
  #isFull = false;

  constructor(block: BlockView, loggers: readonly string[]) {
    this.#block = block;
    this.#loggers = loggers;
  }

  /** Returns the fields; undefined if not all are known. */
  fields(): FieldSummary[] | undefined {
    const { type, columns } = this.#block;
    if (type === "system_log") {
      if (hasHiddenNames(columns)) return undefined;
      this.#addFixed();
      for (const [index, info] of columns.entries()) {
        if (info.place === "attribute" && info.length > 0) this.#addAttribute(index, info);
      }
      for (const { place, length } of columns) {
        if (length > 0 && ADDED.has(place)) this.#addVague(place, "string", length);
      }
      this.#addResources();
    }
    this.#addExceptions();
    if (this.#isFull) return undefined;
    return Array.from(this.#fields, ([name, field]) => summaryOf(name, field));
  }

  /** Adds the fields that every system log has. */
  #addFixed(): void {
    const { length, exceptions, ranks, loggers } = this.#block;
    const records = length - exceptions.length;
    if (records === 0) return;
    for (const name of FIXED_TEXTS) this.#addVague(name, "string", records);
    this.#addVague("line", "number", records);
    const isRead = new Uint8Array(length).fill(1);
    for (const index of exceptions) isRead[index] = 0;
    this.#addEach("level", LEVELS, countBy(ranks, isRead, LEVELS.length));
    this.#addEach("logger", this.#loggers, countBy(loggers, isRead, this.#loggers.length));
  }

  #addEach(name: string, values: readonly string[], counts: readonly number[]): void {
    for (const [index, records] of counts.entries()) {
      if (records > 0) this.#addScalar(name, originOf([name]), values[index]!, records);
    }
  }

  #addAttribute(index: number, info: ColumnInfo): void {
    const key = info.path[0]!;
    if (tellsCallSite(key)) return;
    const name = info.path.join(".");
    const isError = key === ERR && info.path.length > 1;
    if (isError) for (const member of EXCEPTION) this.#addVague(member, "string", 0);
    if (isError || NAMING.has(key)) return this.#addVague(name, typeOf(info), info.length);
    if (RESERVED.has(key)) return this.#addVague(RENAME_PREFIX + name, typeOf(info), info.length);
    const field = this.#field(name, originOf(info.path));
    if (field) addColumn(field, this.#block.column(index));
  }

  /** Adds the service, and the attributes of resources that envelopes show. */
  #addResources(): void {
    const { resources, exceptions, length, resourceMembers } = this.#block;
    const isRead = new Uint8Array(length).fill(1);
    for (const index of exceptions) isRead[index] = 0;
    const counts = countBy(resources.of, isRead, resources.distinct.length);
    for (const [index, { service, attributes }] of resourcesOf(this.#block).entries()) {
      const records = counts[index]!;
      if (records === 0) continue;
      if (service !== "") this.#addScalar("service", RESOURCE, service, records);
      for (const name of resourceMembers) {
        const value = attributes.get(name);
        if (value === undefined || value === null) continue;
        // As in a list: not every record that may show its members does.
        if (typeof value === "object") this.#addJson([name], value, true);
        else this.#addScalar(name, RESOURCE, value, records);
      }
    }
  }

  #addExceptions(): void {
    const { exceptions } = this.#block;
    for (let done = 0; done < exceptions.length && !this.#isFull; done += READ_MAX) {
      const indexes = exceptions.subarray(done, done + READ_MAX);
      const batch = decodeBlocks([this.#block.read(indexes)]);
      for (let item = 0; item < indexes.length; item++) {
        for (const [name, value] of Object.entries(batch.envelope(item).data)) {
          this.#addJson([name], value as JsonValue, false);
        }
      }
    }
  }

  /** Adds a value of an envelope, and what is below it. */
  #addJson(path: readonly string[], value: JsonValue, isListed: boolean): void {
    const name = path.join(".");
    if (typeof value !== "object") {
      if (isListed) return this.#addVague(name, "list", 1);
      const isShared = path.length === 1 && this.#fields.get(name)?.origin === RESOURCE;
      return this.#addScalar(name, isShared ? RESOURCE : originOf(path), value, 1);
    }
    if (value === null) return this.#addVague(name, isListed ? "list" : "other", 1, path);
    if (Array.isArray(value)) {
      this.#addVague(name, "list", 1);
      for (const element of value as readonly JsonValue[]) this.#addJson(path, element, true);
      return;
    }
    const members = Object.entries(value);
    if (members.length === 0) this.#addVague(name, isListed ? "list" : "other", 1, path);
    for (const [key, member] of members) this.#addJson([...path, key], member, isListed);
  }

  #addScalar(
    name: string,
    origin: string,
    value: string | number | boolean,
    records: number,
  ): void {
    const field = this.#field(name, origin);
    if (!field) return;
    field.types.add(typeof value as FieldType);
    field.records += records;
    if (typeof value === "number") addNumber(field, value);
    countValue(field, typeof value === "number" ? textOfNumber(value) : String(value), records);
  }

  /** Adds a field of which no more is known than its type; with a `path`, it has no value there that counts. */
  #addVague(name: string, type: FieldType, records: number, path?: readonly string[]): void {
    const field = this.#field(name, path ? originOf(path) : NO_ORIGIN);
    if (!field) return;
    field.types.add(type);
    field.records += records;
    if (!path || type === "list") field.isVague = true;
  }

  /** Returns undefined if there are too many fields. */
  #field(name: string, origin: string): Field | undefined {
    const known = this.#fields.get(name);
    if (known) {
      if (known.origin !== origin) known.isVague = true;
      return known;
    }
    this.#nameChars += name.length;
    if (this.#fields.size >= FIELDS_MAX || this.#nameChars > NAMES_CHARS_MAX) {
      this.#isFull = true;
      return undefined;
    }
    const field: Field = {
      origin,
      types: new Set(),
      records: 0,
      isVague: false,
      min: Infinity,
      max: -Infinity,
      values: new Map(),
    };
    this.#fields.set(name, field);
    return field;
  }
}

function originOf(path: readonly string[]): string {
  return JSON.stringify(path);
}

/** Counts items that are not 0 in `isRead` by their numbers, which are below `length`. */
function countBy(numbers: ArrayLike<number>, isRead: Uint8Array, length: number): number[] {
  const counts = Array.from({ length }, () => 0);
  for (let index = 0; index < isRead.length; index++) {
    if (isRead[index] === 1) counts[numbers[index]!]!++;
  }
  return counts;
}

/** Whether attributes have other names than expected, because another one has the name already. */
function hasHiddenNames(columns: readonly ColumnInfo[]): boolean {
  const keys = columns.filter(({ place }) => place === "attribute").map(({ path }) => path[0]!);
  return keys.some((key) => RESERVED.has(key)) && keys.some((key) => key.startsWith(RENAME_PREFIX));
}

function typeOf({ kind, isListed }: ColumnInfo): FieldType {
  if (isListed || kind === "emptyList") return "list";
  switch (kind) {
    case "text":
    case "bytes":
      return "string";
    case "int":
    case "double":
      return "number";
    case "bool":
      return "boolean";
    default:
      return "other";
  }
}

function addColumn(field: Field, column: Column): void {
  const { info } = column;
  field.types.add(typeOf(info));
  field.records += info.length;
  if (info.isListed || info.kind === "emptyList") {
    field.isVague = true;
    return;
  }
  switch (info.kind) {
    case "text":
      return addTexts(field, column);
    case "int":
    case "double":
      return addNumbers(field, column);
    case "bool":
      return addBooleans(field, column);
    case "bytes":
      field.values = undefined;
      return;
    default:
  }
}

function addTexts(field: Field, column: Column): void {
  if (!field.values || column.distinct > VALUES_MAX || column.text!.length > TEXT_BYTES_MAX) {
    field.values = undefined;
    return;
  }
  const counts = countsOf(column);
  for (const [index, text] of textsOf(column).entries()) countValue(field, text, counts[index]!);
}

function addNumbers(field: Field, column: Column): void {
  if (column.info.kind === "int" && !column.isExact) field.values = undefined;
  const counts = field.values && countsOf(column);
  const numbers = column.numbers!;
  for (let index = 0; index < numbers.length; index++) {
    const value = numbers[index]!;
    addNumber(field, value);
    if (field.values) countValue(field, textOfNumber(value), counts![index]!);
  }
}

function addBooleans(field: Field, column: Column): void {
  const counts = countsOf(column);
  for (const [index, value] of column.numbers!.entries()) {
    countValue(field, String(value !== 0), counts[index]!);
  }
}

/** Returns how many records have each distinct value. */
function countsOf({ codes, distinct }: Column): Uint32Array {
  const counts = new Uint32Array(distinct);
  if (!codes) return counts.fill(1);
  for (const code of codes) counts[code]!++;
  return counts;
}

function addNumber(field: Field, value: number): void {
  // In envelopes, others are texts that are no numbers.
  if (!Number.isFinite(value)) return;
  if (value < field.min) field.min = value;
  if (value > field.max) field.max = value;
}

function textOfNumber(value: number): string {
  return String(value === 0 ? 0 : value);
}

function countValue(field: Field, text: string, records: number): void {
  const { values } = field;
  if (!values) return;
  values.set(text, (values.get(text) ?? 0) + records);
  if (values.size > VALUES_MAX || text.length > VALUE_CHARS_MAX) field.values = undefined;
}

function summaryOf(name: string, field: Field): FieldSummary {
  const { types, records, isVague, min, max, values } = field;
  return {
    name,
    types: [...types],
    records,
    ...(!isVague && !types.has("string") && min <= max && { min, max }),
    ...(!isVague && values && { values: [...values] }),
  };
}
