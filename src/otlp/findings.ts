import { TailgateError } from "../wire/errors.ts";

/** So many wrong values are named to the sender. */
const NAMED_MAX = 3;

/** Something about records that were stored nevertheless: how many, and the first place. */
interface Finding {
  count: number;
  readonly first: string;
}

const INVALID_ID = "invalid trace or span id dropped";
const EMPTY_RECORD = "log record without any known field stored empty";

/** What the sender of a request is told besides that its records are stored. */
export class RequestFindings {
  /** Records that were not taken. */
  rejected = 0;
  #wrong: string[] = [];
  #wrongCount = 0;
  #findings = new Map<string, Finding>();
  #unrecognized = "";

  /** Forgets everything: the request is read again. */
  clear(): void {
    this.rejected = 0;
    this.#wrong = [];
    this.#wrongCount = 0;
    this.#findings.clear();
    this.#unrecognized = "";
  }

  /** Counts records that are not taken because of the error; throws it again if it concerns the request as a whole. */
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
      `of the ${unknownFields} fields that are there, none is one of an ExportLogsServiceRequest.`,
    );
  }

  /** Reports an id in protobuf that has a wrong length and ends at that byte of the request. */
  invalidIdAt(end: number): void {
    this.invalidId(`the id that ends at byte ${end} is neither 16 (trace) nor 8 bytes (span) long`);
  }

  /** The request holds no log records but something else. */
  unrecognized(why: string): void {
    this.#unrecognized = `No log record was found: ${why}`;
  }

  get isUnrecognized(): boolean {
    return this.#unrecognized !== "";
  }

  /** Returns all of it as text; "" if there is nothing to tell. */
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

/** What became of the records of one request. */
export interface RequestCounts {
  readonly accepted: number;
  /** Records below the level that is taken in. */
  readonly filtered: number;
}

/** Says that a request is no OTLP: `where` in it, such as `byte 17`, and `why`. */
export function undecodable(where: string, why: string): TailgateError {
  return new TailgateError("OTLP_UNDECODABLE", messageOf(where, why));
}

function messageOf(where: string, why: string): string {
  return `The OTLP request is wrong at ${where}: ${why}.`;
}

/** Thrown for a value of the wrong type or form. What stands beside it in the request can still be read. */
export class WrongValue extends TailgateError {
  /** The value's place and what is wrong with it. */
  readonly text: string;

  constructor(where: string, why: string) {
    super("OTLP_UNDECODABLE", messageOf(where, why));
    this.text = `${where}: ${why}`;
  }
}

/** The error to refuse a request with: a record that is too large for memory is so each time that it is sent. */
export function asRejection(error: unknown): unknown {
  return error instanceof RangeError ? undecodable("one of its records", error.message) : error;
}
