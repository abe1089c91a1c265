/** A merged block in memory, split into columns in the plainest way. */

import { encodeBlocks, type StoredBlock } from "../../src/batch/block.ts";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import type { BlockView, Column, ColumnInfo } from "../../src/blocks/block-view.ts";
import { LoggerNames } from "../../src/envelope/prefix.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { AUDIT_LOGGER, LEVELS, type EnvelopeType } from "../../src/wire/envelope.ts";
import { toProtobuf, type JsonRequest } from "../encode/generated-request.ts";

/** A value of a record, at its place. */
interface PlacedValue {
  readonly place: ColumnInfo["place"];
  readonly path: readonly string[];
  readonly kind: ColumnInfo["kind"];
  readonly isListed: boolean;
  readonly value: string | number | bigint | Buffer | undefined;
}

interface AnyValue {
  readonly stringValue?: string;
  readonly intValue?: string;
  readonly doubleValue?: number | string;
  readonly boolValue?: boolean;
  readonly bytesValue?: string;
  readonly arrayValue?: { readonly values: readonly AnyValue[] };
  readonly kvlistValue?: { readonly values: readonly KeyValue[] };
}

interface KeyValue {
  readonly key: string;
  readonly value?: AnyValue;
}

interface ViewRecord {
  readonly batch: RecordBatch;
  readonly resource: Uint8Array;
  readonly scope: Uint8Array;
  /** Undefined if the record is an exception. */
  readonly values: readonly PlacedValue[] | undefined;
}

/** What a record is that columns cannot hold. */
class Uncommon extends Error {}

export interface ViewOptions {
  readonly type?: EnvelopeType;
  readonly resourceMembers?: readonly string[];
  /** Whether texts are stored once, with codes; then integers that are no safe numbers are known, too. */
  readonly hasCodes?: (column: number) => boolean;
  readonly hasUnusualFolding?: boolean;
}

const HASH_BYTES = 32;
const FIRST_SEQUENCE = 1000;

/** Returns the block of those records of a request that are of one type; undefined if there are none. */
export function memoryView(
  request: JsonRequest,
  options: ViewOptions = {},
): MemoryView | undefined {
  const { type = "system_log", resourceMembers = [] } = options;
  const loggers = new LoggerNames([AUDIT_LOGGER], resourceMembers);
  const records: ViewRecord[] = [];
  for (const { scopeLogs, ...resource } of request.resourceLogs) {
    for (const { logRecords, ...scope } of scopeLogs) {
      for (const record of logRecords) {
        const whole = {
          resourceLogs: [{ ...resource, scopeLogs: [{ ...scope, logRecords: [record] }] }],
        };
        const open = new BatchBuilder();
        encodeOtlpProtobuf(toProtobuf(whole), open, 0, loggers);
        const batch = open.take()[0];
        if (!batch || batch.type(0) !== type) continue;
        if (type === "audit_log") batch.seal(0, "00".repeat(HASH_BYTES));
        batch.firstSequence = FIRST_SEQUENCE + 2 * records.length;
        const { resource: resourceBytes, scope: scopeBytes } = batch.origin(0).otlp(0);
        const values = type === "system_log" ? valuesOf(record) : undefined;
        records.push({ batch, resource: resourceBytes, scope: scopeBytes, values });
      }
    }
  }
  return records.length === 0 ? undefined : new MemoryView(type, records, options);
}

function valuesOf(record: {
  readonly attributes?: readonly KeyValue[];
  readonly body?: AnyValue;
  readonly severityText?: string;
  readonly eventName?: string;
  readonly traceId?: string;
  readonly spanId?: string;
}): PlacedValue[] | undefined {
  const values: PlacedValue[] = [];
  const text = (at: PlacedValue["place"], value: string | undefined): void => {
    if (value) values.push({ place: at, path: [], kind: "text", isListed: false, value });
  };
  const id = (at: PlacedValue["place"], hex: string | undefined, bytes: number): void => {
    if (!hex) return;
    const value = Buffer.from(hex, "hex");
    if (value.length !== bytes) throw new Uncommon();
    values.push({ place: at, path: [], kind: "bytes", isListed: false, value });
  };
  try {
    place("attribute", { kvlistValue: { values: record.attributes ?? [] } }, [], false, values);
    if (record.attributes === undefined || record.attributes.length === 0) values.length = 0;
    if (record.body !== undefined) place("body", record.body, [], false, values);
    text("severity_text", record.severityText);
    text("event_name", record.eventName);
    id("trace_id", record.traceId, 16);
    id("span_id", record.spanId, 8);
  } catch (error) {
    if (error instanceof Uncommon) return undefined;
    throw error;
  }
  return values;
}

