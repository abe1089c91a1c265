import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEPTH_MAX, DEPTH_TEXT, JsonWriter } from "../../src/envelope/json-writer.ts";
import { putText, TEXT_GROWTH_MAX } from "../../src/envelope/fast/value-writer.ts";
import { ProtobufReader } from "../../src/otlp/protobuf.ts";

function written(write: (writer: JsonWriter) => void): string {
  const writer = JsonWriter.scratch();
  write(writer);
  return writer.text();
}

/**
 * Any UTF-16, including lone surrogates, of all the lengths at which the writer changes its path.
 */
const anyString = fc.oneof(
  fc.string({ unit: "binary", maxLength: 300 }),
  fc.string({ unit: "grapheme", maxLength: 120 }),
  fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
);

describe("strings", () => {
  it("round-trip, with U+FFFD for lone surrogates", () => {
    fc.assert(
      fc.property(anyString, (text) => {
        expect(JSON.parse(written((writer) => writer.string(text)))).toBe(text.toWellFormed());
      }),
    );
  });

  it("are written as JSON.stringify writes them if they are well formed", () => {
    fc.assert(
      fc.property(anyString, (text) => {
        const wellFormed = text.toWellFormed();
        expect(written((writer) => writer.string(wellFormed))).toBe(JSON.stringify(wellFormed));
      }),
    );
  });

  it("are read from UTF-8 with U+FFFD as in the WHATWG decoder", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 400 }),
      anyString.map((text) => Buffer.from(text)),
      fc
        .tuple(anyString, fc.uint8Array({ maxLength: 3 }), anyString)
        .map(([before, inner, after]) =>
          Buffer.concat([Buffer.from(before), inner, Buffer.from(after)]),
        ),
    );
    fc.assert(
      fc.property(bytes, (source) => {
        const text = written((writer) => {
          writer.reserve(2 + TEXT_GROWTH_MAX * source.length);
          const reader = new ProtobufReader(source);
          writer.position = putText(writer, writer.position, reader, 0, source.length);
        });
        expect(JSON.parse(text)).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(source));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("numbers", () => {
  it("are JSON's own, and round-trip", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const text = written((writer) => writer.number(value));
        expect(JSON.parse(text)).toBe(value === 0 ? 0 : value);
      }),
    );
  });

  it("of a few decimals are the text that String gives", () => {
    const decimals = fc
      .tuple(fc.integer({ min: -9, max: 2 ** 31 + 9999 }), fc.nat(4))
      .map(([digits, places]) => digits / 10 ** places);
    const neighbors = fc
      .tuple(decimals, fc.constantFrom(1, 1 + 2 ** -52, 1 - 2 ** -53))
      .map(([value, factor]) => value * factor);
    fc.assert(
      fc.property(neighbors, (value) => {
        const text = String(value === 0 ? 0 : value);
        expect(written((writer) => writer.number(value))).toBe(text);
      }),
      { numRuns: 1000 },
    );
  });

  it("beyond 2^53 are integers if JavaScript's number type stands for both", () => {
    const ofJavaScript = (value: number): string =>
      written((writer) => {
        writer.wholeNumbersAreIntegers = true;
        writer.value([value]);
      });
    expect(ofJavaScript(2 ** 60)).toBe('["1152921504606846976"]');
    expect(ofJavaScript(-(2 ** 53))).toBe('["-9007199254740992"]');
    expect(ofJavaScript(2 ** 53 - 1)).toBe("[9007199254740991]");
    expect(ofJavaScript(2 ** 63)).toBe("[9223372036854776000]");
    expect(ofJavaScript(1.5e300)).toBe("[1.5e+300]");
  });

  it.each([
    [NaN, '"NaN"'],
    [Infinity, '"Infinity"'],
    [-Infinity, '"-Infinity"'],
    [-0, "0"],
    [2 ** 53 - 1, "9007199254740991"],
    [2 ** 53, "9007199254740992"],
    [1e300, "1e+300"],
    [18446744073709552000, "18446744073709552000"],
  ])("%s is written as %s", (value, expected) => {
    expect(written((writer) => writer.number(value))).toBe(expected);
  });

  it("are decimal strings for bigint beyond 2^53", () => {
    expect(written((writer) => writer.value([1n, -(2n ** 53n), 2n ** 64n]))).toBe(
      '[1,"-9007199254740992","18446744073709551616"]',
    );
  });
});

describe("values", () => {
  it("are strict JSON with the same meaning", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const parsed: unknown = JSON.parse(written((writer) => writer.value(value)));
        expect(parsed).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it("preserve the names of maps in order, including __proto__", () => {
    const map = new Map<string, unknown>([
      ["10", 1],
      ["2", new Map([["__proto__", null]])],
      ["bytes", Uint8Array.of(0, 255)],
    ]);
    expect(written((writer) => writer.value(map))).toBe(
      '{"10":1,"2":{"__proto__":null},"bytes":"AP8="}',
    );
  });

  it(`stop at ${DEPTH_MAX} levels`, () => {
    let deep: unknown = "bottom";
    for (let level = 0; level < 3000; level++) deep = { deep };
    const text = written((writer) => writer.value(deep));
    expect(text).toBe(`${'{"deep":'.repeat(DEPTH_MAX)}"${DEPTH_TEXT}"${"}".repeat(DEPTH_MAX)}`);
  });
});
