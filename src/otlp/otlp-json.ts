import type { LevelRank } from "../wire/envelope.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { LogRecord } from "../plugin/index.ts";
import { EnvelopeEncoder, partsOfRecord } from "../envelope/encoder.ts";
import { withJsonNames } from "./json-aliases.ts";
import { JsonDecoder, type JsonRecord } from "./json-decoder.ts";
import { quoteIntegers } from "./json-number.ts";
import {
  recordPieceOfJson,
  resourcePieceOfJson,
  scopePieceOfJson,
  type ReadJson,
} from "./json-otlp-writer.ts";
import type { EncodedRecord } from "./encode.ts";
import type { BatchBuilder } from "../batch/batch-builder.ts";
import type { Origin } from "../batch/origin.ts";
import { type RequestCounts, type RequestFindings, asRejection, undecodable } from "./findings.ts";
import { EnvelopeBudget, type Steps } from "./request-limits.ts";
import { DEFAULT_LOGGER_NAMES, type LoggerNames } from "../envelope/logger-names.ts";
import { protobufOfLargeJson } from "./large-json.ts";
import { decodeOtlpProtobufInSteps } from "./decode.ts";
import { encodeOtlpProtobuf, encodeOtlpProtobufInSteps } from "./request-encoder.ts";
import { protobufOfUsualJson } from "./usual-json.ts";

/**
 * The records of an ExportLogsServiceRequest in JSON, in order of time, stably. What is wrong with a part of it is told
 * to `findings`.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function decodeOtlpJson(body: Uint8Array, findings?: RequestFindings): LogRecord[] {
  return readExactly(body, findings, (decoder, request) =>
    locatedInOrder(decoder, request).flatMap((located) => soundRecord(decoder, located, findings)),
  );
}

/** The record, or none if it is rejected. */
function soundRecord(
  decoder: JsonDecoder,
  located: JsonRecord,
  findings: RequestFindings | undefined,
): readonly LogRecord[] {
  try {
    return [decoder.record(located)];
  } catch (error) {
    if (findings === undefined) throw error;
    findings.reject(1, error);
    return [];
  }
}

/**
 * Encodes an ExportLogsServiceRequest from JSON to envelopes, in order of time. System logs below `lowest` are
 * filtered, audit events below INFO. What is wrong with a part of the request is told to `findings`.
 * @throws TailgateError OTLP_UNDECODABLE; `open` is then as it was.
 */
export function encodeOtlpJson(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers = DEFAULT_LOGGER_NAMES,
  findings?: RequestFindings,
): RequestCounts {
  return (
    encodeUsual(body, open, lowest, loggers) ?? encodeAny(body, open, lowest, loggers, findings)
  );
}

/** The same in steps, for a request that may be large; between them nothing else may be encoded into `open`. */
export function* encodeOtlpJsonInSteps(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers: LoggerNames,
  findings?: RequestFindings,
): Steps<RequestCounts> {
  const protobuf = yield* protobufOfLargeJson(body, findings);
  return yield* encodeOtlpProtobufInSteps(protobuf, open, lowest, loggers);
}

/** The records of a request that may be large, in steps. */
export function* decodeOtlpJsonInSteps(
  body: Uint8Array,
  findings?: RequestFindings,
): Steps<LogRecord[]> {
  return yield* decodeOtlpProtobufInSteps(yield* protobufOfLargeJson(body, findings));
}

/** Undefined where the request is not of the usual form, or holds too much: the decoder tells where. */
function encodeUsual(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers: LoggerNames,
): RequestCounts | undefined {
  const protobuf = protobufOfUsualJson(body);
  if (protobuf === undefined) return undefined;
  try {
    return encodeOtlpProtobuf(protobuf, open, lowest, loggers);
  } catch (error) {
    if (TailgateError.is(error, "OTLP_UNDECODABLE")) return undefined;
    throw error;
  }
}

