/** A gateway in this process with processors and nothing else but its API, and what it has stored. */

import { LoggingManager, type LoggingOptions } from "tailgate";
import { Workspace } from "../../harness/workspace.ts";

/** A record as `/api/logs` returns it. */
export interface StoredRecord {
  readonly sequence: number;
  readonly type: string;
  readonly data: {
    readonly level: string;
    readonly logger: string;
    readonly message: string;
    readonly action?: string;
    readonly metadata?: Readonly<Record<string, unknown>>;
    readonly [extra: string]: unknown;
  };
}

/** An attribute's value in OTLP/JSON. */
export interface OtlpValue {
  readonly stringValue?: string;
  readonly boolValue?: boolean;
  readonly intValue?: string;
  readonly doubleValue?: number;
  readonly kvlistValue?: { readonly values: readonly OtlpAttribute[] };
}

interface OtlpAttribute {
  readonly key: string;
  readonly value: OtlpValue;
}

/** A LogRecord in OTLP/JSON. */
export interface OtlpRecord {
  readonly timeUnixNano?: string;
  readonly severityNumber?: number;
  readonly severityText?: string;
  readonly traceId?: string;
  readonly body?: OtlpValue;
  readonly eventName?: string;
  readonly attributes?: readonly OtlpAttribute[];
}

export interface SentRecords {
  readonly logger: string;
  readonly records: readonly OtlpRecord[];
  readonly resource?: readonly OtlpAttribute[];
}

/** Returns a record with a message and attributes that are texts. */
export function textRecord(
  message: string,
  attributes: Readonly<Record<string, string>> = {},
  severityNumber = 9,
): OtlpRecord {
  return {
    severityNumber,
    body: { stringValue: message },
    attributes: Object.entries(attributes).map(([key, stringValue]) => ({
      key,
      value: { stringValue },
    })),
  };
}

/** The members of a system log that are no attributes. */
const OWN_MEMBERS: ReadonlySet<string> = new Set([
  "timestamp",
  "level",
  "logger",
  "message",
  "module",
  "function",
  "line",
]);

/** Returns the members of a system log that are attributes. */
export function extras(data: StoredRecord["data"]): object {
  return Object.fromEntries(Object.entries(data).filter(([key]) => !OWN_MEMBERS.has(key)));
}

const OTLP_JSON = { "Content-Type": "application/json" };

export class ProcessingGateway implements AsyncDisposable {
  readonly logging: LoggingManager;
  /** What the gateway has written about itself. */
  readonly lines: readonly string[];
  readonly #workspace: Workspace;

  private constructor(logging: LoggingManager, lines: readonly string[], workspace: Workspace) {
    this.logging = logging;
    this.lines = lines;
    this.#workspace = workspace;
  }

  /** Starts it with the processors, as the section of the configuration, and with other options. */
  static async start(
    processors: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
    options: Pick<LoggingOptions, "logDir" | "exporters"> = {},
  ): Promise<ProcessingGateway> {
    const workspace = await Workspace.create();
    const lines: string[] = [];
    const starting = LoggingManager.start({
      port: 0,
      logDir: workspace.path("logs"),
      logLevel: "DEBUG",
      journal: { engine: "memory" },
      receivers: { otlp: { port: null } },
      processors,
      exporters: {},
      registerGlobally: false,
      write: (line) => void lines.push(line),
      ...options,
    });
    try {
      return new ProcessingGateway(await starting, lines, workspace);
    } catch (error) {
      await workspace[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Sends records over OTLP/HTTP; returns the number that was rejected. */
  async send({ logger, records, resource = [] }: SentRecords): Promise<number> {
    const scopeLogs = [{ scope: { name: logger }, logRecords: records }];
    const resourceLogs = [{ resource: { attributes: resource }, scopeLogs }];
    const init = { method: "POST", headers: OTLP_JSON, body: JSON.stringify({ resourceLogs }) };
    const response = await fetch(`${this.logging.url}/v1/logs`, init);
    if (!response.ok) throw new Error(await response.text());
    const { partialSuccess } = (await response.json()) as {
      partialSuccess?: { rejectedLogRecords?: string | number };
    };
    return Number(partialSuccess?.rejectedLogRecords ?? 0);
  }

  /** Returns the stored records that a filter matches, oldest first. */
  async stored(q = ""): Promise<StoredRecord[]> {
    await this.logging.flush();
    const query = new URLSearchParams({ q, limit: "1000" });
    const response = await fetch(`${this.logging.url}/api/logs?${query}`);
    const { records } = (await response.json()) as { records: StoredRecord[] };
    return records.toSorted((one, other) => one.sequence - other.sequence);
  }

  /** Returns the messages of the stored records that a filter matches. */
  async messages(q = ""): Promise<string[]> {
    return (await this.stored(q)).map(({ data }) => data.message);
  }

  /** Returns a metric of a component, such as `tailgate_records_filtered_total`; 0 without one. */
  async metric(name: string, component: string): Promise<number> {
    const text = await (await fetch(`${this.logging.url}/metrics`)).text();
    const line = text
      .split("\n")
      .find((one) => one.startsWith(`${name}{`) && one.includes(`component="${component}"`));
    return Number(line?.split(" ").at(-1) ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.logging.stop();
    await this.#workspace[Symbol.asyncDispose]();
  }
}
