import { REQUEST_RESOURCE_LOGS, RESOURCE_LOGS_SCOPE_LOGS, SCOPE_LOGS_RECORDS } from "./fields.ts";

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
  const request = new OtlpRequest(length, piecesOf);
  const bytes = Buffer.allocUnsafeSlow(request.byteLength);
  request.writeTo(bytes, 0);
  return bytes;
}

/** A request whose size is known before it is written, so that it can be written to where it belongs. */
export class OtlpRequest {
  readonly byteLength: number;
  readonly #runs: readonly ResourceRun[];
  readonly #sizes: readonly number[];

  constructor(length: number, piecesOf: (index: number) => OtlpPieces) {
    const runs: ResourceRun[] = [];
    for (let index = 0; index < length; index++) add(runs, piecesOf(index));
    this.#runs = runs;
    this.#sizes = runs.map(sizeOf);
    this.byteLength = this.#sizes.reduce((sum, size) => sum + fieldBytes(size), 0);
  }

  writeTo(bytes: Uint8Array, position: number): void {
    const writer = new FieldWriter(bytes, position);
    for (const [index, { resource, scopes }] of this.#runs.entries()) {
      writer.head(REQUEST_RESOURCE_LOGS, this.#sizes[index]!);
      writer.raw(resource);
      for (const { scope, records, bytes: scopeBytes } of scopes) {
        writer.head(RESOURCE_LOGS_SCOPE_LOGS, scopeBytes);
        writer.raw(scope);
        for (const record of records) {
          writer.head(SCOPE_LOGS_RECORDS, record.length);
          writer.raw(record);
        }
      }
    }
  }
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
  readonly #bytes: Uint8Array;
  #position: number;

  constructor(bytes: Uint8Array, position: number) {
    this.#bytes = bytes;
    this.#position = position;
  }

  head(tag: number, length: number): void {
    this.#bytes[this.#position++] = tag;
    let rest = length;
    for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) {
      this.#bytes[this.#position++] = (rest % 0x80) | 0x80;
    }
    this.#bytes[this.#position++] = rest;
  }

  raw(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#position);
    this.#position += bytes.length;
  }
}
