import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEPTH_MAX, DEPTH_TEXT } from "../../src/envelope/json-writer.ts";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { decodeOtlpProtobuf } from "../../src/otlp/decode.ts";
import { encodeOtlpProtobuf, encodeOtlpProtobufInSteps } from "../../src/otlp/request-encoder.ts";
import { DEFAULT_LOGGER_NAMES } from "../../src/envelope/prefix.ts";
import { REQUEST_RECORDS_MAX } from "../../src/otlp/request-limits.ts";
import { textOf } from "tailgate/plugin";
import type { LevelRank } from "../../src/wire/envelope.ts";
import type { LogRecord } from "tailgate/plugin";
import { envelopesOf, envelopesOfRecords, takeRecords, takeTexts } from "../harness/records.ts";
import {
  alikeRequest,
  jsonRequest,
  lengthDelimited,
  reordered,
  toProtobuf,
} from "./generated-request.ts";
import { decodedByProtobufjs } from "./protobufjs-oracle.ts";

const SEED_MAX = 1000;
const TIME = "1760347644339163000";
const WRONG_BYTE = /^The OTLP request is wrong at byte \d+ of \d+: .*\. No record of the/;

/** A request of one logger from records in OTLP's JSON form. */
function requestOf(logRecords: object[], scope = "orchestrator.server"): Uint8Array {
  const scopeLogs = [{ scope: { name: scope, attributes: [] }, logRecords }];
  return toProtobuf({ resourceLogs: [{ scopeLogs } as never] });
}

/** A request of one record whose bytes are given. */
function requestOfBytes(record: Uint8Array): Uint8Array {
  return lengthDelimited(1, lengthDelimited(2, lengthDelimited(2, record)));
}

function dataOf(body: Uint8Array): Record<string, unknown>[] {
  return envelopesOf(encodeOtlpProtobuf, body).map(
    (text) => (JSON.parse(text) as { data: Record<string, unknown> }).data,
  );
}

function thrownBy(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return textOf(error);
  }
}

describe("decoding", () => {
  it("reads any request as protobufjs reads it, sorted by time", () => {
    fc.assert(
      fc.property(jsonRequest, (request) => {
        const body = toProtobuf(request);
        expect(decodeOtlpProtobuf(body)).toEqual(decodedByProtobufjs(body));
      }),
    );
  });

  it("does not depend on the order of fields or on unknown ones", () => {
    fc.assert(
      fc.property(jsonRequest, fc.nat(SEED_MAX), (request, seed) => {
        const body = toProtobuf(request);
        expect(decodeOtlpProtobuf(reordered(body, seed))).toEqual(decodeOtlpProtobuf(body));
      }),
    );
  });
});

