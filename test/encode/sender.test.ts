/** Who sent a record: the member `ingested_by` of audit events, and what a sender may not send. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { originOfRecords } from "../../src/batch/origin.ts";
import { EnvelopeEncoder, partsOfRecord } from "../../src/envelope/encoder.ts";
import { ANYONE, createSender, type Sender } from "../../src/envelope/sender.ts";
import { decodeOtlpJson, decodeOtlpProtobuf } from "../../src/otlp/decode.ts";
import { encodeOtlpJson, encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import type { RequestCounts } from "../../src/otlp/findings.ts";
import type { LevelRank } from "../../src/wire/envelope.ts";
import type { LogRecord } from "tailgate/plugin";
import { takeTexts } from "../harness/records.ts";
import { alikeRequest, jsonRequest, reordered, toJson, toProtobuf } from "./generated-request.ts";

interface Encoded extends RequestCounts {
  readonly texts: readonly string[];
}

type Encode = typeof encodeOtlpProtobuf;

function encoded(encode: Encode, body: Uint8Array, lowest: LevelRank, sender: Sender): Encoded {
  const open = new BatchBuilder();
  const counts = encode(body, open, lowest, undefined, undefined, sender);
  return { ...counts, texts: takeTexts(open) };
}

/** Encodes records that are objects, as the plain path does. */
function encodedPlainly(records: readonly LogRecord[], lowest: LevelRank, sender: Sender): Encoded {
  const open = new BatchBuilder();
  const encoder = new EnvelopeEncoder(open, lowest);
  const origin = originOfRecords(records);
  const counts = { accepted: 0, filtered: 0, forbidden: 0 };
  for (const [index, record] of records.entries()) {
    counts[encoder.encode(partsOfRecord(record), origin, index, sender)]++;
  }
  return { ...counts, texts: takeTexts(open) };
}

interface AuditEvent {
  readonly type: string;
  readonly data: { readonly metadata?: Readonly<Record<string, unknown>> };
}

const CI = createSender("token:ci", true, true);

const anySender = fc.oneof(
  fc.constant(ANYONE),
  fc
    .tuple(fc.constantFrom("token:ci", 'user:"é\n"'), fc.boolean(), fc.boolean())
    .map((given) => createSender(...given)),
);

describe("any request", () => {
  it("becomes the same on the fast path, on the plain path and from JSON, whoever sends it", () => {
    const options = { request: fc.oneof(jsonRequest, alikeRequest), sender: anySender };
    const given = fc.record({ ...options, seed: fc.nat(1000), lowest: fc.nat(4) });
    fc.assert(
      fc.property(given, ({ request, sender, seed, lowest: rank }) => {
        const lowest = rank as LevelRank;
        const body = toProtobuf(request);
        const wanted = encodedPlainly(decodeOtlpProtobuf(body), lowest, sender);
        expect(encoded(encodeOtlpProtobuf, body, lowest, sender)).toEqual(wanted);
        const other = reordered(body, seed);
        expect(encoded(encodeOtlpProtobuf, other, lowest, sender)).toEqual(wanted);
        const json = toJson(request);
        const wantedOfJson = encodedPlainly(decodeOtlpJson(json), lowest, sender);
        expect(encoded(encodeOtlpJson, json, lowest, sender)).toEqual(wantedOfJson);
      }),
      { numRuns: 100 },
    );
  });

  it("differs only in ingested_by, the last member of the metadata of its audit events", () => {
    fc.assert(
      fc.property(jsonRequest, (request) => {
        const body = toProtobuf(request);
        const { texts } = encoded(encodeOtlpProtobuf, body, 0, ANYONE);
        const named = encoded(encodeOtlpProtobuf, body, 0, CI).texts;
        expect(named.map(withoutIngestedBy)).toEqual(texts);
        for (const text of named) {
          const { type, data } = JSON.parse(text) as AuditEvent;
          if (type === "system_log") continue;
          expect(Object.entries(data.metadata!).at(-1)).toEqual(["ingested_by", "token:ci"]);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("yields only what its sender may send", () => {
    fc.assert(
      fc.property(jsonRequest, (request) => {
        const body = toProtobuf(request);
        const all = encoded(encodeOtlpProtobuf, body, 0, CI).texts;
        for (const isAudit of [true, false]) {
          const sender = createSender("token:ci", !isAudit, isAudit);
          const { texts } = encoded(encodeOtlpProtobuf, body, 0, sender);
          expect(texts).toEqual(all.filter((text) => text.includes('"audit_log"') === isAudit));
        }
      }),
      { numRuns: 100 },
    );
  });
});

/** The names of generated attributes contain no text that looks like the member. */
function withoutIngestedBy(text: string): string {
  if (!text.startsWith('{"type":"audit_log"')) return text;
  return text
    .replace(/,"metadata":\{"ingested_by":"token:ci"\}\}\}$/, "}}")
    .replace(/,"ingested_by":"token:ci"\}\}\}$/, "}}}");
}

const TIME = "1760347644339163000";

/** The metadata of an audit event with these attributes: the same in both forms. */
function metadataOf(attributes: Readonly<Record<string, object>>, sender: Sender): unknown {
  const record = {
    timeUnixNano: TIME,
    body: { stringValue: "m" },
    attributes: Object.entries(attributes).map(([key, value]) => ({ key, value })),
  };
  const scope = { name: "orchestrator.audit", attributes: [] };
  const request = { resourceLogs: [{ scopeLogs: [{ scope, logRecords: [record] }] }] };
  const [text] = encoded(encodeOtlpProtobuf, toProtobuf(request), 0, sender).texts;
  expect(encoded(encodeOtlpJson, toJson(request), 0, sender).texts).toEqual([text]);
  return JSON.stringify((JSON.parse(text!) as AuditEvent).data.metadata);
}

describe("ingested_by", () => {
  it("is the only metadata of an event without attributes", () => {
    expect(metadataOf({}, ANYONE)).toBe(undefined);
    expect(metadataOf({}, CI)).toBe('{"ingested_by":"token:ci"}');
  });

  it("follows what else the gateway adds", () => {
    const attributes = { a: { intValue: "1" }, service: { stringValue: "s" } };
    expect(metadataOf(attributes, CI)).toBe('{"a":1,"service":"s","ingested_by":"token:ci"}');
  });

  it.each([
    [["ingested_by"], '{"extra_ingested_by":"forged"'],
    [
      ["ingested_by", "extra_ingested_by"],
      '{"extra_extra_ingested_by":"forged","extra_ingested_by":"forged"',
    ],
    [["Ingested_by", "ingested-by"], '{"Ingested_by":"forged","ingested-by":"forged"'],
  ])("is never what the caller sends, with or without authentication: %j", (names, shown) => {
    const attributes = Object.fromEntries(names.map((name) => [name, { stringValue: "forged" }]));
    expect(metadataOf(attributes, ANYONE)).toBe(`${shown}}`);
    expect(metadataOf(attributes, CI)).toBe(`${shown},"ingested_by":"token:ci"}`);
  });

  it("is the last member also beside more attributes than are cached", () => {
    const many = Array.from({ length: 100 }, (_, index) => [`a${index}`, { intValue: "0" }]);
    const forged = { ingested_by: { stringValue: "forged" } };
    const metadata = metadataOf({ ...forged, ...Object.fromEntries(many) }, CI);
    expect(metadata).toMatch(/^\{"extra_ingested_by":"forged".*,"ingested_by":"token:ci"\}$/);
  });
});