function place(
  where: PlacedValue["place"],
  value: AnyValue,
  path: readonly string[],
  isListed: boolean,
  values: PlacedValue[],
): void {
  const add = (kind: PlacedValue["kind"], scalar?: PlacedValue["value"]): void => {
    values.push({ place: where, path, kind, isListed, value: scalar });
  };
  if (value.stringValue !== undefined) add("text", value.stringValue);
  else if (value.intValue !== undefined) add("int", BigInt(value.intValue));
  else if (value.doubleValue !== undefined) add("double", Number(value.doubleValue));
  else if (value.boolValue !== undefined) add("bool", Number(value.boolValue));
  else if (value.bytesValue !== undefined) add("bytes", Buffer.from(value.bytesValue, "base64"));
  else if (value.arrayValue) {
    if (value.arrayValue.values.length === 0) add("emptyList");
    for (const element of value.arrayValue.values) place(where, element, path, true, values);
  } else if (value.kvlistValue) {
    const members = value.kvlistValue.values;
    const keys = members.map(({ key }) => key.toWellFormed());
    if (new Set(keys).size < keys.length) throw new Uncommon();
    if (members.length === 0) add("emptyMap");
    for (const [index, { value: inner = {} }] of members.entries()) {
      place(where, inner, [...path, keys[index]!], isListed, values);
    }
  } else add("null");
}

export class MemoryView implements BlockView {
  readonly type: EnvelopeType;
  readonly resourceMembers: readonly string[];
  readonly length: number;
  readonly directory: BlockView["directory"];
  readonly sequences: Float64Array;
  readonly times: Float64Array;
  readonly ranks: Uint8Array;
  readonly loggers: Uint16Array;
  readonly columns: readonly ColumnInfo[];
  readonly resources: BlockView["resources"];
  readonly scopes: BlockView["scopes"];
  readonly exceptions: Uint16Array;
  /** How many envelopes were read. */
  envelopesRead = 0;
  readonly #records: readonly ViewRecord[];
  readonly #columns: readonly Column[];

  constructor(type: EnvelopeType, records: readonly ViewRecord[], options: ViewOptions) {
    this.type = type;
    this.resourceMembers = options.resourceMembers ?? [];
    this.length = records.length;
    this.#records = records;
    this.sequences = Float64Array.from(records, ({ batch }) => batch.sequence(0));
    this.times = Float64Array.from(records, ({ batch }) => microsOf(batch.timestamp(0)));
    this.ranks = Uint8Array.from(records, ({ batch }) => batch.rank(0));
    const loggers = [...new Set(records.map(({ batch }) => batch.logger(0)))];
    this.loggers = Uint16Array.from(records, ({ batch }) => loggers.indexOf(batch.logger(0)));
    this.directory = {
      format: 1,
      loggers,
      ...countsOf(this, loggers),
      fields: undefined,
      isFiltered: false,
      hasUnusualFolding: options.hasUnusualFolding ?? false,
    };
    this.resources = distinctOf(records.map(({ resource }) => resource));
    this.scopes = distinctOf(records.map(({ scope }) => scope));
    this.exceptions = Uint16Array.from(
      records.flatMap(({ values }, index) => (values === undefined ? [index] : [])),
    );
    this.#columns = columnsOf(records, options.hasCodes ?? (() => true));
    this.columns = this.#columns.map(({ info }) => info);
  }

  column(index: number): Column {
    return this.#columns[index]!;
  }

