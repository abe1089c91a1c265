import { open } from "node:fs/promises";
import { vi } from "vitest";

/** A received record in OTLP's JSON form, with its resource and scope. */
export interface Arrived {
  readonly resource: object;
  readonly resourceSchemaUrl: string | undefined;
  readonly scope: object;
  readonly scopeSchemaUrl: string | undefined;
  readonly record: ArrivedRecord;
}

interface ArrivedRecord {
  readonly body?: Value;
  readonly attributes?: readonly { readonly key: string; readonly value: Value }[];
}

interface Value {
  readonly stringValue?: string;
}

interface JsonRequest {
  readonly resourceLogs?: readonly {
    readonly resource: object;
    readonly schemaUrl?: string;
    readonly scopeLogs?: readonly {
      readonly scope: object;
      readonly schemaUrl?: string;
      readonly logRecords?: readonly ArrivedRecord[];
    }[];
  }[];
}

const UID = "log.record.uid";

const LINE_FEED = 0x0a;

/** The output of a Collector's `file` exporter, one request per line; `convert` converts each record. */
export class CollectorFile<Item> {
  readonly arrivals: Item[] = [];
  readonly #path: string;
  readonly #convert: (arrived: Arrived) => Item;
  #position = 0;

  constructor(path: string, convert: (arrived: Arrived) => Item) {
    this.#path = path;
    this.#convert = convert;
  }

  /** Reads the lines written since the last call. */
  async read(): Promise<void> {
    const bytes = await this.#more();
    for (let start = 0; ;) {
      const end = bytes.indexOf(LINE_FEED, start);
      if (end < 0) break;
      this.#take(JSON.parse(bytes.toString("utf8", start, end)) as JsonRequest);
      this.#position += end + 1 - start;
      start = end + 1;
    }
  }

  async #more(): Promise<Buffer> {
    await using file = await open(this.#path);
    const { size } = await file.stat();
    const bytes = Buffer.alloc(size - this.#position);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, this.#position);
    return bytes.subarray(0, bytesRead);
  }

  #take({ resourceLogs = [] }: JsonRequest): void {
    for (const { resource, schemaUrl: resourceSchemaUrl, scopeLogs = [] } of resourceLogs) {
      for (const { scope, schemaUrl: scopeSchemaUrl, logRecords = [] } of scopeLogs) {
        for (const record of logRecords) {
          const around = { resource, resourceSchemaUrl, scope, scopeSchemaUrl };
          this.arrivals.push(this.#convert({ ...around, record }));
        }
      }
    }
  }

  /** Resolves when enough records have arrived. */
  async until(isEnough: (arrivals: readonly Item[]) => boolean, timeoutMs: number): Promise<void> {
    const look = async (): Promise<void> => {
      await this.read();
      if (!isEnough(this.arrivals)) throw new Error(`${this.arrivals.length} records arrived`);
    };
    await vi.waitFor(look, { timeout: timeoutMs, interval: 100 });
  }
}

/** Identifies a record: its text and its id. */
export interface NamedRecord {
  readonly message: string | undefined;
  readonly uid: string | undefined;
}

export function namedOf({ record }: Arrived): NamedRecord {
  const uid = record.attributes?.find(({ key }) => key === UID)?.value;
  return { message: record.body?.stringValue, uid: uid?.stringValue };
}
