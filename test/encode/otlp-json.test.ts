import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEPTH_MAX, DEPTH_TEXT } from "../../src/envelope/json-writer.ts";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { decodeOtlpJson } from "../../src/otlp/decode.ts";
import { encodeOtlpJson, encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { TailgateError } from "tailgate";
import type { LogRecord } from "tailgate/plugin";
import { envelopesOf, envelopesOfRecords, takeRecords, takeTexts } from "../harness/records.ts";
import { jsonRequest, toJson, toProtobuf } from "./generated-request.ts";

const TIME = "1760347644339163000";

function requestText(logRecords: string, scope = "orchestrator.server"): Uint8Array {
  return Buffer.from(
    `{"resourceLogs":[{"scopeLogs":[{"scope":{"name":"${scope}"},"logRecords":${logRecords}}]}]}`,
  );
}

/** The record decoded from a record's members, given as JSON text. */
function recordOf(members: string): LogRecord {
  return decodeOtlpJson(requestText(`[{${members}}]`))[0]!;
}

function dataOf(body: Uint8Array): Record<string, unknown>[] {
  return envelopesOf(encodeOtlpJson, body).map(
    (text) => (JSON.parse(text) as { data: Record<string, unknown> }).data,
  );
}

describe("a request in JSON", () => {
  it("gives the envelopes that the same request in protobuf gives", () => {
    fc.assert(
      fc.property(jsonRequest, (request) => {
        const wanted = envelopesOf(encodeOtlpProtobuf, toProtobuf(request));
        expect(envelopesOf(encodeOtlpJson, toJson(request))).toEqual(wanted);
      }),
      { numRuns: 300 },
    );
  });

  it("gives the bytes that its decoded records give, and rebuilds the records", () => {
    fc.assert(
      fc.property(jsonRequest, (request) => {
        const open = new BatchBuilder();
        const all = decodeOtlpJson(toJson(request));
        const { filtered } = encodeOtlpJson(toJson(request), open, 0);
        const records = takeRecords(open);
        expect(records.length + filtered).toBe(all.length);
        expect(all).toEqual(expect.arrayContaining(records));
        expect(envelopesOf(encodeOtlpJson, toJson(request))).toEqual(envelopesOfRecords(all));
      }),
    );
  });

  it("counts records below the level: system logs below the given one, audit events below INFO", () => {
    const records = `[{"severityNumber":5},{"severityNumber":9},{"severityNumber":13}]`;
    const open = new BatchBuilder();
    expect(encodeOtlpJson(requestText(records), open, 2)).toEqual({
      accepted: 1,
      filtered: 2,
      forbidden: 0,
    });
    const audit = requestText(records, "orchestrator.audit");
    expect(encodeOtlpJson(audit, open, 2)).toEqual({ accepted: 2, filtered: 1, forbidden: 0 });
  });

  it("is sorted by time, stably, with the observed time as a fallback", () => {
    const body = requestText(`[
      {"timeUnixNano":"3000","body":{"stringValue":"third"}},
      {"timeUnixNano":"0","observedTimeUnixNano":"2000","body":{"stringValue":"second"}},
      {"timeUnixNano":1000,"body":{"stringValue":"first"}},
      {"timeUnixNano":"3000","body":{"stringValue":"third again"}},
      {"body":{"stringValue":"now"}}]`);
    const messages = dataOf(body).map(({ message }) => message);
    expect(messages).toEqual(["first", "second", "third", "third again", "now"]);
  });

  it.each(["{}", '{"resourceLogs":null}', '{"resourceLogs":[]}', '{"unknown":[1,{}]}'])(
    "may be empty: %s",
    (text) => {
      expect(envelopesOf(encodeOtlpJson, Buffer.from(text))).toEqual([]);
    },
  );

  it("may have a byte order mark, null members and unknown members", () => {
    const body = Buffer.from(`\ufeff{"resourceLogs":[{"resource":null,"schemaUrl":"x","scopeLogs":
      [{"scope":null,"logRecords":[{"timeUnixNano":"${TIME}","body":null,"attributes":null,
      "severityText":null,"traceId":null,"flags":null,"newer":{"a":[]}}]}]}]}`);
    expect(envelopesOf(encodeOtlpJson, body)).toEqual([
      '{"type":"system_log","data":{"timestamp":"2025-10-13T09:27:24.339163Z","level":"INFO","logger":"unknown","message":"","module":"","function":"","line":0}}',
    ]);
  });
});

describe("values", () => {
  const valueOf = (text: string): unknown =>
    recordOf(`"attributes":[{"key":"k","value":${text}}]`).attributes.get("k");

  it.each<[string, unknown]>([
    ['{"intValue":"42"}', 42],
    ['{"intValue":42}', 42],
    ['{"intValue":-7.0}', -7],
    ['{"intValue":"1e3"}', 1000],
    ['{"intValue":1e3}', 1000],
    ['{"intValue":"1.5e1"}', 15],
    ['{"intValue":"0e5"}', 0],
    ['{"intValue":"9007199254740993"}', 9007199254740993n],
    ['{"intValue":9007199254740993}', 9007199254740993n],
    ['{"intValue": -9223372036854775808 }', -(2n ** 63n)],
    ['{"intValue":"9223372036854775807"}', 2n ** 63n - 1n],
    ['{"intValue":9223372036854775808}', 2 ** 63],
    ['{"intValue":9223372036854776000}', 9223372036854776000],
    ['{"intValue":1e+300}', 1e300],
    ['{"intValue":"1e400"}', Infinity],
    ['{"intValue":1152921504606847000}', 1152921504606847000n],
    ['{"intValue":1.152921504606847e18}', 1152921504606847000n],
    ['{"doubleValue":0.5}', 0.5],
    ['{"doubleValue":"0.5"}', 0.5],
    ['{"doubleValue":9007199254740993}', 9007199254740992],
    ['{"doubleValue":null}', NaN],
    ['{"doubleValue":"NaN"}', NaN],
    ['{"doubleValue":"Infinity"}', Infinity],
    ['{"doubleValue":"-Infinity"}', -Infinity],
    ['{"boolValue":false}', false],
    ['{"stringValue":""}', ""],
    ['{"bytesValue":"AP8="}', new Uint8Array([0, 255])],
    ['{"bytesValue":"-_8"}', new Uint8Array([251, 255])],
    ['{"bytesValue":""}', new Uint8Array()],
    ["{}", null],
    ["null", null],
    ['{"intValue":null}', null],
    ['{"arrayValue":{}}', []],
    ['{"arrayValue":{"values":[{},null,{"intValue":"1"}]}}', [null, null, 1]],
    ['{"kvlistValue":{}}', new Map()],
    [
      '{"kvlistValue":{"values":[{"key":"__proto__","value":{"intValue":1}},{"key":"z"}]}}',
      new Map([
        ["__proto__", 1],
        ["z", null],
      ]),
    ],
  ])("%s", (text, wanted) => {
    expect(valueOf(text)).toEqual(wanted);
  });

  it("that are bare integers retain their digits beside texts that look like them", () => {
    const text = '{"intValue":9007199254740993}, "intValue":9007199254740993';
    const record = recordOf(
      `"timeUnixNano":1760347644339163001,"observedTimeUnixNano" : 1760347644339163003,
       "body":{"stringValue":${JSON.stringify(text)}},
       "attributes":[{"key":"n","value":{"intValue":9007199254740993}}]`,
    );
    expect(record.timestamp).toBe(1760347644339163001n);
    expect(record.observedTimestamp).toBe(1760347644339163003n);
    expect(record.attributes.get("n")).toBe(9007199254740993n);
    expect(record.body).toBe(text);
  });

  it("and keys have U+FFFD for lone surrogates", () => {
    const record = recordOf(
      String.raw`"body":{"stringValue":"\ud800"},"severityText":"\udc00",
        "attributes":[{"key":"\ud800","value":{}},{"key":"\udfff","value":{"intValue":"2"}}]`,
    );
    expect(record.body).toBe("\ufffd");
    expect(record.severityText).toBe("\ufffd");
    expect(record.attributes).toEqual(new Map([["\ufffd", 2]]));
  });

  it("have U+FFFD for invalid UTF-8", () => {
    const body = Buffer.from(requestText('[{"body":{"stringValue":"a?"}}]'));
    body[body.indexOf("?")] = 0xff;
    expect(decodeOtlpJson(body)[0]!.body).toBe("a\ufffd");
  });

  it.each([
    [DEPTH_MAX, "x"],
    [DEPTH_MAX + 1, DEPTH_TEXT],
    [100_000, DEPTH_TEXT],
  ])("nested %i levels deep are shown down to the last level allowed", (depth, innermost) => {
    const list = `${'{"arrayValue":{"values":['.repeat(depth)}{"stringValue":"x"}${"]}}".repeat(depth)}`;
    const bareInteger = '{"key":"n","value":{"intValue":9007199254740993}}';
    const body = requestText(
      `[{"timeUnixNano":"${TIME}","body":${list},"attributes":[${bareInteger}]}]`,
    );
    const [data] = dataOf(body);
    expect(data!["message"]).toBe(
      "[".repeat(DEPTH_MAX) + JSON.stringify(innermost) + "]".repeat(DEPTH_MAX),
    );
    expect(data!["n"]).toBe("9007199254740993");
  });
});

describe("a record's fields", () => {
  it("have ids in lower case, and none that are all zero, of another length or not hex", () => {
    const ids = (traceId: string, spanId: string): [string, string] => {
      const record = recordOf(`"traceId":"${traceId}","spanId":"${spanId}"`);
      return [record.traceId, record.spanId];
    };
    expect(ids("773F0D1AA9146C31BA283F536E96FC68", "7b1e2D098115abf0")).toEqual([
      "773f0d1aa9146c31ba283f536e96fc68",
      "7b1e2d098115abf0",
    ]);
    expect(ids("00".repeat(16), "00".repeat(8))).toEqual(["", ""]);
    expect(ids("", "ab")).toEqual(["", ""]);
    expect(ids("zz".repeat(16), "g".repeat(16))).toEqual(["", ""]);
  });

  it("have the trace flags without the reserved bits", () => {
    expect(recordOf('"flags":769').flags).toBe(1);
    expect(recordOf('"flags":"3"').flags).toBe(3);
  });
});

describe("a record", () => {
  it("may have very many attributes, some of which are renamed", () => {
    const count = 60_000;
    const attributes = Array.from({ length: count }, (_, index) => ({
      key: index === 0 ? "level" : `k${index}`,
      value: { boolValue: true },
    }));
    const [data] = dataOf(requestText(JSON.stringify([{ timeUnixNano: TIME, attributes }])));
    expect(Object.keys(data!)).toHaveLength(7 + count);
    expect(data!["extra_level"]).toBe(true);
  });
});

describe("invalid input is rejected with its path", () => {
  const inRecord = "resourceLogs[0].scopeLogs[0].logRecords[1]";
  const wrong = (body: Uint8Array): string => {
    const open = new BatchBuilder();
    encodeOtlpJson(requestText('[{"body":{"stringValue":"kept"}}]'), open, 0);
    try {
      encodeOtlpJson(body, open, 0);
    } catch (error) {
      expect(TailgateError.is(error, "OTLP_UNDECODABLE")).toBe(true);
      expect(takeTexts(open)).toHaveLength(1);
      expect(() => decodeOtlpJson(body)).toThrow((error as Error).message);
      return (error as Error).message
        .replace("The OTLP request is wrong at ", "")
        .replace(/\. No record of the request was stored\. .*$/, "");
    }
    throw new Error("It was taken.");
  };

  it.each([
    ["[]", "its root: an array is not an object"],
    ["null", "its root: null is not an object"],
    ['{"resourceLogs":{}}', "resourceLogs: an object is not an array"],
    ['{"resourceLogs":[1]}', "resourceLogs[0]: a number is not an object"],
    ['{"resourceLogs":[{"resource":[]}]}', "resourceLogs[0].resource: an array is not an object"],
    [
      '{"resourceLogs":[{"scopeLogs":[{"scope":{"name":7}}]}]}',
      "resourceLogs[0].scopeLogs[0].scope.name: a number is not a string",
    ],
    [
      '{"resourceLogs":[{"resource":{"attributes":[{"key":1}]}}]}',
      "resourceLogs[0].resource.attributes[0].key: a number is not a string",
    ],
  ])("%s", (text, why) => {
    expect(wrong(Buffer.from(text))).toBe(why);
  });

  it.each([
    ['"timeUnixNano":"abc"', "timeUnixNano: a string is not a time in nanoseconds since 1970"],
    ['"timeUnixNano":"-1"', "timeUnixNano: a string is not a time in nanoseconds since 1970"],
    ['"timeUnixNano":1.5', "timeUnixNano: a number is not a time in nanoseconds since 1970"],
    [
      '"observedTimeUnixNano":"18446744073709551616"',
      "observedTimeUnixNano: a string is not a time in nanoseconds since 1970",
    ],
    ['"timeUnixNano":"1e400"', "timeUnixNano: a string is not a time in nanoseconds since 1970"],
    ['"severityNumber":"INFO"', "severityNumber: a string is not an integer"],
    ['"severityText":9', "severityText: a number is not a string"],
    ['"attributes":"a=b"', "attributes: a string is not an array"],
    ['"attributes":[null]', "attributes[0]: null is not an object"],
    ['"body":"text"', "body: a string is not an object"],
    ['"body":{"stringValue":5}', "body.stringValue: a number is not a string"],
    ['"body":{"intValue":"x"}', "body.intValue: a string is not an integer"],
    ['"body":{"intValue":1.5}', "body.intValue: a number is not an integer"],
    ['"body":{"intValue":"1e-3"}', "body.intValue: a string is not an integer"],
    ['"body":{"doubleValue":"fast"}', "body.doubleValue: a string is not a number"],
    ['"body":{"boolValue":"true"}', "body.boolValue: a string is not true or false"],
    ['"body":{"bytesValue":"?"}', "body.bytesValue: a string is not base64"],
    ['"body":{"bytesValue":{"0":1}}', "body.bytesValue: an object is not a string"],
    ['"body":{"arrayValue":[]}', "body.arrayValue: an array is not an object"],
    [
      '"body":{"arrayValue":{"values":[{},{"kvlistValue":{"values":[{"key":"k","value":3}]}}]}}',
      "body.arrayValue.values[1].kvlistValue.values[0].value: a number is not an object",
    ],
    ['"traceId":7', "traceId: a number is not a string"],
    ['"flags":{}', "flags: an object is not an integer"],
  ])("%s", (members, why) => {
    expect(wrong(requestText(`[{},{${members}}]`))).toBe(`${inRecord}.${why}`);
  });

  it("including input that is not JSON", () => {
    expect(wrong(Buffer.from('{"resourceLogs":'))).toBe("its text: Unexpected end of JSON input");
    expect(wrong(new Uint8Array())).toBe("its text: Unexpected end of JSON input");
    expect(wrong(Buffer.from("[".repeat(1_000_000)))).toContain("its text: ");
  });

  it("without quoting what was logged", () => {
    for (const text of ['{"password":hunter2}', '{"body":"hunter2"x}', '"hunter2', "hunter2"]) {
      const long = `{"resourceLogs":[${" ".repeat(10_000)}${text}`;
      for (const body of [text, `[${text}]`, long]) {
        expect(wrong(Buffer.from(body))).toMatch(/^its text: (?!.*hunter)/s);
      }
    }
  });
});
