/** Records of any size make the envelopes, frames, lines and stored rows that each of them makes alone. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EnvelopeEncoder } from "../../src/encode/envelope-encoder.ts";
import { partsOfRecord } from "../../src/encode/from-record.ts";
import { OpenBatch } from "../../src/encode/open-batch.ts";
import { encodeOtlpJson } from "../../src/encode/otlp-json.ts";
import { decodeOtlpProtobuf } from "../../src/encode/otlp-protobuf.ts";
import { encodeOtlpProtobuf } from "../../src/encode/otlp-transcoder.ts";
import { RecordOrigin } from "../../src/encode/otlp-writer.ts";
import { TailgateError } from "../../src/errors.ts";
import { AuditEvents } from "../../src/intake/audit-events.ts";
import { envelopesOfRecords } from "./envelopes.ts";
import { lengthDelimited, toJson, toProtobuf, type JsonRequest } from "./generated-request.ts";
import { mixed, otlpOf, recordsOf, withHuge, type SizedRequest } from "./sized-requests.ts";
import { soundEnvelopes } from "./sound-batch.ts";

/** A record whose only attribute has a value that is cut off: nobody sees it before it is read. */
const DAMAGED = lengthDelimited(
  1,
  lengthDelimited(
    2,
    lengthDelimited(2, lengthDelimited(6, lengthDelimited(2, Buffer.from([0x0a, 0x09, 0x61])))),
  ),
);

type Encode = (body: Uint8Array, open: OpenBatch, lowest: 0) => unknown;

/** As a plugin's records come, one by one. */
function encodeRecords(body: Uint8Array, open: OpenBatch): void {
  const encoder = new EnvelopeEncoder(open, 0);
  for (const record of decodeOtlpProtobuf(body)) {
    encoder.encode(partsOfRecord(record), new RecordOrigin([record]), 0);
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

/** The open batch of an intake, and what has to come of the requests that are encoded into it. */
class Expectation {
  readonly open = new OpenBatch(new AuditEvents([], () => {}));
  readonly texts: string[] = [];
  readonly #events = new Set<string>();

  encode(request: SizedRequest, encode: Encode, bodyOf: typeof jsonBody): void {
    const otlp = otlpOf(recordsOf(request));
    try {
      encode(bodyOf(otlp, request.isRefused), this.open, 0);
      expect(request.isRefused).toBe(false);
      this.#expect(request, otlp);
    } catch (error) {
      if (!TailgateError.is(error, "OTLP_UNDECODABLE")) throw error;
      expect(request.isRefused).toBe(true);
    }
  }

  #expect(request: SizedRequest, otlp: JsonRequest): void {
    const texts = envelopesOfRecords(decodeOtlpProtobuf(toProtobuf(otlp)));
    const messages = texts.map((text) => (JSON.parse(text) as Parsed).data.message);
    expect(messages).toEqual(recordsOf(request).map(({ text }) => text));
    for (const text of texts) if (!this.#isRepeated(text)) this.texts.push(text);
  }

  /** An audit event with a key that says the same as one before, apart from its time. */
  #isRepeated(text: string): boolean {
    const { type, data } = JSON.parse(text) as Parsed;
    if (type !== "audit_log" || typeof data.metadata?.["log.record.uid"] !== "string") return false;
    const event = JSON.stringify({ ...data, timestamp: "" });
    if (this.#events.has(event)) return true;
    this.#events.add(event);
    return false;
  }
}

interface Parsed {
  readonly type: string;
  readonly data: {
    readonly message: string;
    readonly metadata?: { readonly [name: string]: unknown };
  };
}

describe.each(FORMS)("in %s", (_, encode, bodyOf) => {
  function expectSound(requests: readonly SizedRequest[]): void {
    const expectation = new Expectation();
    for (const request of requests) expectation.encode(request, encode, bodyOf);
    expect(soundEnvelopes(expectation.open.take())).toEqual(expectation.texts);
  }

  it("around the lengths of frames and varints", () => {
    fc.assert(fc.property(fc.array(mixed, { minLength: 1, maxLength: 3 }), expectSound), {
      numRuns: 30,
    });
  });

  it("at the end of a piece of memory, and beyond it", () => {
    fc.assert(
      fc.property(withHuge, (request) => expectSound([request, request])),
      { numRuns: 4 },
    );
  });
});
