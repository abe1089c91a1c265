/**
 * A merged block as it is searched and read: up to {@link BLOCK_RECORDS_MAX} records of one type, of one day (UTC) by the
 * time at which they were appended, in the order of their sequences. Records are addressed by their index in the block.
 */

import type { StoredBlock } from "../batch/block.ts";
import type { EnvelopeBytes } from "../filter/text-hits.ts";
import type { EnvelopeType } from "../wire/envelope.ts";
import type { FieldType } from "../wire/fields.ts";

/** The number of records of a full block. */
export const BLOCK_RECORDS_MAX = 16_384;

/** A block is full as well with records of about this size, in bytes of their OTLP form and kept envelopes. */
export const BLOCK_BYTES_MAX = 8 << 20;

/** The filter of a block is split by the upper bits of a gram's hash into this many parts. */
export const FILTER_PARTS = 16;

/** What a search knows of a block without reading its chunks. */
export interface BlockDirectory {
  /** The version of the block's format. */
  readonly format: number;
  /** Names of loggers; a record's logger is an index into them. */
  readonly loggers: readonly string[];
  /** By logger, then by the rank of the level: the number of records. */
  readonly loggerLevels: readonly (readonly number[])[];
  /** For each minute that has records, ascending: minutes since 1970 of their timestamps, then counts by rank. */
  readonly minutes: readonly (readonly number[])[];
  /**
   * The fields that the block's envelopes have, by their names in the filter language. Undefined if it is not known of all
   * records: then the block may have any field.
   */
  readonly fields: readonly FieldSummary[] | undefined;
  /** False if the filter does not cover the block's texts, which it then says nothing about. */
  readonly isFiltered: boolean;
  /** True if values have characters of more than ASCII of which the bytes do not tell the folded form (such as U+212A, U+017F). */
  readonly hasUnusualFolding: boolean;
}

/** One field of a block's records. */
export interface FieldSummary {
  /** Its keys from the outermost one, joined by dots; of an object in a list, those of its members. */
  readonly name: string;
  /** The types of its values; `other`: null, an empty list or an empty object. */
  readonly types: readonly FieldType[];
  /** How many records have it, about: the rules of envelopes may hide it, or show it twice. */
  readonly records: number;
  /** The least and the greatest number among its values; only if none is a string or in a list. */
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  /**
   * Its values other than null with the exact number of records of each: if there are at most 64 and all are short, and none is a
   * list. Numbers and booleans are in the form in which they are compared with text.
   */
  readonly values?: readonly (readonly [value: string, records: number])[] | undefined;
}

/**
 * A block of which chunks are read when they are needed. Methods throw DamagedChunkError if one is damaged. The columns
 * together have all values of every record that is no exception, empty ones included: what no column has, a record lacks.
 */
export interface BlockView {
  readonly type: EnvelopeType;
  /** The names of the attributes of resources that the block's rules show in envelopes. */
  readonly resourceMembers: readonly string[];
  /** The number of records. */
  readonly length: number;
  readonly directory: BlockDirectory;
  /** The sequences, ascending. */
  readonly sequences: Float64Array;
  /** The times of the envelopes, in microseconds since 1970. */
  readonly times: Float64Array;
  /** The ranks of the levels. */
  readonly ranks: Uint8Array;
  /** The indexes of the loggers in the directory. */
  readonly loggers: Uint8Array | Uint16Array;
  /** The columns, without their values. */
  readonly columns: readonly ColumnInfo[];
  /** Returns the values of a column. */
  column(index: number): Column;
  /** Returns the OTLP bytes of the resource of each record, as an index into the distinct ones. */
  readonly resources: {
    readonly of: Uint8Array | Uint16Array;
    readonly distinct: readonly Uint8Array[];
  };
  /** The same of the scopes (name, version, attributes). */
  readonly scopes: {
    readonly of: Uint8Array | Uint16Array;
    readonly distinct: readonly Uint8Array[];
  };
  /**
   * The records that no column has values of, ascending: their bytes or their envelopes are stored as they were. A search
   * reads their envelopes. A record with the same key twice in a map is always one of them, so that a path without lists
   * has at most one value, and so is one with nesting beyond DEPTH_MAX.
   */
  readonly exceptions: Uint16Array;
  /** The envelopes of the exceptions, if the block has all of them. */
  readonly envelopes?: EnvelopeBytes | undefined;
  /** Returns records as a block that `decodeBlocks` reads (src/batch/block.ts). `indexes`: ascending, at least one. */
  read(indexes: ArrayLike<number>): StoredBlock;
}

/** The place of a column's values in a LogRecord (opentelemetry.proto.logs.v1). */
export type ColumnPlace =
  | "body"
  | "attribute"
  | "severity_text"
  | "event_name"
  | "trace_id"
  | "span_id"
  /** Times, numbers and flags that have fields of their own. */
  | "header";

export interface ColumnInfo {
  readonly place: ColumnPlace;
  /** Of attributes and structured bodies, the keys from the outermost one; [] for a body that is a single value. */
  readonly path: readonly string[];
  /** The type of the values: of AnyValue, or that of the field. Null and empty lists and maps have columns without data. */
  readonly kind: "text" | "int" | "double" | "bool" | "bytes" | "null" | "emptyList" | "emptyMap";
  /** True if the values are elements of a list, or below one: a record may have several. */
  readonly isListed: boolean;
  /** The number of values. */
  readonly length: number;
}

/** The values of a column, in an order of the column's own. */
export interface Column {
  readonly info: ColumnInfo;
  /** The index of the record of each value. */
  readonly records: Uint16Array;
  /** For each value its index in the distinct ones; undefined if each value is stored by itself. */
  readonly codes: Uint8Array | Uint16Array | undefined;
  /** The number of distinct values, or of all values without codes. */
  readonly distinct: number;
  /** Of text: the (distinct) values in UTF-8, each followed by the byte 0xFF, which UTF-8 does not have. */
  readonly text?: Buffer | undefined;
  /** Of text: the positions of these bytes 0xFF, if the view knows them anyway. */
  readonly textEnds?: Uint32Array | undefined;
  /** Of int, double and bool: the (distinct) values. Integers beyond 2^53 are rounded; `isExact` is then false. */
  readonly numbers?: Float64Array | undefined;
  readonly isExact: boolean;
  /** Of int that are not exact in `numbers`: the (distinct) values, if the view knows them. */
  readonly integers?: BigInt64Array | undefined;
  /** Of bytes: the (distinct) values, all of the same length `width`, or each with its end in `ends`. */
  readonly bytes?:
    | { readonly data: Buffer; readonly width?: number; readonly ends?: Uint32Array }
    | undefined;
}

/** A chunk of a block is not as it was written. */
export class DamagedChunkError extends Error {
  /** Of `read`: the indexes of the records that cannot be read; all others can. Undefined if it is the whole block. */
  readonly records: readonly number[] | undefined;

  constructor(
    message: string,
    { cause, records }: { cause?: unknown; records?: readonly number[] } = {},
  ) {
    super(message, { cause });
    this.records = records;
  }
}
