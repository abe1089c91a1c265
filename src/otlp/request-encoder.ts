import type { BatchBuilder, Savepoint } from "../batch/batch-builder.ts";
import { ProtobufOrigin } from "../batch/origin.ts";
import {
  EnvelopeEncoder,
  NO_RESOURCE,
  partsOfRecord,
  resourceMembers,
  type ResourceMembers,
  type Outcome,
  type RecordParts,
} from "../envelope/encoder.ts";
import { FastEnvelopeWriter } from "../envelope/fast/envelope-writer.ts";
import { fastJsonToProtobuf, fastRecordToProtobuf } from "../envelope/fast/json-transcoder.ts";

import { ascii } from "../envelope/json-writer.ts";
import { ANYONE, type Sender } from "../envelope/sender.ts";
import {
  DEFAULT_LOGGER_NAMES,
  type LoggerName,
  type LoggerNames,
  rankOfNumber,
  rankOfText,
  type SeverityNumbering,
  SplitTime,
} from "../envelope/prefix.ts";
import { INFO_RANK, LEVELS, rankOfName, type LevelRank } from "../wire/envelope.ts";
import { ProtobufDecoder } from "./decode.ts";
import { asRejection, undecodable, type RequestCounts, type RequestFindings } from "./findings.ts";
import { jsonToProtobuf } from "./from-json.ts";
import { ScannedRecord } from "./scanned-record.ts";
import { RequestIndex, runToEnd } from "./request-index.ts";
import {
  PART_ENVELOPE_BYTES_MAX,
  PART_VALUES_MAX,
  STEP_BYTES,
  type Steps,
} from "./request-limits.ts";

/**
 * Encodes an ExportLogsServiceRequest in protobuf as envelopes, in order of time: the same bytes as those of its decoded
 * records, many times faster. System logs below `lowest` are filtered, audit events below INFO, and what the sender may not
 * send is forbidden; the body and the attributes of such records are not read. What the sender should know about the records
 * is added to `findings`.
 * @throws TailgateError OTLP_UNDECODABLE; `open` is then as it was.
 */
export function encodeOtlpProtobuf(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers = DEFAULT_LOGGER_NAMES,
  findings?: RequestFindings,
  sender = ANYONE,
): RequestCounts {
  const options = { loggers, findings, sender, memory: indexMemory };
  return runToEnd(encodeSteps(body, open, lowest, options));
}

/** Does the same in at most that many steps; if it takes more, it returns undefined, and `open` is as it was. */
export function encodeOtlpProtobufWithin(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers: LoggerNames,
  findings: RequestFindings,
  sender: Sender,
  stepsMax: number,
): RequestCounts | undefined {
  const options = { loggers, findings, sender, memory: indexMemory };
  const steps = encodeSteps(body, open, lowest, options);
  for (let count = 0; count <= stepsMax; count++) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
  steps.return(undefined as never);
  return undefined;
}

/** Does the same in steps; between them, nothing else may be encoded into `open`. */
export function encodeOtlpProtobufInSteps(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers: LoggerNames,
  findings?: RequestFindings,
  sender = ANYONE,
): Steps<RequestCounts> {
  return encodeSteps(body, open, lowest, { loggers, findings, sender, memory: undefined });
}

/**
 * Encodes an ExportLogsServiceRequest from JSON, by way of protobuf. With `findings`, a wrong value only rejects the
 * records that it belongs to.
 * @throws TailgateError OTLP_UNDECODABLE; `open` is then as it was.
 */
export function encodeOtlpJson(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers = DEFAULT_LOGGER_NAMES,
  findings?: RequestFindings,
  sender = ANYONE,
): RequestCounts {
  const protobuf = fastJsonToProtobuf(body) ?? runToEnd(jsonToProtobuf(body, findings));
  return encodeOtlpProtobuf(protobuf, open, lowest, loggers, undefined, sender);
}

/** Does the same in steps; between them, nothing else may be encoded into `open`. */
export function* encodeOtlpJsonInSteps(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers: LoggerNames,
  findings?: RequestFindings,
  sender = ANYONE,
): Steps<RequestCounts> {
  const protobuf = yield* jsonToProtobuf(body, findings, fastRecordToProtobuf);
  return yield* encodeOtlpProtobufInSteps(protobuf, open, lowest, loggers, undefined, sender);
}

