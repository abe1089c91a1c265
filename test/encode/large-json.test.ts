import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fastRecordToProtobuf } from "../../src/envelope/fast/json-transcoder.ts";
import { jsonToProtobuf } from "../../src/otlp/from-json.ts";
import { decodeOtlpJson, decodeOtlpProtobuf } from "../../src/otlp/decode.ts";
import { RequestFindings } from "../../src/otlp/findings.ts";
import { PART_BYTES_MAX, PART_VALUES_MAX } from "../../src/otlp/request-limits.ts";
import { runToEnd } from "../../src/otlp/request-index.ts";
import { TailgateError } from "tailgate";
import type { LogRecord } from "tailgate/plugin";
import { alikeRequest, jsonRequest } from "./generated-request.ts";

/** The records as a large request is read, with the fast path for each record. */
function recordsOf(body: Uint8Array, findings?: RequestFindings): LogRecord[] {
  return decodeOtlpProtobuf(runToEnd(jsonToProtobuf(body, findings, fastRecordToProtobuf)));
}

/** Undefined for a rejected request. */
function outcomeOf(read: (body: Uint8Array) => LogRecord[], body: Uint8Array): unknown {
  try {
    return read(body);
  } catch (error) {
    if (TailgateError.is(error, "OTLP_UNDECODABLE")) return undefined;
    throw error;
  }
}

function rejection(body: Uint8Array): string {
  try {
    recordsOf(body);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("it is taken");
}

function request(records: string): Buffer {
  return Buffer.from(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[${records}]}]}]}`);
}

describe("a large request in JSON", () => {
  it("has the same records with and without the fast path", () => {
    fc.assert(
      fc.property(fc.oneof(jsonRequest, alikeRequest), fc.nat(2), (given, indent) => {
        const body = Buffer.from(JSON.stringify(given, null, indent));
        expect(recordsOf(body)).toEqual(decodeOtlpJson(body));
      }),
      { numRuns: 200 },
    );
  });

  it("is rejected if the general path rejects it, for any mutation", () => {
    const change = fc.record({
      at: fc.nat(),
      drop: fc.nat(2),
      insert: fc.constantFrom("", " ", '"', "\\", "{", "}", "[", "]", ",", ":", "0", "null", "é"),
    });
    fc.assert(
      fc.property(jsonRequest, change, (given, { at, drop, insert }) => {
        const text = JSON.stringify(given);
        const place = at % text.length;
        const body = Buffer.from(text.slice(0, place) + insert + text.slice(place + drop));
        expect(outcomeOf(recordsOf, body)).toEqual(outcomeOf(decodeOtlpJson, body));
      }),
      { numRuns: 500 },
    );
  });

  it("loses the same invalid records as on the general path", () => {
    const wrong = fc.constantFrom("5", '"x"', "null", "[]", "{}", "true", "[7]", "1.5");
    fc.assert(
      fc.property(
        jsonRequest,
        fc.array(fc.tuple(fc.nat(), wrong), { maxLength: 3 }),
        (given, all) => {
          let text = JSON.stringify(given);
          for (const [at, value] of all) {
            const places = [
              ...text.matchAll(/(?<=[{,]"[a-zA-Z]+":)(?:"[^"\\]*"|-?\d+|true|false)(?=[,}])/g),
            ];
            if (places.length === 0) continue;
            const { index, 0: found } = places[at % places.length]!;
            text = text.slice(0, index) + value + text.slice(index + found.length);
          }
          const [large, whole] = [new RequestFindings(), new RequestFindings()];
          const body = Buffer.from(text);
          const records = recordsOf(body, large);
          expect(records).toEqual(decodeOtlpJson(body, whole));
          // Errors beside an invalid resource or scope are named, too.
          expect([large.rejected, large.text === ""]).toEqual([whole.rejected, whole.text === ""]);
        },
      ),
      { numRuns: 300 },
    );
  });

  it.each([
    ["a byte order mark", '\uFEFF{"resourceLogs":[]}'],
    ["null", '{"resourceLogs":null}'],
    ["escaped names", String.raw`{"resource\u004cogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}`],
    ["unknown members", '{"x":[1,{"y":"}"}],"resourceLogs":[{"z":null,"scopeLogs":[]}]}'],
    [
      "members that are there twice",
      '{"resourceLogs":[{}],"resourceLogs":[{"scopeLogs":[{"logRecords":[{},{}],"logRecords":[{"body":{"intValue":1}}]}]}]}',
    ],
    [
      "digits that JavaScript does not keep",
      '{"resourceLogs":[{"resource":{"attributes":[{"key":"a","value":{"intValue":9007199254740993}}]},"scopeLogs":[{"logRecords":[{"timeUnixNano":1760347644339163001,"body":{"intValue":9007199254740993}}]}]}]}',
    ],
    [
      "a resource and a scope behind the records",
      '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}],"scope":{"name":"a"}}],"resource":{"attributes":[{"key":"b","value":{"stringValue":"c"}}]}}]}',
    ],
  ])("takes %s", (_, text) => {
    expect(recordsOf(Buffer.from(text))).toEqual(decodeOtlpJson(Buffer.from(text)));
  });

  it("replaces invalid UTF-8", () => {
    const body = request('{"body":{"stringValue":"é"}}');
    body[body.indexOf(0xc3)] = 0xff;
    expect(recordsOf(body)).toEqual(decodeOtlpJson(body));
  });

  it("does not parse values nested deeper than the limit", () => {
    const nested = (depth: number) =>
      request(
        `{"body":${'{"arrayValue":{"values":['.repeat(depth)}{"stringValue":"x"}${"]}}".repeat(depth)}}`,
      );
    for (const depth of [50, 99, 100, 101, 102, 170, 1000]) {
      expect(recordsOf(nested(depth))).toEqual(decodeOtlpJson(nested(depth)));
    }
    expect(recordsOf(nested(100_000))).toEqual(recordsOf(nested(1000)));
  });

  it("reports what is invalid, and its path", () => {
    expect(rejection(Buffer.from("[".repeat(1_000_000)))).toContain("its text: ");
    expect(rejection(Buffer.from('{"resourceLogs":'))).toContain("its text");
    expect(
      rejection(Buffer.from('{"resourceLogs":[{"scopeLogs":[{"logRecords":{}}]}]}')),
    ).toContain("resourceLogs[0].scopeLogs[0].logRecords: an object is not an array");
    expect(rejection(request('{},{"severityNumber":"x"}'))).toContain(
      "resourceLogs[0].scopeLogs[0].logRecords[1].severityNumber: a string is not an integer",
    );
  });

  it("is rejected for a record that is too large or has too many values", () => {
    const text = (bytes: number) => `{"body":{"stringValue":"${"x".repeat(bytes)}"}}`;
    const frame = text(0).length;
    expect(recordsOf(request(text(PART_BYTES_MAX - frame)))).toHaveLength(1);
    expect(rejection(request(text(PART_BYTES_MAX - frame + 1)))).toContain(
      `resourceLogs[0].scopeLogs[0].logRecords[0]: a part of it has more than ${PART_BYTES_MAX} bytes`,
    );
    const list = (count: number) =>
      `{"body":{"arrayValue":{"values":[${"{},".repeat(count - 1)}{}]}}}`;
    // The list itself is a value, too.
    expect(recordsOf(request(list(PART_VALUES_MAX - 1)))).toHaveLength(1);
    expect(rejection(request(list(PART_VALUES_MAX)))).toContain(
      `has more than ${PART_VALUES_MAX} values`,
    );
  });
});