function encodeAny(
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers: LoggerNames,
  findings: RequestFindings | undefined,
): RequestCounts {
  const savepoint = open.savepoint();
  try {
    return readExactly(body, findings, (decoder, request) => {
      open.rollback(savepoint);
      const located = locatedInOrder(decoder, request);
      const encoder = new EnvelopeEncoder(open, lowest, loggers);
      const origin = new JsonOrigin(located, body.length);
      const budget = new EnvelopeBudget(open);
      let accepted = 0;
      let filtered = 0;
      for (const [index, one] of located.entries()) {
        for (const record of soundRecord(decoder, one, findings)) {
          if (encoder.encode(partsOfRecord(record), origin, index) === "accepted") accepted++;
          else filtered++;
        }
        budget.check();
      }
      return { accepted, filtered };
    });
  } catch (error) {
    open.rollback(savepoint);
    throw asRejection(error);
  }
}

/** Reads a request, and once more with all digits of its integers where the first reading has lost some. */
function readExactly<T>(
  body: Uint8Array,
  findings: RequestFindings | undefined,
  read: (decoder: JsonDecoder, request: unknown) => T,
): T {
  // What is not UTF-8 becomes U+FFFD, and a byte order mark goes.
  const text = withJsonNames(new TextDecoder().decode(body));
  const decoder = new JsonDecoder(findings);
  const result = read(decoder, parse(text));
  if (!decoder.lostDigits) return result;
  findings?.clear();
  return read(new JsonDecoder(findings), parse(quoteIntegers(text)));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw undecodable("its text", textOf(error));
  }
}

/** All records in order of time, stably: the observed time where there is no other, else that of their arrival. */
function locatedInOrder(decoder: JsonDecoder, request: unknown): JsonRecord[] {
  const located = decoder.locate(request);
  let arrival: bigint | undefined;
  const timeOf = (record: JsonRecord): bigint =>
    record.timestamp || record.observedTimestamp || (arrival ??= nanosNow());
  for (let index = 1; index < located.length; index++) {
    if (timeOf(located[index]!) < timeOf(located[index - 1]!)) {
      return located.sort((one, other) => compare(timeOf(one), timeOf(other)));
    }
  }
  return located;
}

function compare(one: bigint, other: bigint): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

const NANOS_OF_MILLI = 1_000_000n;

function nanosNow(): bigint {
  return BigInt(Date.now()) * NANOS_OF_MILLI;
}

/** What parsed JSON takes in memory, against its text: measured with objects of one or two members. */
const PARSED_PER_TEXT = 3;

/** Keeps a request's parsed JSON and rebuilds records from it. */
class JsonOrigin implements Origin {
  readonly isInterim = true;
  readonly recordBytes: number;
  readonly #records: readonly JsonRecord[];
  /** Of each ResourceLogs and ScopeLogs what stands beside the records. */
  readonly #pieces = new Map<object, Uint8Array>();

  constructor(records: readonly JsonRecord[], textBytes: number) {
    this.#records = records;
    this.recordBytes = Math.ceil((PARSED_PER_TEXT * textBytes) / Math.max(records.length, 1));
  }

  otlp(index: number): EncodedRecord {
    const { json, timestamp, observedTimestamp, resourceLogs, scopeLogs } = this.#records[index]!;
    return {
      resource: remembered(this.#pieces, resourceLogs, resourcePieceOfJson),
      scope: remembered(this.#pieces, scopeLogs, scopePieceOfJson),
      record: recordPieceOfJson(json, timestamp, observedTimestamp),
    };
  }

  record(index: number): LogRecord {
    return new JsonDecoder().record(this.#records[index]!);
  }
}

function remembered(
  pieces: Map<object, Uint8Array>,
  json: ReadJson,
  pieceOf: (json: ReadJson) => Uint8Array,
): Uint8Array {
  const known = pieces.get(json);
  if (known !== undefined) return known;
  const piece = pieceOf(json);
  pieces.set(json, piece);
  return piece;
}
