import { TailgateError } from "../wire/errors.ts";

/** How many wrong values the sender is told about one by one. */
const NAMED_MAX = 3;

/** Something about records that were accepted all the same: how often, and where first. */
interface Finding {
  count: number;
  readonly first: string;
}

const INVALID_ID = "invalid trace or span id dropped";
const EMPTY_RECORD = "log record without any known field stored empty";

/** Collects what the sender of a request should know about it: rejected records, dropped ids, unknown contents. */
export class RequestFindings {
  /** The number of rejected records. */
  rejected = 0;
  #wrong: string[] = [];
  #wrongCount = 0;
  #findings = new Map<string, Finding>();
  #unrecognized = "";

  /** Discards everything, to read the request again. */
  clear(): void {
    this.rejected = 0;
    this.#wrong = [];
    this.#wrongCount = 0;
    this.#findings.clear();
    this.#unrecognized = "";
  }

  /** Counts records that are rejected because of a wrong value; rethrows any other error, which concerns the whole request. */
  reject(records: number, error: unknown): void {
    if (!(error instanceof WrongValue)) throw error;
    this.rejected += records;
    if (this.#wrongCount++ < NAMED_MAX) this.#wrong.push(error.text);
  }

  invalidId(where: string): void {
    this.#add(INVALID_ID, where);
  }

  emptyRecord(where: string): void {
    this.#add(EMPTY_RECORD, where);
  }

  #add(what: string, where: string): void {
    const finding = this.#findings.get(what);
    if (finding === undefined) this.#findings.set(what, { count: 1, first: where });
    else finding.count++;
  }

  /** Reports a request in protobuf that has no records but unknown fields. */
  checkUnknown({ length, unknownFields }: { length: number; unknownFields: number }): void {
    if (length > 0 || unknownFields === 0) return;
    this.unrecognized(
      `none of its ${unknownFields} fields belongs to an ExportLogsServiceRequest.`,
    );
  }

  /** Reports an id in protobuf that has a wrong length and ends at that byte of the request. */
  invalidIdAt(end: number): void {
    this.invalidId(`the id that ends at byte ${end} is neither 16 (trace) nor 8 bytes (span) long`);
  }

  /** Reports a request that has no log records but something else. */
  unrecognized(why: string): void {
    this.#unrecognized = `No log record was found: ${why}`;
  }

  get isUnrecognized(): boolean {
    return this.#unrecognized !== "";
  }

  /** All findings as text; "" if there are none. */
  get text(): string {
    const parts = Array.from(this.#findings, ([what, { count, first }]) => {
      const times = count > 1 ? ` (${count} times)` : "";
      return `${what}${times}: ${first}`;
    });
    if (this.#wrongCount > 0) parts.unshift(this.#rejectedText());
    if (this.#unrecognized !== "") parts.unshift(this.#unrecognized);
    return parts.join("; ");
  }

  #rejectedText(): string {
    const more = this.#wrongCount - this.#wrong.length;
    const named = this.#wrong.join("; ") + (more > 0 ? `; and ${more} more` : "");
    const records = this.rejected === 1 ? "1 log record" : `${this.rejected} log records`;
    return `${records} rejected: ${named}`;
  }
}

/** The outcome of one request. */
export interface RequestCounts {
  readonly accepted: number;
  /** Records below the lowest accepted level. */
  readonly filtered: number;
  /** Records that the sender may not send. */
  readonly forbidden: number;
}

/** Returns the error for a request that is not OTLP: `where`, such as `byte 17`, and `why`. */
export function undecodable(where: string, why: string): TailgateError {
  return new TailgateError("OTLP_UNDECODABLE", messageOf(where, why));
}

function messageOf(where: string, why: string): string {
  return `The OTLP request is wrong at ${where}: ${why}.`;
}

/** Thrown for a value of a wrong type or form. The rest of the request is still readable. */
export class WrongValue extends TailgateError {
  /** Where the value is and what is wrong with it. */
  readonly text: string;

  constructor(where: string, why: string) {
    super("OTLP_UNDECODABLE", messageOf(where, why));
    this.text = `${where}: ${why}`;
  }
}

/** Returns the error to reject a request with. A RangeError means a record that does not fit into memory: a retry cannot help. */
export function asRejection(error: unknown): unknown {
  return error instanceof RangeError ? undecodable("one of its records", error.message) : error;
}
