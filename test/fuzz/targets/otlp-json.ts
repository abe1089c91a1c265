import { isDeepStrictEqual } from "node:util";
import { decodeOtlpJson } from "../../../src/otlp/decode.ts";
import { encodeOtlpJson } from "../../../src/otlp/request-encoder.ts";
import type { BatchBuilder } from "../../../src/batch/batch-builder.ts";
import { type RequestCounts, RequestFindings } from "../../../src/otlp/findings.ts";
import type { LevelRank } from "../../../src/wire/envelope.ts";
import { TailgateError } from "tailgate";
import type { LogRecord } from "tailgate/plugin";
import { LogsRequest } from "../../bench/otlp-schema.ts";
import { envelopesOfRecords } from "../../harness/records.ts";
import { toProtobuf, type JsonRequest } from "../../encode/generated-request.ts";
import { costlyRequest } from "../costly-request.ts";
import { checkForms, encodedRequest, type EncodedRequest } from "../encoded-request.ts";
import { checkIngested } from "../fuzzed-intake.ts";
import { otlpRequest } from "../generated-otlp.ts";
import { mutated } from "../mutation.ts";
import { atFixedTime, expectedRecords } from "../otlp-oracle.ts";
import type { Random } from "../random.ts";
import { same, type FuzzTarget, type Timed } from "../target.ts";

/**
 * Requests in JSON. The encoder and the decoder must agree on any bytes. For undamaged requests, the decoder must also
 * agree with what protobufjs decodes from the same request as protobuf.
 */
export function otlpJson(): FuzzTarget {
  return { input: otlpJsonInput, check };
}

/** One input in this many is made to be slow, with a size up to the limit of a body. */
const COSTLY_EVERY = 500;
const COSTLY_BYTES_MAX = 4_000_000;
const COSTLY_HALVINGS = 10;

export function otlpJsonInput(random: Random): Uint8Array {
  if (random.once(COSTLY_EVERY)) {
    return costlyRequest(random, COSTLY_BYTES_MAX / 2 ** random.below(COSTLY_HALVINGS));
  }
  const text = written(otlpRequest(random), random);
  const body = Buffer.from(random.once(3) ? odd(text, random) : text);
  return random.once(2) ? body : mutated(body, random);
}

/** Formats of JSON: as JavaScript writes it, with white space, and as Python writes it. */
function written(request: object, random: Random): string {
  if (random.once(6)) return JSON.stringify(request, null, random.pick(["\t", " ", "\r\n"]));
  const text = JSON.stringify(request);
  if (!random.once(5)) return text;
  return text
    .replaceAll(/[^ -~]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)
    .replaceAll(/([:,])(?=["{[\d])/g, "$1 ");
}

/** Variations of JSON: numbers without quotes, members that are null, unknown or duplicated, lone surrogates. */
const ODDITIES: readonly (readonly [RegExp, string])[] = [
  [/"(intValue|timeUnixNano|observedTimeUnixNano)":"(-?\d+)"/, '"$1":$2'],
  [/"(intValue|timeUnixNano|observedTimeUnixNano)":"(-?\d+)"/, '"$1":"$2.0e0"'],
  [/"(severityNumber|flags)":(\d+)/, '"$1":"$2"'],
  [/"body":/, '"body":{"stringValue":"first"},"body":'],
  [/"attributes":/, '"attributes":null,"attributes":'],
  [/"timeUnixNano":/, '"time_unix_nano":'],
  [/"(string|int|bool|array|kvlist)Value":/, '"$1_value":'],
  [/"scopeLogs":/, '"instrumentationLibraryLogs":'],
  [/"severityNumber":9/, '"severityNumber":"SEVERITY_NUMBER_INFO"'],
  [/"(body|scope|resource|intValue|attributes|logRecords|timeUnixNano|traceId)":/, '"$1":[7],"x":'],
  [/\{"/, '{"unknown":[1,{"a":null}],"'],
  [/"key":/, '"key":"first","key":'],
  [/"stringValue":/, '"intValue":null,"stringValue":'],
  [/"doubleValue":[^,}]+/, '"doubleValue":null'],
  [/é/, "\\ud800"],
  [/a/, "\\u0061"],
  [/^/, "\ufeff"],
  [/"values":\[/, '"values":[null,'],
];

function odd(text: string, random: Random): string {
  let result = text;
  for (let left = random.between(1, 4); left > 0; left--) {
    const [pattern, replacement] = random.pick(ODDITIES);
    const isAll = random.once(2);
    result = result.replace(new RegExp(pattern, isAll ? "g" : ""), replacement);
  }
  return result;
}

async function check(body: Uint8Array, timed: Timed): Promise<void> {
  const encoded = atFixedTime(() => checked(body));
  await checkIngested("json", body, encoded, timed);
}

function checked(body: Uint8Array): EncodedRequest | undefined {
  const encoded = encodedRequest(encodeSound, body);
  const decoded = decodedByUs(body);
  if (decoded === undefined) {
    if (encoded === undefined || encoded.filtered > 0) return encoded;
    throw new Error("The encoder accepts a request that the decoder rejects.");
  }
  if (encoded === undefined)
    throw new Error("The encoder rejects a request that the decoder accepts.");
  same(encoded.envelopes.join("\n"), envelopesOfRecords(decoded).join("\n"), "An envelope");
  checkForms(encoded);
  if (body.length % ORACLE_EVERY === 0) checkWithProtobufjs(body, decoded);
  return encoded;
}

/** protobufjs takes as long as the rest of the check. */
const ORACLE_EVERY = 4;

function checkWithProtobufjs(body: Uint8Array, decoded: readonly LogRecord[]): void {
  const text = Buffer.from(body).toString();
  // protobufjs turns a lone surrogate into three characters.
  if (/\\ud/i.test(text)) return;
  const request: unknown = JSON.parse(text.replace(/^\ufeff/, ""));
  const protobuf = protobufOf(request);
  if (protobuf === undefined) return;
  const expected = expectedRecords(protobuf);
  if (!isDeepStrictEqual(decoded, expected))
    throw new Error("protobufjs decodes different records.");
}

/** Returns undefined unless protobufjs knows the whole request, so that it survives a round trip. */
function protobufOf(request: unknown): Uint8Array | undefined {
  try {
    const message = LogsRequest.fromObject(request as object);
    const back = LogsRequest.toObject(message, { longs: String, bytes: String, json: true });
    const isKnown = isDeepStrictEqual(withoutEmptyLists(back), withoutEmptyLists(request));
    return isKnown ? toProtobuf(request as JsonRequest) : undefined;
  } catch {
    return undefined;
  }
}

/** Removes empty lists, which are equivalent to absent ones. */
function withoutEmptyLists(request: unknown): unknown {
  const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;
  const text = JSON.stringify(request, (_, value: unknown) =>
    isEmptyList(value) ? undefined : value,
  );
  return JSON.parse(text);
}

/** Encodes like the intake: an invalid record is dropped, not the whole request. */
function encodeSound(body: Uint8Array, open: BatchBuilder, lowest: LevelRank): RequestCounts {
  return encodeOtlpJson(body, open, lowest, undefined, new RequestFindings());
}

function decodedByUs(body: Uint8Array): LogRecord[] | undefined {
  try {
    return decodeOtlpJson(body, new RequestFindings());
  } catch (error) {
    if (TailgateError.is(error, "OTLP_UNDECODABLE")) return undefined;
    throw error;
  }
}