/**
 * Returns a request in JSON as protobuf; one of at most `bytesMax` in one step, if possible. With `findings`, a wrong value
 * only rejects the records that it belongs to.
 */
export function* otlpJsonToProtobuf(
  body: Uint8Array,
  findings: RequestFindings | undefined,
  bytesMax: number,
): Steps<Uint8Array> {
  const protobuf = body.length <= bytesMax ? fastJsonToProtobuf(body) : undefined;
  return protobuf ?? (yield* jsonToProtobuf(body, findings, fastRecordToProtobuf));
}

/**
 * Encodes records of a stored request, in the order of `records`, which are indexes in the request: the same bytes as when the
 * request came. Returns the number of envelopes, which is less if one of them was not a system log.
 * @throws TailgateError OTLP_UNDECODABLE; `open` is then as it was.
 */
export function encodeStoredRecords(
  request: Uint8Array,
  records: ArrayLike<number>,
  open: BatchBuilder,
  loggers: LoggerNames,
): number {
  const options = {
    loggers,
    findings: undefined,
    sender: SYSTEM_LOGS,
    memory: indexMemory,
    records,
  };
  return runToEnd(encodeSteps(request, open, 0, options)).accepted;
}

/** Of the sender of a stored request only its system logs are encoded again, which do not name it. */
const SYSTEM_LOGS: Sender = { ...ANYONE, maySendAuditEvents: false };

interface EncodeOptions {
  readonly loggers: LoggerNames;
  readonly findings: RequestFindings | undefined;
  readonly sender: Sender;
  readonly memory: Int32Array | undefined;
  /** The records to encode of a request that was accepted before, in this order; undefined for all of a new one. */
  readonly records?: ArrayLike<number>;
}

function* encodeSteps(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  options: EncodeOptions,
): Steps<RequestCounts> {
  const { findings, memory, records } = options;
  // The limits of a request do not apply to several that were stored together.
  const isReceived = records === undefined;
  const savepoint = open.savepoint();
  let counts: RequestCounts | undefined;
  for (let isExact = false; counts === undefined; isExact = true) {
    try {
      const index = yield* RequestIndex.inSteps(body, { isExact, isReceived, memory });
      if (memory !== undefined && index.memory.length <= INDEX_CELLS_MAX)
        indexMemory = index.memory;
      findings?.clear();
      findings?.checkUnknown(index);
      counts = yield* new RequestEncoder(index, open, lowest, options).encode(savepoint);
    } catch (error) {
      throw asRejection(error);
    } finally {
      // This also runs if the caller abandons the steps before the last one.
      if (counts === undefined) open.rollback(savepoint);
    }
  }
  return counts;
}

/** One record is encoded at a time, without interruption, so all requests share these. */
const fields = new ScannedRecord();
const time = new SplitTime();

/** Reused, because allocating it costs as much as reading a small request. That of a large request, which is rare, is freed. */
let indexMemory: Int32Array = new Int32Array();
const INDEX_CELLS_MAX = 1 << 15;

/** A step ends after this many records, however small they are. */
const STEP_RECORDS = 512;

/** How often memory is checked: this many records take a few megabytes each at most. */
const BUDGET_RECORDS = 16;

/** Encodes the records of one request. Rare forms go through {@link ProtobufDecoder} and {@link EnvelopeEncoder}. */
class RequestEncoder {
  readonly #index: RequestIndex;
  readonly #open: BatchBuilder;
  readonly #lowest: LevelRank;
  readonly #loggers: LoggerNames;
  readonly #findings: RequestFindings | undefined;
  readonly #sender: Sender;
  readonly #stored: ArrayLike<number> | undefined;
  /** True unless the sender may send records of both types. */
  readonly #isRestricted: boolean;
  readonly #origin: ProtobufOrigin;
  readonly #decoder: ProtobufDecoder;
  /** The switch to `envelope/fast`: without it, every record takes the plain path and becomes the same bytes. */
  readonly #fast: FastEnvelopeWriter;
  readonly #plain: EnvelopeEncoder;
  /** The scope and the resource of the previous record: most records share them. */
  #scope = -1;
  #logger: LoggerName;
  #resource = -1;
  #members = NO_RESOURCE;
  /** The size of the accepted records in the request. */
  #acceptedBytes = 0;
  #stepBytes = 0;
  /** True after a record whose second time field contradicts the first, by which the index ordered it. */
  #isMisordered = false;

