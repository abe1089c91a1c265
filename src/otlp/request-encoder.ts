import { INFO_RANK, type LevelRank } from "../wire/envelope.ts";
import {
  EnvelopeEncoder,
  type Outcome,
  type RecordParts,
  partsOfRecord,
  serviceOf,
} from "../envelope/encoder.ts";
import type { BatchBuilder, Savepoint } from "../batch/batch-builder.ts";
import { ProtobufDecoder } from "./decode.ts";
import { ProtobufOrigin } from "../batch/origin.ts";
import {
  type RequestCounts,
  tellInvalidId,
  tellUnknown,
  type RequestFindings,
  asRejection,
} from "./findings.ts";
import { RecordFields } from "./record-fields.ts";
import {
  END,
  ORDER_HIGH,
  ORDER_LOW,
  RequestIndex,
  RESOURCE,
  SCOPE,
  START,
} from "./request-index.ts";
import {
  EnvelopeBudget,
  PART_ENVELOPE_BYTES_MAX,
  PART_VALUES_MAX,
  runToEnd,
  STEP_BYTES,
  runWithin,
  type Steps,
} from "./request-limits.ts";
import {
  DEFAULT_LOGGER_NAMES,
  type LoggerName,
  type LoggerNames,
} from "../envelope/logger-names.ts";
import { serviceMember } from "../envelope/fast/service-member.ts";
import { rankOfNumber } from "../envelope/severity.ts";
import { rankOfBytes } from "../envelope/fast/severity-text.ts";
import { UsualEnvelope } from "../envelope/fast/usual-envelope.ts";

/**
 * Encodes an ExportLogsServiceRequest from protobuf straight to envelopes, in order of time: the same bytes as those
 * of its decoded records, many times faster. System logs below `lowest` are filtered, audit events below INFO; of a
 * filtered record the body and the attributes are not looked at. What the sender should know beside is told to `findings`.
 * @throws TailgateError OTLP_UNDECODABLE; `open` is then as it was.
 */
export function encodeOtlpProtobuf(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers = DEFAULT_LOGGER_NAMES,
  findings?: RequestFindings,
): RequestCounts {
  return runToEnd(encodeSteps(body, open, lowest, { loggers, findings, memory: layoutMemory }));
}

/** The same, if it takes no more than so many steps: undefined if it takes more, and `open` is then as it was. */
export function encodeOtlpProtobufWithin(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers: LoggerNames,
  findings: RequestFindings,
  stepsMax: number,
): RequestCounts | undefined {
  const options = { loggers, findings, memory: layoutMemory };
  return runWithin(encodeSteps(body, open, lowest, options), stepsMax);
}

/** The same in steps; between them nothing else may be encoded into `open`. */
export function encodeOtlpProtobufInSteps(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers: LoggerNames,
  findings?: RequestFindings,
): Steps<RequestCounts> {
  return encodeSteps(body, open, lowest, { loggers, findings, memory: undefined });
}

interface EncodeOptions {
  readonly loggers: LoggerNames;
  readonly findings: RequestFindings | undefined;
  readonly memory: Int32Array | undefined;
}

function* encodeSteps(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  options: EncodeOptions,
): Steps<RequestCounts> {
  const { findings, memory } = options;
  const savepoint = open.savepoint();
  for (let isExact = false; ; isExact = true) {
    let counts: RequestCounts | undefined;
    try {
      const layout = yield* RequestIndex.inSteps(body, { isExact, isReceived: true, memory });
      if (memory !== undefined) keepLayoutMemory(layout.memory);
      findings?.clear();
      if (findings !== undefined) tellUnknown(layout, findings);
      counts = yield* new Transcoder(layout, open, lowest, options).encode(savepoint);
      return counts;
    } catch (error) {
      if (isExact || !(error instanceof SecondTime)) throw asRejection(error);
    } finally {
      // Also if the steps are ended before the last one.
      if (counts === undefined) open.rollback(savepoint);
    }
  }
}

/** A record has its time twice, and may stand in the wrong place. */
class SecondTime extends Error {}

/** Nanoseconds since 1970 as halves of 64 bits, without a double ever holding them: it would lose some. */

const WORD = 2 ** 32;
const MILLI_NANOS = 1_000_000;
const SECOND_MILLIS = 1000;
const MICRO_NANOS = 1000;

const SECOND_NANOS = SECOND_MILLIS * MILLI_NANOS;

