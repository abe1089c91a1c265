/**
 * Records of any size give the envelopes, frames, lines and stored rows that each of them gives
 * alone.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EnvelopeEncoder, partsOfRecord } from "../../src/envelope/encoder.ts";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { encodeOtlpJson, encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { decodeOtlpProtobuf } from "../../src/otlp/decode.ts";
import { originOfRecords } from "../../src/batch/origin.ts";
import { TailgateError } from "tailgate";
import { AuditEvents } from "../../src/intake/audit-events.ts";
import { envelopesOfRecords } from "../harness/records.ts";
import {
  jsonRequest,
  lengthDelimited,
  toJson,
  toProtobuf,
  type JsonRequest,
} from "./generated-request.ts";
import { mixed, otlpOf, recordsOf, withHuge, type SizedRequest } from "./sized-requests.ts";
import { soundEnvelopes } from "./sound-batch.ts";

/** A record whose only attribute has a truncated value, which is noticed only when it is read. */
const DAMAGED = lengthDelimited(
  1,
  lengthDelimited(
    2,
    lengthDelimited(2, lengthDelimited(6, lengthDelimited(2, Buffer.from([0x0a, 0x09, 0x61])))),
  ),
);

type Encode = (body: Uint8Array, open: BatchBuilder, lowest: 0) => unknown;

/** Encodes one by one, like a plugin's records. */
function encodeRecords(body: Uint8Array, open: BatchBuilder): void {
  const encoder = new EnvelopeEncoder(open, 0);
  for (const record of decodeOtlpProtobuf(body)) {
    encoder.encode(partsOfRecord(record), originOfRecords([record]), 0);
  }
}

function protobufBody(otlp: JsonRequest, isRefused: boolean): Uint8Array {
  return Buffer.concat([toProtobuf(otlp), ...(isRefused ? [DAMAGED] : [])]);
}

function jsonBody({ resourceLogs }: JsonRequest, isRefused: boolean): Uint8Array {
  const damaged = { scopeLogs: [{ logRecords: [{ body: 7 }] }] };
  return toJson({ resourceLogs: isRefused ? [...resourceLogs, damaged] : resourceLogs });
}

const FORMS: [string, Encode, typeof jsonBody][] = [
  ["protobuf", encodeOtlpProtobuf, protobufBody],
  ["JSON", encodeOtlpJson, jsonBody],
  ["process", encodeRecords, protobufBody],
];

/** Encodes the requests into one batch; returns the texts of the expected envelopes. */
function encodeAll(
  open: BatchBuilder,
  requests: readonly SizedRequest[],
  encode: Encode,
  bodyOf: typeof jsonBody,
): string[] {
  const accepted = requests.filter((request) => {
    const otlp = otlpOf(recordsOf(request));
    const isAccepted = isEncoded(encode, bodyOf(otlp, request.isRefused), open);
    expect(isAccepted).toBe(!request.isRefused);
    return isAccepted;
  });
  return withoutRepeats(accepted.flatMap(envelopesAlone));
}

/** False if the body is rejected for its content. */
function isEncoded(encode: Encode, body: Uint8Array, open: BatchBuilder): boolean {
  try {
    encode(body, open, 0);
    return true;
  } catch (error) {
    if (!TailgateError.is(error, "OTLP_UNDECODABLE")) throw error;
    return false;
  }
}

function envelopesAlone(request: SizedRequest): string[] {
  const records = recordsOf(request);
  const texts = envelopesOfRecords(decodeOtlpProtobuf(toProtobuf(otlpOf(records))));
  const messages = texts.map((text) => (JSON.parse(text) as Parsed).data.message);
  expect(messages).toEqual(records.map(({ text }) => text));
  return texts;
}

/**
 * An audit event with the key and content of an earlier one, apart from its time, is stored once.
 */
function withoutRepeats(texts: readonly string[]): string[] {
  const events = new Set<string>();
  return texts.filter((text) => {
    const { type, data } = JSON.parse(text) as Parsed;
    if (type !== "audit_log" || typeof data.metadata?.["log.record.uid"] !== "string") return true;
    const event = JSON.stringify({ ...data, timestamp: "" });
    if (events.has(event)) return false;
    events.add(event);
    return true;
  });
}

interface Parsed {
  readonly type: string;
  readonly data: {
    readonly message: string;
    readonly metadata?: { readonly [name: string]: unknown };
  };
}

/** What happens to a body on its way. */
const change = fc.record({
  at: fc.nat(),
  dropped: fc.nat(3),
  inserted: fc.oneof(
    fc.uint8Array({ maxLength: 3 }),
    fc
      .constantFrom("\\u0000", "1e999", '"', "{}", "[]", "null", "-")
      .map((text) => Buffer.from(text)),
  ),
});

describe.each(FORMS)("in %s", (_, encode, bodyOf) => {
  it("with any content, and with any damage that is not rejected", () => {
    fc.assert(
      fc.property(
        fc.array(jsonRequest, { maxLength: 3 }),
        fc.array(change),
        (requests, changes) => {
          const open = new BatchBuilder(new AuditEvents([], () => {}));
          const bodies = requests.map((one) => bodyOf(one, false));
          for (const [index, { at, dropped, inserted }] of changes.entries()) {
            const body = bodies[index % bodies.length];
            if (body === undefined || body.length === 0) continue;
            const place = at % body.length;
            bodies.push(
              Buffer.concat([body.subarray(0, place), inserted, body.subarray(place + dropped)]),
            );
          }
          for (const body of bodies) isEncoded(encode, body, open);
          soundEnvelopes(open.take());
        },
      ),
      { numRuns: 40 },
    );
  });

  function expectSound(requests: readonly SizedRequest[]): void {
    const open = new BatchBuilder(new AuditEvents([], () => {}));
    const wanted = encodeAll(open, requests, encode, bodyOf);
    expect(soundEnvelopes(open.take())).toEqual(wanted);
  }

  it("around the lengths of frames and varints", () => {
    fc.assert(fc.property(fc.array(mixed, { minLength: 1, maxLength: 3 }), expectSound), {
      numRuns: 20,
    });
  });

  it("at the end of a slab, and beyond it", () => {
    fc.assert(
      fc.property(withHuge, (request) => expectSound([request, request])),
      { numRuns: 3 },
    );
  });
});
