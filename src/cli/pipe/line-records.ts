import type { LineParser } from "../../lines/line.ts";
import { recordOfLine, type ParsedLine } from "../../lines/parsed-line.ts";
import type { Severity } from "../../lines/severity.ts";
import { LineSplitter, type SplitLine } from "../../lines/splitter.ts";
import type { LogRecord } from "../../plugin/index.ts";
import { continues, isErrorReport, TRACEBACK } from "./stack-traces.ts";

/** A longer line is cut in its record. */
const LINE_BYTES_MAX = 1 << 20;

/** A record of several lines ends before it has more. */
const RECORD_LINES_MAX = 1000;
const RECORD_CHARS_MAX = 1 << 20;

const ERROR: Severity = { number: 17, text: "ERROR" };

export interface LineRecordsOptions {
  readonly parser: LineParser;
  /** The logger of lines that do not name one. */
  readonly logger: string;
  /** The severity of lines that do not tell one. */
  readonly severity: Severity;
  /** Added to records that do not have an attribute of that name. */
  readonly attributes: ReadonlyMap<string, string>;
}

/** A record with the size of its lines. */
export interface LineRecord {
  readonly record: LogRecord;
  readonly chars: number;
}

/** Makes records of bytes: one of each line, but the lines of a stack trace belong to the text before them. */
export class LineRecords {
  readonly #options: LineRecordsOptions;
  readonly #splitter = new LineSplitter(LINE_BYTES_MAX);
  /** The text that further lines may belong to. */
  #open: OpenText | undefined;

  constructor(options: LineRecordsOptions) {
    this.#options = options;
  }

  /** Whether a record waits for further lines that belong to it. */
  get isWaiting(): boolean {
    return this.#open !== undefined;
  }

  /** Yields the records that the bytes complete. `chunk` may be reused afterwards. */
  *push(chunk: Uint8Array): Generator<LineRecord> {
    for (const line of this.#splitter.push(chunk)) yield* this.#add(line);
  }

  /** Yields what waits for further lines. */
  *take(): Generator<LineRecord> {
    const open = this.#open;
    this.#open = undefined;
    if (open !== undefined) yield this.#record(open.line(), open.chars);
  }

  /** Yields the rest, with a last line that has no end. */
  *end(): Generator<LineRecord> {
    const last = this.#splitter.flush();
    if (last !== undefined) yield* this.#add(last);
    yield* this.take();
  }

  *#add({ text }: SplitLine): Generator<LineRecord> {
    if (text.trim() === "") {
      this.#open?.addEmpty();
      return;
    }
    if (this.#open?.add(text)) return;
    yield* this.take();
    const line = this.#options.parser.parse(text);
    if (line.format === "json" || line.format === "logfmt") {
      yield this.#record(line, text.length);
    } else {
      this.#open = new OpenText(text, line, this.#options.severity);
    }
  }

  #record(line: ParsedLine, chars: number): LineRecord {
    const { logger, severity, attributes } = this.#options;
    const record = recordOfLine({ ...line, severity: line.severity ?? severity }, logger);
    for (const [name, value] of attributes) {
      if (!record.attributes.has(name)) record.attributes.set(name, value);
    }
    return { record, chars };
  }
}

/** A text and the lines that belong to it. */
class OpenText {
  readonly #first: ParsedLine;
  readonly #default: Severity;
  readonly #lines: string[];
  /** The empty lines since the last one that belongs to it. */
  #emptyCount = 0;
  chars: number;

  constructor(text: string, first: ParsedLine, severity: Severity) {
    this.#first = first;
    this.#default = severity;
    this.#lines = [text];
    this.chars = text.length;
  }

  addEmpty(): void {
    this.#emptyCount++;
  }

  /** Adds a line; false if it does not belong to the text. */
  add(text: string): boolean {
    const chars = this.chars + this.#emptyCount + text.length;
    const lineCount = this.#lines.length + this.#emptyCount;
    if (lineCount >= RECORD_LINES_MAX || chars > RECORD_CHARS_MAX) return false;
    const severity = this.#first.severity ?? this.#default;
    if (!continues(this.#lines, text, { severity, hasGap: this.#emptyCount > 0 })) return false;
    for (; this.#emptyCount > 0; this.#emptyCount--) this.#lines.push("");
    this.#lines.push(text);
    this.chars = chars;
    return true;
  }

  line(): ParsedLine {
    const first = this.#first;
    const [head, ...others] = this.#lines;
    // Without a level of its own, and it is an error all the same.
    const isError = TRACEBACK.test(head!) || isErrorReport(head!, others[0]);
    const severity = first.severity ?? (isError ? ERROR : undefined);
    if (others.length === 0) return { ...first, severity };
    const body = [first.body as string, ...others].join("\n");
    return { ...first, severity, body };
  }
}
