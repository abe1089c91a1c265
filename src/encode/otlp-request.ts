import {
  REQUEST_RESOURCE_LOGS,
  RESOURCE_LOGS_SCOPE_LOGS,
  SCOPE_LOGS_RECORDS,
} from "./otlp-fields.ts";

/** A record as pieces of an ExportLogsServiceRequest: what it takes to put it into another one as it came. */
export interface OtlpPieces {
  /** The fields of its ResourceLogs beside the scope logs, with their tags. Equal objects save work. */
  readonly resource: Uint8Array;
  /** The fields of its ScopeLogs beside the records, with their tags. Equal objects save work. */
  readonly scope: Uint8Array;
  /** Its LogRecord message. */
  readonly record: Uint8Array;
}

/** A run of records of one scope. */
interface ScopeRun {
  readonly scope: Uint8Array;
  readonly records: Uint8Array[];
  /** Of the ScopeLogs message. */
  bytes: number;
}

interface ResourceRun {
  readonly resource: Uint8Array;
  readonly scopes: ScopeRun[];
}

/** An ExportLogsServiceRequest of the records, which stand in it in their order. */
export function otlpRequest(
  length: number,
  piecesOf: (index: number) => OtlpPieces,
): Uint8Array<ArrayBuffer> {
  const runs: ResourceRun[] = [];
  for (let index = 0; index < length; index++) add(runs, piecesOf(index));
  const sizes = runs.map(sizeOf);
  const total = sizes.reduce((sum, size) => sum + fieldBytes(size), 0);
  const writer = new FieldWriter(Buffer.allocUnsafeSlow(total));
  for (const [index, { resource, scopes }] of runs.entries()) {
    writer.head(REQUEST_RESOURCE_LOGS, sizes[index]!);
    writer.raw(resource);
    for (const { scope, records, bytes } of scopes) {
      writer.head(RESOURCE_LOGS_SCOPE_LOGS, bytes);
      writer.raw(scope);
      for (const record of records) {
        writer.head(SCOPE_LOGS_RECORDS, record.length);
        writer.raw(record);
      }
    }
  }
  return writer.buffer;
}

function add(runs: ResourceRun[], { resource, scope, record }: OtlpPieces): void {
  let run = runs.at(-1);
  if (run === undefined || !isEqual(run.resource, resource)) {
    run = { resource, scopes: [] };
    runs.push(run);
  }
  let scopeRun = run.scopes.at(-1);
  if (scopeRun === undefined || !isEqual(scopeRun.scope, scope)) {
    scopeRun = { scope, records: [], bytes: scope.length };
    run.scopes.push(scopeRun);
  }
  scopeRun.records.push(record);
  scopeRun.bytes += fieldBytes(record.length);
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one === other || (one.length === other.length && Buffer.compare(one, other) === 0);
}

function sizeOf({ resource, scopes }: ResourceRun): number {
  return scopes.reduce((sum, { bytes }) => sum + fieldBytes(bytes), resource.length);
}

/** A field with a length: the tags that are used here have one byte. */
function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

class FieldWriter {
  readonly buffer: Buffer<ArrayBuffer>;
  #position = 0;

  constructor(buffer: Buffer<ArrayBuffer>) {
    this.buffer = buffer;
  }

  head(tag: number, length: number): void {
    this.buffer[this.#position++] = tag;
    let rest = length;
    for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) {
      this.buffer[this.#position++] = (rest % 0x80) | 0x80;
    }
    this.buffer[this.#position++] = rest;
  }

  raw(bytes: Uint8Array): void {
    this.buffer.set(bytes, this.#position);
    this.#position += bytes.length;
  }
}