/** Whole seconds and the microseconds of the second, for each time that 64 bits can hold. */
export class SplitTime {
  seconds = 0;
  micros = 0;
  /** The time that was split last by division, and the nanoseconds of its second. */
  #low = 0;
  #high = 0;
  #nanos = 0;

  set(low: number, high: number): void {
    // Most times lie in the second of the one before: what is between them is small, and so exact.
    const nanos = this.#nanos + (high - this.#high) * WORD + (low - this.#low);
    if (nanos >= 0 && nanos < SECOND_NANOS) this.micros = Math.floor(nanos / MICRO_NANOS);
    else this.#divide(low, high);
  }

  /**
   * Long division by a million, a half at a time: the remainder of the upper half times 2^32 stays below 2^52, where
   * doubles are exact.
   */
  #divide(low: number, high: number): void {
    const upper = Math.floor(high / MILLI_NANOS);
    const rest = (high - upper * MILLI_NANOS) * WORD + low;
    const lower = Math.floor(rest / MILLI_NANOS);
    const millis = upper * WORD + lower;
    this.seconds = Math.floor(millis / SECOND_MILLIS);
    const milli = millis - this.seconds * SECOND_MILLIS;
    this.#low = low;
    this.#high = high;
    this.#nanos = milli * MILLI_NANOS + rest - lower * MILLI_NANOS;
    this.micros = Math.floor(this.#nanos / MICRO_NANOS);
  }
}

/** Work is done on one record at a time, and within one call: all requests share these. */
const fields = new RecordFields();
const time = new SplitTime();

/** Taking memory costs as much as reading a small request; that of a rare large one would lie idle. */
let layoutMemory: Int32Array = new Int32Array();
const LAYOUT_CELLS_MAX = 1 << 15;

function keepLayoutMemory(memory: Int32Array): void {
  if (memory.length <= LAYOUT_CELLS_MAX) layoutMemory = memory;
}

/** Also so many records are a step, however small they are. */
const STEP_RECORDS = 512;

/** How often is looked at how much memory the envelopes take: so many records can be but a few megabytes each. */
const BUDGET_RECORDS = 16;

/** What is rare on the wire goes through the decoder and {@link EnvelopeEncoder}, so that it is told in one place. */
class Transcoder {
  readonly #layout: RequestIndex;
  readonly #open: BatchBuilder;
  readonly #lowest: LevelRank;
  readonly #loggers: LoggerNames;
  readonly #findings: RequestFindings | undefined;
  readonly #origin: ProtobufOrigin;
  readonly #decoder: ProtobufDecoder;
  readonly #usual: UsualEnvelope;
  readonly #exact: EnvelopeEncoder;
  /** The scope and the resource of the record before, for most records have the same. */
  #scope = -1;
  #logger: LoggerName;
  #resource = -1;
  #service = serviceMember("");
  /** What the records that were not filtered have in the request. */
  #keptBytes = 0;
  /** What the records since the last step have in it. */
  #readBytes = 0;

  constructor(
    layout: RequestIndex,
    open: BatchBuilder,
    lowest: LevelRank,
    { loggers, findings }: EncodeOptions,
  ) {
    this.#layout = layout;
    this.#open = open;
    this.#lowest = lowest;
    this.#loggers = loggers;
    this.#findings = findings;
    this.#logger = loggers.of("");
    this.#origin = new ProtobufOrigin(layout.reader.bytes, layout.length);
    this.#decoder = new ProtobufDecoder(layout, PART_VALUES_MAX);
    this.#usual = new UsualEnvelope(layout.reader, open.writer);
    this.#exact = new EnvelopeEncoder(open, lowest, loggers, PART_ENVELOPE_BYTES_MAX);
  }