  read(indexes: ArrayLike<number>): StoredBlock {
    this.envelopesRead += indexes.length;
    const batches = Array.from(indexes, (index) => this.#records[index]!.batch);
    const { bytes } = encodeBlocks(batches)[0]!;
    return { firstSequence: batches[0]!.firstSequence, appendedAtMs: 0, bytes };
  }

  /** Returns the batch of a record, which has no others. */
  batch(index: number): RecordBatch {
    return this.#records[index]!.batch;
  }
}

function countsOf(
  { loggers, ranks, times, length }: MemoryView,
  names: readonly string[],
): Pick<BlockView["directory"], "loggerLevels" | "minutes"> {
  const loggerLevels = names.map(() => LEVELS.map(() => 0));
  const minutes = new Map<number, number[]>();
  for (let index = 0; index < length; index++) {
    const minute = Math.floor(times[index]! / 60e6);
    const levels = minutes.get(minute) ?? LEVELS.map(() => 0);
    minutes.set(minute, levels);
    levels[ranks[index]!]!++;
    loggerLevels[loggers[index]!]![ranks[index]!]!++;
  }
  const sorted = [...minutes].toSorted(([one], [other]) => one - other);
  return { loggerLevels, minutes: sorted.map(([minute, levels]) => [minute, ...levels]) };
}

function microsOf(timestamp: string): number {
  const [second = "", rest = ""] = timestamp.split(".");
  return 1000 * Date.parse(`${second}Z`) + Number(rest.slice(0, -1));
}

function distinctOf(parts: readonly Uint8Array[]): BlockView["resources"] {
  const keys = parts.map((part) => Buffer.from(part).toString("hex"));
  const distinct = [...new Set(keys)];
  return {
    of: Uint16Array.from(keys, (key) => distinct.indexOf(key)),
    distinct: distinct.map((key) => Buffer.from(key, "hex")),
  };
}

function columnsOf(
  records: readonly ViewRecord[],
  hasCodes: (column: number) => boolean,
): Column[] {
  const byKey = new Map<string, { info: PlacedValue; records: number[]; values: PlacedValue[] }>();
  for (const [record, { values = [] }] of records.entries()) {
    for (const value of values) {
      const { place: where, path, kind, isListed } = value;
      const key = JSON.stringify([where, path, kind, isListed]);
      let column = byKey.get(key);
      if (!column) byKey.set(key, (column = { info: value, records: [], values: [] }));
      column.records.push(record);
      column.values.push(value);
    }
  }
  return [...byKey.values()].map(({ info, records: recordsOf, values }, index) =>
    columnOf(
      { place: info.place, path: info.path, kind: info.kind, isListed: info.isListed },
      recordsOf,
      values.map(({ value }) => value),
      hasCodes(index),
    ),
  );
}

function columnOf(
  info: Omit<ColumnInfo, "length">,
  records: readonly number[],
  all: readonly PlacedValue["value"][],
  hasCodes: boolean,
): Column {
  const keys = all.map((value) => (Buffer.isBuffer(value) ? value.toString("hex") : value));
  // -0 and 0 are distinct in OTLP, but not in a Map.
  const distinctKeys = hasCodes ? [...new Set(keys)] : keys;
  const distinct = hasCodes ? distinctKeys.map((key) => all[keys.indexOf(key)]) : all;
  const integers = distinct.filter((value) => typeof value === "bigint");
  const numbers = distinct
    .filter((value) => typeof value === "number")
    .concat(integers.map(Number));
  const isExact = numbers.every((number) => Number.isSafeInteger(number));
  return {
    info: { ...info, length: all.length },
    records: Uint16Array.from(records),
    codes: hasCodes ? Uint16Array.from(keys, (key) => distinctKeys.indexOf(key)) : undefined,
    distinct: distinct.length,
    isExact: info.kind !== "int" || isExact,
    ...(integers.length > 0 && !isExact && hasCodes && { integers: BigInt64Array.from(integers) }),
    ...(info.kind === "text" && {
      text: Buffer.concat(distinct.map((text) => Buffer.concat([Buffer.from(String(text)), END]))),
    }),
    ...(numbers.length > 0 && { numbers: Float64Array.from(numbers) }),
    ...(info.kind === "bytes" && { bytes: bytesOf(distinct as Buffer[]) }),
  };
}

const END = Buffer.from([0xff]);

function bytesOf(values: readonly Buffer[]): NonNullable<Column["bytes"]> {
  const data = Buffer.concat(values);
  const width = values[0]!.length;
  if (values.every((value) => value.length === width)) return { data, width };
  let end = 0;
  return { data, ends: Uint32Array.from(values, ({ length }) => (end += length)) };
}
