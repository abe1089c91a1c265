import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AttributeAdditions, type AddedAttributes } from "../../src/otlp/added-attributes.ts";
import { encodeOtlpJson, encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { runToEnd } from "../../src/otlp/request-index.ts";
import { envelopesOf } from "../harness/records.ts";
import { LogsRequest } from "../bench/otlp-schema.ts";
import { jsonRequest, toJson, toProtobuf, type JsonRequest } from "./generated-request.ts";

const attributes = fc
  .uniqueArray(
    fc.tuple(
      fc.constantFrom("a", "b", "level", "é", "__proto__", "trace_id", 'quo"te\\', "environment"),
      fc.oneof(
        fc.string({ unit: "grapheme", maxLength: 9 }),
        fc.boolean(),
        fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true })),
        fc.constantFrom(-0, 2 ** 53, 1e21),
      ),
    ),
    { selector: ([name]) => name, minLength: 1, maxLength: 4 },
  )
  .map((entries) => Object.fromEntries(entries) as AddedAttributes);

function addedToProtobuf(request: Uint8Array, added: AddedAttributes): Uint8Array {
  return runToEnd(new AttributeAdditions(added).toProtobuf(request));
}

function addedToJson(request: Uint8Array, added: AddedAttributes): Uint8Array {
  return runToEnd(new AttributeAdditions(added).toJson(request));
}

/** The same by way of the model: the records' lists get the attributes that they lack. */
function expectedRequest(request: JsonRequest, added: AddedAttributes): JsonRequest {
  const copy = structuredClone(request);
  for (const { scopeLogs } of copy.resourceLogs) {
    for (const record of scopeLogs.flatMap(({ logRecords }) => logRecords)) {
      const list = [...((record["attributes"] ?? []) as { key: string; value?: object }[])];
      for (const [key, value] of Object.entries(added)) {
        if (!list.some((own) => own.key === key)) list.push({ key, value: valueOf(value) });
      }
      if (list.length > 0) record["attributes"] = list;
    }
  }
  return copy;
}

function valueOf(value: string | number | boolean): object {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  const isInteger = Number.isSafeInteger(value) && !Object.is(value, -0);
  return isInteger ? { intValue: String(value) } : { doubleValue: value };
}

function decoded(request: Uint8Array): unknown {
  return LogsRequest.toObject(LogsRequest.decode(request), { longs: String });
}

describe("attributes that a receiver adds", () => {
  it("are in each record of a request in protobuf that lacks them, and nothing else changes", () => {
    fc.assert(
      fc.property(jsonRequest, attributes, (request, added) => {
        const result = addedToProtobuf(toProtobuf(request), added);
        expect(decoded(result)).toEqual(decoded(toProtobuf(expectedRequest(request, added))));
        // Now all records have them.
        expect(addedToProtobuf(result, added)).toEqual(result);
      }),
      { numRuns: 200 },
    );
  });

  it("are the same in JSON, whatever the request's layout", () => {
    fc.assert(
      fc.property(
        jsonRequest,
        attributes,
        fc.constantFrom("", " ", "\n\t"),
        (given, added, gap) => {
          const text = JSON.stringify(JSON.parse(toJson(given).toString()), null, gap);
          const result = addedToJson(Buffer.from(text), added);
          const wanted = toProtobuf(expectedRequest(given, added));
          expect(envelopesOf(encodeOtlpJson, result)).toEqual(
            envelopesOf(encodeOtlpProtobuf, wanted),
          );
        },
      ),
      { numRuns: 200 },
    );
  });

  it.each([
    ['{"attributes":[]}', '{"attributes":[E]}'],
    ['{"attributes":[ ] }', '{"attributes":[ E] }'],
    ["{}", '{"attributes":[E]}'],
    ['{"severityNumber":9 }', '{"severityNumber":9 ,"attributes":[E]}'],
    ['{"attributes":null}', '{"attributes":null,"attributes":[E]}'],
    ['{"attributes":[{"key":"a"}]}', '{"attributes":[{"key":"a"},E]}'],
    ['{"attributes":[{"key":"e\\u006ev"}]}', undefined],
    ['{"attributes":[{"key":"env"}],"attributes":[1]}', undefined],
    ['{"attributes":[{"key":"a","key":"env"}]}', undefined],
    ['{"attributes":{"key":"a"}}', undefined],
    ["null", undefined],
    ['{"attributes":[{"key":"a"},]}', '{"attributes":[{"key":"a"},,E]}'],
  ])("are spliced into the JSON record %s", (record, wanted) => {
    const around = (text: string): Buffer =>
      Buffer.from(`\uFEFF{"resource_logs":[{"x":[1],"scopeLogs":[{"logRecords":[${text}]}]}]}`);
    const element = '{"key":"env","value":{"stringValue":"prod"}}';
    const isRepeated = record.includes("[1]");
    const expected = isRepeated ? record.replace("[1]", `[1,${element}]`) : wanted;
    expect(addedToJson(around(record), { env: "prod" }).toString()).toBe(
      around(expected?.replace("E", element) ?? record).toString(),
    );
  });

  it("leave malformed requests unchanged", () => {
    const protobuf = toProtobuf({
      resourceLogs: [{ scopeLogs: [{ logRecords: [{ severityText: "INFO" }] }] }],
    });
    const text = '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":9}]}]}]}';
    for (let length = 1; length < protobuf.length; length++) {
      const cut = protobuf.subarray(0, length);
      expect(addedToProtobuf(cut, { env: "prod" })).toBe(cut);
    }
    for (let length = 1; length < text.length; length++) {
      const cut = Buffer.from(text.slice(0, length));
      expect(addedToJson(cut, { env: "prod" })).toBe(cut);
    }
    for (const other of [
      "[]",
      "3",
      '"',
      '{"resourceLogs":3}',
      '{"resourceLogs":[{"scopeLogs":1}]}',
    ]) {
      expect(addedToJson(Buffer.from(other), { env: "prod" }).toString()).toBe(other);
    }
  });

  it("leave records as they are that would become too large", () => {
    const added = { environment: "prod" };
    const body = { stringValue: "x".repeat((4 << 20) - 20) };
    const request = { resourceLogs: [{ scopeLogs: [{ logRecords: [{ body }] }] }] };
    const protobuf = toProtobuf(request);
    expect(Buffer.from(protobuf).equals(addedToProtobuf(protobuf, added))).toBe(true);
    const json = toJson(request);
    expect(Buffer.from(json).equals(addedToJson(json, added))).toBe(true);
  });
});