describe("encoding", () => {
  it("gives the bytes that the decoded records give, in any order of fields", () => {
    fc.assert(
      fc.property(jsonRequest, fc.nat(SEED_MAX), (request, seed) => {
        for (const body of [toProtobuf(request), reordered(toProtobuf(request), seed)]) {
          const wanted = envelopesOfRecords(decodeOtlpProtobuf(body));
          expect(envelopesOf(encodeOtlpProtobuf, body)).toEqual(wanted);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("gives these bytes also for records that repeat one another", () => {
    fc.assert(
      fc.property(alikeRequest, fc.nat(SEED_MAX), fc.nat(4), (request, seed, lowest) => {
        for (const body of [toProtobuf(request), reordered(toProtobuf(request), seed)]) {
          const wanted = envelopesOfRecords(decodeOtlpProtobuf(body), lowest as LevelRank);
          expect(envelopesOf(encodeOtlpProtobuf, body, lowest as LevelRank)).toEqual(wanted);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("distinguishes processes whose records are equal", () => {
    const body = toProtobuf({
      resourceLogs: ["one", "other", ""].map((stringValue) => ({
        resource: { attributes: [{ key: "service.name", value: { stringValue } }] },
        scopeLogs: [{ logRecords: [{ timeUnixNano: TIME, body: { stringValue: "same" } }] }],
      })),
    });
    expect(dataOf(body).map(({ service }) => service)).toEqual(["one", "other", undefined]);
  });

  it("gives these bytes also if the input buffer changes afterwards", () => {
    const attributes = [{ key: "k", value: { stringValue: "x".repeat(500) } }];
    const records = Array.from({ length: 5000 }, (_, index) => ({
      timeUnixNano: String(BigInt(TIME) + 1000n * BigInt(index)),
      body: { stringValue: `${index}` },
      attributes,
      traceId: index % 3 === 0 ? "ab".repeat(16) : "cd".repeat(16),
    }));
    const body = requestOf(records);
    const wanted = envelopesOfRecords(decodeOtlpProtobuf(body));
    expect(envelopesOf(encodeOtlpProtobuf, body)).toEqual(wanted);
  });

  it("rebuilds the records that the envelopes came from", () => {
    fc.assert(
      fc.property(jsonRequest, (request) => {
        const body = toProtobuf(request);
        const open = new BatchBuilder();
        const { filtered } = encodeOtlpProtobuf(body, open, 0);
        const records = takeRecords(open);
        const all = decodeOtlpProtobuf(body);
        expect(records.length + filtered).toBe(all.length);
        expect(all).toEqual(expect.arrayContaining(records));
      }),
    );
  });

  it("rejects what decoding rejects, with the path, and leaves the batch unchanged", () => {
    const change = fc.record({ at: fc.nat(), to: fc.nat(255), cut: fc.nat(6) });
    const kept = requestOf([{ timeUnixNano: TIME, body: { stringValue: "kept" } }]);
    fc.assert(
      fc.property(jsonRequest, change, (request, { at, to, cut }) => {
        const body = Buffer.from(toProtobuf(withoutFiltered(request)));
        if (body.length > 0) body[at % body.length] = to;
        const damaged = body.subarray(0, body.length - cut);
        const open = new BatchBuilder();
        encodeOtlpProtobuf(kept, open, 0);
        const refusal = thrownBy(() => encodeOtlpProtobuf(damaged, open, 0));
        // Of two errors, each side finds a different one first.
        const isRefused = thrownBy(() => decodeOtlpProtobuf(damaged)) !== undefined;
        expect(refusal !== undefined).toBe(isRefused);
        if (refusal === undefined) return;
        expect(refusal).toMatch(WRONG_BYTE);
        expect(takeTexts(open).map((text) => text.includes('"message":"kept"'))).toEqual([true]);
      }),
      { numRuns: 700 },
    );
  });

  it("finds damage in a resource whose name no record shows", () => {
    const service = { key: "service", value: { stringValue: "mine" } };
    const body = toProtobuf({
      resourceLogs: [
        {
          resource: { attributes: [{ key: "service.name", value: { stringValue: "xyz" } }] },
          scopeLogs: [{ logRecords: [{ timeUnixNano: TIME, attributes: [service] }] }],
        },
      ],
    });
    body[body.indexOf("xyz".charCodeAt(0)) - 1] = 100;
    expect(thrownBy(() => encodeOtlpProtobuf(body, new BatchBuilder(), 0))).toMatch(WRONG_BYTE);
  });

  it("counts records below the level: system logs below the given one, audit events below INFO", () => {
    const levels = [5, 9, 13].map((severityNumber) => ({ timeUnixNano: TIME, severityNumber }));
    const open = new BatchBuilder();
    expect(encodeOtlpProtobuf(requestOf(levels), open, 2)).toEqual({
      accepted: 1,
      filtered: 2,
      forbidden: 0,
    });
    const audit = requestOf(levels, "orchestrator.audit");
    expect(encodeOtlpProtobuf(audit, open, 2)).toEqual({ accepted: 2, filtered: 1, forbidden: 0 });
    expect(encodeOtlpProtobuf(new Uint8Array(), open, 0)).toEqual({
      accepted: 0,
      filtered: 0,
      forbidden: 0,
    });
  });
});

/** Filtered records are not decoded, so damage in them is not noticed. */
function withoutFiltered<R>(request: R): R {
  return JSON.parse(
    JSON.stringify(request, (name, value: unknown) =>
      name === "severityNumber" ? 9 : name === "severityText" ? "INFO" : value,
    ),
  ) as R;
}

describe("time", () => {
  it("retains microseconds over all 64 bits", () => {
    const seconds = fc.bigInt({ min: 0n, max: 18_446_744_072n });
    fc.assert(
      fc.property(seconds, fc.nat(999_999_999), (second, nanos) => {
        const time = second * 1_000_000_000n + BigInt(nanos);
        fc.pre(time !== 0n);
        const date = new Date(Number(second) * 1000).toISOString().slice(0, 19);
        const micros = String(Math.floor(nanos / 1000)).padStart(6, "0");
        const [data] = dataOf(requestOf([{ timeUnixNano: String(time) }]));
        expect(data!["timestamp"]).toBe(`${date}.${micros}Z`);
      }),
    );
  });

  it("falls back to the observed one, and sorts records across loggers, stably", () => {
    const record = (stringValue: string, times: object): object => ({
      ...times,
      body: { stringValue },
    });
    const scopeLogs = (name: string, logRecords: object[]): object => ({
      scope: { name, attributes: [] },
      logRecords,
    });
    const body = toProtobuf({
      resourceLogs: [
        {
          scopeLogs: [
            scopeLogs("a", [
              record("third", { timeUnixNano: "3000" }),
              record("first", { timeUnixNano: "1000" }),
            ]),
            scopeLogs("b", [
              record("second", { observedTimeUnixNano: "2000" }),
              record("third again", { timeUnixNano: "3000" }),
            ]),
          ],
        } as never,
      ],
    });
    const messages = dataOf(body).map(({ message }) => message);
    expect(messages).toEqual(["first", "second", "third", "third again"]);
    expect(decodeOtlpProtobuf(body).map((one) => one.body)).toEqual(messages);
  });

  it("that is present twice counts last, and so sorts the records", () => {
    const fixed64 = (tag: number, value: bigint): Buffer => {
      const field = Buffer.alloc(9, tag);
      field.writeBigUInt64LE(value, 1);
      return field;
    };
    const record = (message: string, ...times: bigint[]): Buffer =>
      lengthDelimited(
        2,
        Buffer.concat([
          ...times.map((nanos) => fixed64(0x09, nanos)),
          lengthDelimited(5, lengthDelimited(1, Buffer.from(message))),
        ]),
      );
    const scopeLogs = Buffer.concat([
      record("second", 2_000_000n),
      record("first", 9_000_000n, 1_000_000n),
      record("third", 1n, 3_000_000n),
    ]);
    const body = lengthDelimited(1, lengthDelimited(2, scopeLogs));
    const open = new BatchBuilder();
    expect(encodeOtlpProtobuf(body, open, 0)).toEqual({ accepted: 3, filtered: 0, forbidden: 0 });
    const times = takeTexts(open).map((text) =>
      /"timestamp":"([^"]+)".*"message":"(\w+)"/.exec(text),
    );
    expect(times.map((match) => match!.slice(1))).toEqual([
      ["1970-01-01T00:00:00.001000Z", "first"],
      ["1970-01-01T00:00:00.002000Z", "second"],
      ["1970-01-01T00:00:00.003000Z", "third"],
    ]);
    expect(decodeOtlpProtobuf(body).map((one) => one.body)).toEqual(["first", "second", "third"]);
  });

  it("is the time of arrival for a record without any", () => {
    const before = Date.now();
    const [past, now] = dataOf(requestOf([{ body: {} }, { timeUnixNano: TIME }]));
    expect(past!["timestamp"]).toBe("2025-10-13T09:27:24.339163Z");
    expect(Date.parse(now!["timestamp"] as string)).toBeGreaterThanOrEqual(before);
    expect(Date.parse(now!["timestamp"] as string)).toBeLessThanOrEqual(Date.now());
  });
});

describe("values", () => {
  it("that are doubles are numbers, even if whole and large; integers are strings", () => {
    const attributes = [
      { key: "double", value: { doubleValue: 1e16 } },
      { key: "inside", value: { arrayValue: { values: [{ doubleValue: -(2 ** 60) }] } } },
      { key: "integer", value: { intValue: "10000000000000000" } },
    ];
    const [data] = dataOf(
      requestOf([{ timeUnixNano: TIME, body: { doubleValue: 1e17 }, attributes }]),
    );
    expect(data).toMatchObject({
      message: "100000000000000000",
      double: 1e16,
      inside: [-(2 ** 60)],
      integer: "10000000000000000",
    });
  });

  const decodedAttribute = (value: object): LogRecord["body"] | undefined =>
    decodeOtlpProtobuf(requestOf([{ attributes: [{ key: "k", value }] }]))[0]!.attributes.get("k");

  it.each<[object, unknown]>([
    [{ intValue: "9007199254740991" }, Number.MAX_SAFE_INTEGER],
    [{ intValue: "9007199254740992" }, 9007199254740992n],
    [{ intValue: "-9223372036854775808" }, -(2n ** 63n)],
    [{ intValue: "-1" }, -1],
    [{ doubleValue: 1 }, 1],
    [{ bytesValue: "AP8=" }, new Uint8Array([0, 255])],
    [{}, null],
    [{ arrayValue: { values: [{}, { boolValue: true }] } }, [null, true]],
    [{ kvlistValue: { values: [{ key: "__proto__" }] } }, new Map([["__proto__", null]])],
  ])("keep their type and their digits: %o", (value, wanted) => {
    expect(decodedAttribute(value)).toEqual(wanted);
  });

  it("of a duplicate key are the last, in the first one's place", () => {
    const k = (stringValue: string): object => ({ key: "k", value: { stringValue } });
    const other = { key: "other", value: { stringValue: "-" } };
    const nested = { key: "map", value: { kvlistValue: { values: [k("a"), other, k("b")] } } };
    const [data] = dataOf(requestOf([{ attributes: [k("first"), other, nested, k("last")] }]));
    expect(Object.entries(data!).slice(7)).toEqual([
      ["k", "last"],
      ["other", "-"],
      ["map", { k: "b", other: "-" }],
    ]);
  });

  it("with invalid UTF-8 have U+FFFD, and two keys that become equal are one", () => {
    const attribute = (key: number[], value: number[]): Buffer =>
      lengthDelimited(
        6,
        Buffer.concat([
          lengthDelimited(1, Buffer.from(key)),
          lengthDelimited(2, lengthDelimited(1, Buffer.from(value))),
        ]),
      );
    const body = requestOfBytes(
      Buffer.concat([
        lengthDelimited(5, lengthDelimited(1, Buffer.from([0x61, 0xc3, 0x28, 0xf0, 0x9f]))),
        attribute([0xff], [0x31]),
        attribute([0xfe], [0xe2, 0x28, 0xa1]),
      ]),
    );
    const [data] = dataOf(body);
    expect(data!["message"]).toBe("a\ufffd(\ufffd");
    expect(Object.entries(data!).slice(7)).toEqual([["\ufffd", "\ufffd(\ufffd"]]);
    expect(envelopesOf(encodeOtlpProtobuf, body)[0]!.match(/"\ufffd":/g)).toHaveLength(1);
  });

  it("in more than one field of an AnyValue are the last of them", () => {
    const both = Buffer.from([0x10, 0x01, 0x18, 0x07]);
    const member = Buffer.concat([lengthDelimited(1, Buffer.from("k")), lengthDelimited(2, both)]);
    const body = requestOfBytes(lengthDelimited(6, member));
    expect(dataOf(body)[0]!["k"]).toBe(7);
    expect(decodeOtlpProtobuf(body)[0]!.attributes.get("k")).toBe(7);
  });

  it("of records with different keys of the same length are distinguished", () => {
    const records = [
      ["ab", "cd"],
      ["ab", "ab"],
      ["id", "cd"],
      ["ab", "cd"],
    ].map((keys) => ({
      timeUnixNano: TIME,
      attributes: keys.map((key, index) => ({ key, value: { intValue: index } })),
    }));
    const extras = envelopesOf(encodeOtlpProtobuf, requestOf(records)).map((text) =>
      text.slice(text.indexOf('"line":0') + 8),
    );
    expect(extras).toEqual([
      ',"ab":0,"cd":1}}',
      ',"ab":1}}',
      ',"extra_id":0,"cd":1}}',
      ',"ab":0,"cd":1}}',
    ]);
  });

  it("with reserved names are renamed, even if the new name is in use", () => {
    const extrasOf = (...names: string[]): string => {
      const attributes = names.map((key, index) => ({ key, value: { intValue: index } }));
      const [text] = envelopesOf(
        encodeOtlpProtobuf,
        requestOf([{ timeUnixNano: TIME, attributes }]),
      );
      return text!.slice(text!.indexOf('"line":0') + 9);
    };
    expect(extrasOf("level", "id", "extra_level")).toBe(
      '"extra_extra_level":0,"extra_id":1,"extra_level":2}}',
    );
    expect(extrasOf("extra_extra_level", "extra_level", "level")).toBe(
      '"extra_extra_level":0,"extra_level":1,"extra_extra_extra_level":2}}',
    );
  });

  /** A request whose body is that many nested lists around a text. */
  const nestedBody = (depth: number): Uint8Array => {
    let value: Uint8Array = lengthDelimited(1, Buffer.from("x"));
    for (let level = 0; level < depth; level++) {
      value = lengthDelimited(5, lengthDelimited(1, value));
    }
    return requestOfBytes(lengthDelimited(5, value));
  };

  it.each([
    [DEPTH_MAX, "x"],
    [DEPTH_MAX + 1, DEPTH_TEXT],
    [3000, DEPTH_TEXT],
  ])("nested %i levels deep are shown down to the last level allowed", (depth, innermost) => {
    const wanted = "[".repeat(DEPTH_MAX) + JSON.stringify(innermost) + "]".repeat(DEPTH_MAX);
    const [data] = dataOf(nestedBody(depth));
    expect(data!["message"]).toBe(wanted);
    const [record] = decodeOtlpProtobuf(nestedBody(depth));
    expect(JSON.stringify(record!.body)).toBe(wanted);
  });
});

describe("requests encoded in steps", () => {
  const alike = (name: string): Uint8Array =>
    requestOf(
      Array.from({ length: 1500 }, (_, index) => ({
        timeUnixNano: TIME,
        traceId: index.toString(16).padStart(32, "a"),
        attributes: [{ key: name, value: { stringValue: "mine" } }],
      })),
    );

  it("do not mix up their attributes when others run in between", () => {
    const bodies = [alike("trace_id"), alike("other")];
    const opens = bodies.map(() => new BatchBuilder());
    const running = bodies.map((body, index) =>
      encodeOtlpProtobufInSteps(body, opens[index]!, 0, DEFAULT_LOGGER_NAMES),
    );
    for (let isDone = false; !isDone;) {
      isDone = running.map((steps) => steps.next().done).every(Boolean);
    }
    for (const [index, body] of bodies.entries()) {
      expect(takeTexts(opens[index]!)).toEqual(envelopesOf(encodeOtlpProtobuf, body));
    }
  });
});

describe("invalid input", () => {
  const refusal = (body: Uint8Array): string => {
    const text = thrownBy(() => decodeOtlpProtobuf(body));
    expect(thrownBy(() => encodeOtlpProtobuf(body, new BatchBuilder(), 0))).toBe(text);
    return text!.split(". No record")[0]!;
  };

  it.each([
    [[0x0a, 0x05, 0x12], "byte 2 of 3: a length of 5 exceeds the 1 bytes that are left"],
    [[0x0a], "byte 1 of 1: a number is cut off"],
    [[0x00, 0x00], "byte 1 of 2: a field has the number 0"],
    [[0x08, 0x01], "byte 1 of 2: field 1 has the wire type 0"],
    [[0xa3, 0x06], "byte 2 of 2: field 100 has the wire type 3"],
    [[0xa6, 0x06], "byte 2 of 2: field 100 has the wire type 6"],
    [
      [0xa0, 0x06, ...Array.from({ length: 10 }, () => 0xff), 0x01],
      "byte 2 of 13: a number has more than 10 bytes",
    ],
    [[0x0a, 0x80, 0x80, 0x80, 0x80, 0x10], "byte 6 of 6: a tag or a length has more than 32 bits"],
    [[0xa1, 0x06, 0, 0, 0], "byte 2 of 5: a number is cut off"],
    [[0xa5, 0x06, 0, 0, 0], "byte 2 of 5: a number is cut off"],
  ])("%j is refused", (bytes, why) => {
    expect(refusal(Buffer.from(bytes))).toBe(`The OTLP request is wrong at ${why}`);
  });

  it("such as spans in place of logs is rejected", () => {
    const traceId = lengthDelimited(1, Buffer.alloc(16, 7));
    expect(refusal(requestOfBytes(traceId))).toContain("field 1 has the wire type 2");
  });

  it("in an attribute's value is found although the rest is valid", () => {
    const attribute = lengthDelimited(6, lengthDelimited(2, Buffer.from([0x0a, 0x09, 0x61])));
    expect(refusal(requestOfBytes(attribute))).toContain(
      "a length of 9 exceeds the 1 bytes that are left",
    );
  });

  it("cannot fill the memory with empty records", () => {
    const empty = Buffer.alloc(2 * (REQUEST_RECORDS_MAX + 1));
    for (let index = 0; index < empty.length; index += 2) empty[index] = 0x12;
    const body = lengthDelimited(1, lengthDelimited(2, empty));
    expect(refusal(body)).toContain(`there are more than ${REQUEST_RECORDS_MAX} records`);
  });

  it("cannot fill the memory with a long name repeated by all records", () => {
    const name = { key: "service.name", value: { stringValue: "x".repeat(1 << 20) } };
    const logRecords = Array.from({ length: 300 }, () => ({ timeUnixNano: TIME }));
    const body = toProtobuf({
      resourceLogs: [{ resource: { attributes: [name] }, scopeLogs: [{ logRecords }] }],
    });
    const open = new BatchBuilder();
    expect(thrownBy(() => encodeOtlpProtobuf(body, open, 0))).toContain(
      "its envelopes take more than 268435456 bytes",
    );
    expect(open.isEmpty).toBe(true);
  });
});