  constructor(
    index: RequestIndex,
    open: BatchBuilder,
    lowest: LevelRank,
    { loggers, findings, sender, records }: EncodeOptions,
  ) {
    this.#index = index;
    this.#open = open;
    this.#lowest = lowest;
    this.#loggers = loggers;
    this.#findings = findings;
    this.#sender = sender;
    this.#stored = records;
    this.#isRestricted = !(sender.maySendAuditEvents && sender.maySendSystemLogs);
    this.#logger = loggers.of("");
    this.#origin = new ProtobufOrigin(index.reader.bytes, index.length, { rules: loggers.rules });
    this.#decoder = new ProtobufDecoder(index, PART_VALUES_MAX);
    this.#fast = new FastEnvelopeWriter(index.reader, open.writer);
    this.#plain = new EnvelopeEncoder(open, lowest, loggers, PART_ENVELOPE_BYTES_MAX);
  }

  /** Returns undefined if the request needs an exact index. */
  *encode(savepoint: Savepoint): Steps<RequestCounts | undefined> {
    const isStored = this.#stored !== undefined;
    const records = this.#stored?.length ?? this.#index.length;
    const order = this.#stored ?? this.#index.order();
    const memoryBytesMax = isStored ? Infinity : this.#open.memoryBytes + ENVELOPE_BYTES_MAX;
    this.#open.expect(records);
    let accepted = 0;
    let forbidden = 0;
    for (let position = 0; position < records; position++) {
      const record = order === undefined ? position : order[position]!;
      const outcome = this.#record(record) ?? (yield* this.#largeRecord(record));
      if (this.#isMisordered) return undefined;
      if (outcome === "accepted") accepted++;
      else if (outcome === "forbidden") forbidden++;
      if (position % BUDGET_RECORDS === 0) this.#checkMemory(memoryBytesMax);
      if (this.#stepBytes >= STEP_BYTES || position % STEP_RECORDS === 0) {
        this.#stepBytes = 0;
        yield;
        // In the meantime, another request may have used the shared table of attributes.
        this.#fast.forget();
      }
    }
    this.#checkMemory(memoryBytesMax);
    if (!isStored && this.#open.countSince(savepoint) < records) {
      yield* this.#open.retainAccepted(savepoint, this.#origin, this.#acceptedBytes);
    }
    return { accepted, filtered: records - accepted - forbidden, forbidden };
  }

  #checkMemory(bytesMax: number): void {
    if (this.#open.memoryBytes <= bytesMax) return;
    throw undecodable("its end", `its envelopes take more than ${ENVELOPE_BYTES_MAX} bytes`);
  }

  /** Returns undefined for a large record that needs the plain path. */
  #record(record: number): Outcome | undefined {
    const index = this.#index;
    const start = index.start(record);
    const end = index.end(record);
    const { reader } = index;
    this.#stepBytes += end - start;
    fields.read(reader, start, end);
    if (fields.invalidIdEnd !== 0) this.#findings?.invalidIdAt(fields.invalidIdEnd);
    this.#readTime(record);
    const logger = this.#loggerOf(record);
    if (logger.bridge) return this.#smallRecord(record, end - start);
    if (this.#isRestricted) {
      // An attribute may name the logger, on which the type depends.
      if (logger.nameAttributes !== undefined) return this.#smallRecord(record, end - start);
      const { maySendAuditEvents, maySendSystemLogs } = this.#sender;
      if (!(logger.audit ? maySendAuditEvents : maySendSystemLogs)) return "forbidden";
    }
    const rank = rankOfNumber(fields.severity) ?? this.#rankOfText(logger);
    // An unknown severity text becomes an attribute.
    if (rank === undefined) return this.#smallRecord(record, end - start);
    if (rank < (logger.audit ? INFO_RANK : this.#lowest)) {
      // An attribute may name the audit logger.
      const isOpen = logger.nameAttributes !== undefined && rank >= INFO_RANK;
      return isOpen ? this.#smallRecord(record, end - start) : "filtered";
    }
    // The resource is read for each record, so that a malformed one is rejected even if its name is not needed.
    const resource = this.#resourceOf(record);
    const open = this.#open;
    open.begin();
    const prefix = logger.prefixes[rank]!;
    const { member } = this.#sender;
    if (!this.#fast.write(fields, end - start, time, logger, prefix, resource, member)) {
      open.abandon();
      return this.#smallRecord(record, end - start);
    }
    this.#acceptedBytes += end - start;
    const { audit, name } = logger;
    const isInPlace = open.commit(rank, audit, name, this.#origin, record, this.#isRemade);
    if (!isInPlace) this.#fast.forget();
    return "accepted";
  }

  /** Returns the level of a record without a severity number; undefined for an unknown text. */
  #rankOfText({ numbering }: LoggerName): LevelRank | undefined {
    const { severityTextStart: start, severityTextEnd: end } = fields;
    if (start === end) return INFO_RANK;
    return rankOfBytes(this.#index.reader.bytes, start, end, numbering);
  }

  /** Sets {@link time} to the time by which the record was ordered, which is its arrival if it has none. */
  #readTime(record: number): void {
    const low = this.#index.timeLow(record);
    const high = this.#index.timeHigh(record);
    time.set(low >>> 0, high >>> 0);
    if (fields.timeLow === low && fields.timeHigh === high) return;
    if (this.#index.isExact || (fields.orderLow === low && fields.orderHigh === high)) return;
    if (fields.hasTime) this.#isMisordered = true;
  }

  #smallRecord(record: number, bytes: number): Outcome | undefined {
    if (bytes > STEP_BYTES) return undefined;
    return this.#encodePlainly(this.#partsOf(record), record, this.#isRemade);
  }

  /** Reads the fields and the time again: after a step they may be those of another request's record. */
  *#largeRecord(record: number): Steps<Outcome> {
    yield;
    fields.read(this.#index.reader, this.#index.start(record), this.#index.end(record));
    this.#readTime(record);
    const parts = this.#partsOf(record);
    const isRemade = this.#isRemade;
    yield;
    return this.#encodePlainly(parts, record, isRemade);
  }

  #partsOf(record: number): RecordParts {
    const parts = partsOfRecord(this.#decoder.recordOf(record, fields));
    parts.seconds = time.seconds;
    parts.micros = time.micros;
    return parts;
  }

  /**
   * Whether the current record's envelope can be made again. That of a record without a time has the time at which it came,
   * and if a record has several, an index of the stored request that is not exact would tell another one.
   */
  get #isRemade(): boolean {
    return fields.hasTime && !this.#index.isExact;
  }

