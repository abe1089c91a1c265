import fc from "fast-check";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { decodeOtlpJson, decodeOtlpProtobuf } from "../../src/otlp/decode.ts";
import { fastJsonToProtobuf } from "../../src/envelope/fast/json-transcoder.ts";
import { otlpRequest } from "../bench/otlp-request.ts";
import { alikeRequest, jsonRequest } from "./generated-request.ts";

/** JSON as JavaScript writes it, with white space, and as Python writes it. */
const WRITINGS = [
  (request: object) => JSON.stringify(request),
  (request: object) => JSON.stringify(request, null, "\t"),
  (request: object) =>
    JSON.stringify(request)
      .replaceAll(/[^ -~]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .replaceAll(/([:,])(?=["{[\d])/g, "$1 "),
];

function requestText(record: string): Buffer {
  return Buffer.from(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{${record}}]}]}]}`);
}

/**
 * True if the request has the usual form; its records must then equal those of the general path.
 */
function isUsual(body: Uint8Array): boolean {
  const protobuf = fastJsonToProtobuf(body);
  if (protobuf === undefined) return false;
  expect(protobuf.length).toBeLessThanOrEqual(body.length);
  expect(decodeOtlpProtobuf(protobuf)).toEqual(decodeOtlpJson(body));
  return true;
}

describe("the fast JSON transcoder", () => {
  it("gives the same records as the general path", () => {
    const writing = fc.nat(WRITINGS.length - 1);
    fc.assert(
      fc.property(fc.oneof(jsonRequest, alikeRequest), writing, (request, index) => {
        isUsual(Buffer.from(WRITINGS[index]!(request)));
      }),
      { numRuns: 400 },
    );
  });

  it("rejects what the general path rejects, for any mutation", () => {
    const change = fc.record({
      at: fc.nat(),
      drop: fc.nat(2),
      insert: fc.constantFrom(
        "",
        " ",
        '"',
        "\\",
        "\\u12",
        "{",
        "}",
        "[",
        ",",
        ":",
        "0",
        "-",
        "\t",
        "é",
      ),
    });
    fc.assert(
      fc.property(jsonRequest, change, (request, { at, drop, insert }) => {
        const text = JSON.stringify(request);
        const place = at % text.length;
        isUsual(Buffer.from(text.slice(0, place) + insert + text.slice(place + drop)));
      }),
      { numRuns: 1500 },
    );
  });

  it("reads what JavaScript's SDK sends, except NaN", () => {
    const sent = readFileSync(
      new URL("../golden/node3-direct-json-1.json", import.meta.url),
      "utf8",
    );
    expect(isUsual(Buffer.from(sent))).toBe(false);
    expect(isUsual(Buffer.from(sent.replaceAll('"doubleValue":null', '"doubleValue":0.5')))).toBe(
      true,
    );
  });

  it("reads what the benchmark sends", () => {
    expect(isUsual(otlpRequest(40).json)).toBe(true);
  });

  it.each([
    '"timeUnixNano":"1760347644339163000","observedTimeUnixNano":1760347644339163001',
    '"timeUnixNano":"0","severityNumber":0,"severityText":"","eventName":"","traceId":"","spanId":""',
    '"timeUnixNano":"9999999999999999999"',
    '"severityNumber":9,"flags":1,"droppedAttributesCount":3',
    '"traceId":"4BF92F3577B34DA6A3CE929D0E0E4736","spanId":"00f067aa0ba902b7"',
    '"traceId":"00000000000000000000000000000000"',
    '"body":{"stringValue":""}',
    '"body":{"stringValue":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\\ud83d\\ud83dx\\ude00é😀"}',
    '"body":{"intValue":"9223372036854775807"}',
    '"body":{"intValue":"-9223372036854775807"}',
    '"body":{"intValue":"4294967296"}',
    '"body":{"intValue":"-4294967296"}',
    '"body":{"intValue":"007"}',
    '"body":{"bytesValue":"AP8="}',
    '"body":{"bytesValue":""}',
    '"body":{"doubleValue":-1.5e-7}',
    '"body":{"boolValue":false}',
    '"body":{}',
    '"attributes":[{"key":"","value":{"arrayValue":{"values":[{},{"boolValue":true}]}}},{"key":"k"}]',
    `"attributes":[{"value":{"kvlistValue":{}},"key":"${"long ".repeat(100)}"}]`,
    ` "attributes" : [ { "key" : "k" , "value" : { "kvlistValue" : { "values" : [ ] } } } ] `,
  ])("reads %s", (record) => {
    expect(isUsual(requestText(record))).toBe(true);
  });

  it.each([
    '"timeUnixNano":"12 "',
    '"timeUnixNano":"00000000000000000001"',
    '"timeUnixNano":1e18',
    '"timeUnixNano":-1',
    '"timeUnixNano":""',
    '"timeUnixNano":01',
    '"severityNumber":"9"',
    '"severityNumber":2147483648',
    '"body":null',
    '"body":{"stringValue":"a","intValue":1}',
    '"body":{"stringValue":null}',
    '"body":{"stringValue":"\t"}',
    '"body":{"stringValue":"\\x"}',
    '"body":{"intValue":"9223372036854775808"}',
    '"body":{"intValue":1.0}',
    '"body":{"doubleValue":.5}',
    '"body":{"doubleValue":"NaN"}',
    `"body":{"doubleValue":${"1".repeat(60)}}`,
    '"body":{"boolValue":falsy}',
    '"body":{"intValue":-0}',
    '"body":{"bytesValue":"A*8="}',
    '"body":{"stringValue":"a"},"body":{"stringValue":"b"}',
    '"traceId":" "',
    '"traceId":"4bf92f3577b34da6a3ce929d0e0e473x"',
    '"spanId":"ab"',
    '"newer":1',
    '"\\u0062ody":{}',
    `"body":${'{"arrayValue":{"values":['.repeat(40)}{}${"]}}".repeat(40)}`,
  ])("leaves %s to the plain path", (record) => {
    expect(isUsual(requestText(record))).toBe(false);
  });

  it("leaves invalid UTF-8, truncated input and trailing data to the general path", () => {
    const whole = requestText('"body":{"stringValue":"abcd"}');
    for (let end = 0; end < whole.length; end++)
      expect(isUsual(whole.subarray(0, end))).toBe(false);
    expect(isUsual(Buffer.concat([whole, Buffer.from(" ")]))).toBe(true);
    expect(isUsual(Buffer.concat([whole, Buffer.from("x")]))).toBe(false);
    whole[whole.indexOf("abcd")] = 0xff;
    expect(isUsual(whole)).toBe(false);
  });
});