  *encode(savepoint: Savepoint): Steps<RequestCounts> {
    const records = this.#layout.length;
    const order = this.#layout.order();
    const budget = new EnvelopeBudget(this.#open);
    this.#open.expect(records);
    let accepted = 0;
    for (let place = 0; place < records; place++) {
      const record = order === undefined ? place : order[place]!;
      const outcome = this.#record(record) ?? (yield* this.#largeExactly(record));
      if (outcome === "accepted") accepted++;
      if (place % BUDGET_RECORDS === 0) budget.check();
      if (this.#readBytes >= STEP_BYTES || place % STEP_RECORDS === 0) {
        this.#readBytes = 0;
        yield;
        // Another request may have been worked on, which shares the table of attributes.
        this.#usual.forget();
      }
    }
    budget.check();
    if (this.#open.countSince(savepoint) < records) {
      yield* this.#open.keepOnly(savepoint, this.#origin, this.#keptBytes);
    }
    return { accepted, filtered: records - accepted };
  }

  /** Undefined for a large record that is left to the decoder. */
  #record(record: number): Outcome | undefined {
    const layout = this.#layout;
    const start = layout.at(record, START);
    const end = layout.at(record, END);
    const { reader } = layout;
    this.#readBytes += end - start;
    fields.read(reader, start, end);
    if (fields.invalidIdEnd !== 0 && this.#findings !== undefined) {
      tellInvalidId(fields, this.#findings);
    }
    this.#readTime(record);
    const logger = this.#loggerOf(record);
    if (logger.bridge) return this.#exactly(record, end - start);
    const rank = rankOfNumber(fields.severity) ?? this.#rankOfText(logger);
    // A text that says nothing is kept.
    if (rank === undefined) return this.#exactly(record, end - start);
    if (rank < (logger.audit ? INFO_RANK : this.#lowest)) {
      // An attribute may name the audit logger.
      const isOpen = logger.nameAttributes !== undefined && rank >= INFO_RANK;
      return isOpen ? this.#exactly(record, end - start) : "filtered";
    }
    // The resource is read for each record, so that a damaged one is refused although nobody asks for its name.
    const service = this.#serviceOf(record);
    const open = this.#open;
    open.begin();
    if (!this.#usual.write(fields, end - start, time, logger, logger.starts[rank]!.head, service)) {
      open.abandon();
      return this.#exactly(record, end - start);
    }
    this.#keptBytes += end - start;
    if (!open.commit(rank, logger.audit, logger.name, this.#origin, record)) this.#usual.forget();
    return "accepted";
  }

  /** The level of a record without a number; undefined for an unknown text. */
  #rankOfText({ numbering }: LoggerName): LevelRank | undefined {
    const { severityTextStart: start, severityTextEnd: end } = fields;
    if (start === end) return INFO_RANK;
    return rankOfBytes(this.#layout.reader.bytes, start, end, numbering);
  }

  /** The time that the record was put in order by, which is the request's arrival where it has none. */
  #readTime(record: number): void {
    const low = this.#layout.at(record, ORDER_LOW);
    const high = this.#layout.at(record, ORDER_HIGH);
    time.set(low >>> 0, high >>> 0);
    if (fields.timeLow === low && fields.timeHigh === high) return;
    if (this.#layout.isExact || (fields.orderLow === low && fields.orderHigh === high)) return;
    if (fields.hasTime) throw new SecondTime();
  }

  #exactly(record: number, bytes: number): Outcome | undefined {
    return bytes > STEP_BYTES ? undefined : this.#encodeExactly(this.#partsOf(record), record);
  }

  /** The fields and the time may be those of another request's record after a step. */
  *#largeExactly(record: number): Steps<Outcome> {
    yield;
    fields.read(this.#layout.reader, this.#layout.at(record, START), this.#layout.at(record, END));
    this.#readTime(record);
    const parts = this.#partsOf(record);
    yield;
    return this.#encodeExactly(parts, record);
  }

  #partsOf(record: number): RecordParts {
    const parts = partsOfRecord(this.#decoder.recordOf(record, fields));
    parts.seconds = time.seconds;
    parts.micros = time.micros;
    return parts;
  }

  #encodeExactly(parts: RecordParts, record: number): Outcome {
    const outcome = this.#exact.encode(parts, this.#origin, record);
    if (outcome === "accepted")
      this.#keptBytes += this.#layout.at(record, END) - this.#layout.at(record, START);
    return outcome;
  }

  #loggerOf(record: number): LoggerName {
    const scope = this.#layout.at(record, SCOPE);
    if (scope !== this.#scope) {
      this.#logger = this.#loggers.of(this.#decoder.scope(scope).name);
      this.#scope = scope;
    }
    return this.#logger;
  }

  /** The member that names the record's process, as bytes. */
  #serviceOf(record: number): Uint8Array {
    const resource = this.#layout.at(record, RESOURCE);
    if (resource !== this.#resource) {
      this.#service = serviceMember(serviceOf(this.#decoder.resource(resource)));
      this.#resource = resource;
    }
    return this.#service;
  }
}