  #encodePlainly(parts: RecordParts, record: number, isRemade: boolean): Outcome {
    const outcome = this.#plain.encode(parts, this.#origin, record, this.#sender, isRemade);
    if (outcome === "accepted") {
      this.#acceptedBytes += this.#index.end(record) - this.#index.start(record);
    }
    return outcome;
  }

  #loggerOf(record: number): LoggerName {
    const scope = this.#index.scope(record);
    if (scope !== this.#scope) {
      this.#logger = this.#loggers.of(this.#decoder.scope(scope).name);
      this.#scope = scope;
    }
    return this.#logger;
  }

  #resourceOf(record: number): ResourceMembers {
    const resource = this.#index.resource(record);
    if (resource !== this.#resource) {
      const { resourceAttributes } = this.#loggers;
      this.#members = resourceMembers(this.#decoder.resource(resource), resourceAttributes);
      this.#resource = resource;
    }
    return this.#members;
  }
}

/** The envelopes of one request may take so much memory. */
const ENVELOPE_BYTES_MAX = 256 << 20;

/** The usual severity texts, which are recognized without decoding them to strings. */
const COMMON_TEXTS = [...LEVELS, "WARN", "FATAL"].map((name) => ({
  bytes: ascii(name),
  rank: rankOfName(name)!,
}));

/** Clears the bit in which lower-case and upper-case letters differ; it turns no other byte into an upper-case letter. */
const UPPER_CASE = 0xdf;

/** Returns the level that a severity text in UTF-8 stands for, as {@link rankOfText} does. */
function rankOfBytes(
  bytes: Uint8Array,
  start: number,
  end: number,
  numbering: SeverityNumbering | undefined,
): LevelRank | undefined {
  for (const common of COMMON_TEXTS) {
    if (isSameName(bytes, start, end, common.bytes)) return common.rank;
  }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("utf8");
  return rankOfText(text, numbering);
}

function isSameName(bytes: Uint8Array, start: number, end: number, name: Uint8Array): boolean {
  if (end - start !== name.length) return false;
  for (let index = 0; index < name.length; index++) {
    if ((bytes[start + index]! & UPPER_CASE) !== name[index]) return false;
  }
  return true;
}
