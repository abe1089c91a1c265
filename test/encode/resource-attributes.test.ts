/** Attributes of the resource in envelopes: `envelope.resource_attributes`. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { originOfRecords } from "../../src/batch/origin.ts";
import { EnvelopeEncoder, partsOfRecord } from "../../src/envelope/encoder.ts";
import { LoggerNames } from "../../src/envelope/prefix.ts";
import { decodeOtlpProtobuf } from "../../src/otlp/decode.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { takeTexts } from "../harness/records.ts";
import { jsonRequest, toProtobuf } from "./generated-request.ts";

/** Those that generated resources and records have, and one that only the request below has. */
const NAMES = ["a", "b", "é", "label", "exception.message", "event_type", "name", "host.name"];
const loggers = new LoggerNames(["orchestrator.audit"], NAMES);

function encoded(body: Uint8Array, names = loggers): string[] {
  const open = new BatchBuilder();
  encodeOtlpProtobuf(body, open, 0, names);
  return takeTexts(open);
}

function encodedPlainly(body: Uint8Array): string[] {
  const open = new BatchBuilder();
  const encoder = new EnvelopeEncoder(open, 0, loggers);
  const records = decodeOtlpProtobuf(body);
  const origin = originOfRecords(records);
  for (const [index, record] of records.entries()) {
    encoder.encode(partsOfRecord(record), origin, index);
  }
  return takeTexts(open);
}

test("the envelopes are the same on both paths, and no name is in an object twice", () => {
  fc.assert(
    fc.property(jsonRequest, (request) => {
      const body = toProtobuf(request);
      const texts = encoded(body);
      expect(texts).toEqual(encodedPlainly(body));
      // JSON.stringify leaves out repeated names.
      for (const text of texts) {
        const keys = (source: string): number => source.match(/"é":/g)?.length ?? 0;
        expect(keys(text)).toBe(keys(JSON.stringify(JSON.parse(text))));
      }
    }),
    { numRuns: 300 },
  );
});

test("they follow what the gateway adds, in the order of the configuration", () => {
  const text = (stringValue: string): object => ({ stringValue });
  const attribute = (key: string, value: object): { key: string; value: object } => ({
    key,
    value,
  });
  const records = [
    { body: text("one"), severityNumber: 9, observedTimeUnixNano: "1" },
    // The same again, and with other attributes.
    { body: text("one"), severityNumber: 9, observedTimeUnixNano: "1" },
    { attributes: [attribute("host.name", text("mine"))], observedTimeUnixNano: "2" },
  ];
  const body = toProtobuf({
    resourceLogs: [
      {
        resource: {
          attributes: [
            attribute("host.name", text("web-1")),
            attribute("label", { arrayValue: { values: [{ intValue: "1" }, { doubleValue: 1 }] } }),
            attribute("service.name", text("shop")),
            attribute("b", {}),
          ],
        },
        scopeLogs: [
          { scope: { name: "x", attributes: [] }, logRecords: records },
          { scope: { name: "orchestrator.audit", attributes: [] }, logRecords: records },
        ],
      },
    ],
  });
  const own = '"service":"shop","label":[1,1]';
  const members = encoded(body).map((envelope) => envelope.slice(envelope.indexOf('"service"')));
  const [first, second] = [`${own},"host.name":"web-1"`, own];
  expect(members.filter((member) => member.startsWith(`${first}}`))).toHaveLength(4);
  expect(members.filter((member) => member.startsWith(`${second}}`))).toHaveLength(2);
  expect(encoded(body, new LoggerNames(["orchestrator.audit"])).join("")).not.toContain("web-1");
});
