import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEPTH_MAX, DEPTH_TEXT, JsonWriter } from "../../src/envelope/json-writer.ts";
import { plainValue, VALUES_MAX, VALUES_TEXT } from "../../src/otel/plain-value.ts";

function shown(value: unknown): unknown {
  const writer = JsonWriter.scratch();
  writer.value(plainValue(value));
  return JSON.parse(writer.text());
}

describe("a snapshot of a logged value", () => {
  it("never throws and is always strict JSON", () => {
    const anything = fc.anything({
      withBigInt: true,
      withBoxedValues: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withObjectString: true,
      withSet: true,
      withSparseArray: true,
      withTypedArray: true,
    });
    fc.assert(fc.property(anything, (value) => void shown(value)));
  });

  it("represents values without a JSON form", () => {
    const circular: Record<string, unknown> = { name: "a" };
    circular["self"] = circular;
    class Instance {
      id = 7;
      #secret = 1;
      get secret() {
        return this.#secret;
      }
    }
    expect(
      shown({
        bigint: 2n ** 64n,
        nan: NaN,
        date: new Date(0),
        invalidDate: new Date(NaN),
        map: new Map<unknown, unknown>([
          ["k", 1],
          [{}, 2],
        ]),
        set: new Set([1, "a"]),
        bytes: Buffer.from([1, 2]),
        view: new DataView(Uint8Array.of(255).buffer),
        symbol: Symbol("s"),
        boxed: Object("text"),
        url: new URL("http://localhost/x"),
        instance: new Instance(),
        undefined: undefined,
        list: [undefined, 1],
        circular,
        run() {},
      }),
    ).toEqual({
      bigint: "18446744073709551616",
      nan: "NaN",
      date: "1970-01-01T00:00:00.000Z",
      invalidDate: null,
      map: { k: 1, "[object Object]": 2 },
      set: [1, "a"],
      bytes: "AQI=",
      view: "/w==",
      symbol: "Symbol(s)",
      boxed: "text",
      url: "http://localhost/x",
      instance: { id: 7 },
      list: [null, 1],
      circular: { name: "a", self: "[circular]" },
      run: "[function run]",
    });
  });

  it("shows a repeated object twice if it is not circular", () => {
    const shared = { a: 1 };
    expect(shown([shared, shared])).toEqual([{ a: 1 }, { a: 1 }]);
  });

  it("shows an Error with its cause", () => {
    const error = Object.assign(new TypeError("outer", { cause: new Error("inner") }), {
      code: "E1",
    });
    expect(shown(error)).toMatchObject({
      name: "TypeError",
      message: "outer",
      code: "E1",
      cause: { message: "inner" },
      stack: expect.stringContaining("TypeError: outer"),
    });
  });

  it("replaces unreadable parts and retains the rest", () => {
    const hostile = {
      good: 1,
      get bad(): never {
        throw new Error("no");
      },
      toString: undefined,
      proxy: new Proxy(
        {},
        {
          ownKeys: () => {
            throw new Error("trap");
          },
        },
      ),
      json: {
        toJSON: () => {
          throw {};
        },
      },
    };
    expect(shown(hostile)).toEqual({
      good: 1,
      bad: "[not readable: no]",
      proxy: "[not readable: trap]",
      json: "[not readable: [object Object]]",
    });
  });

  it(`stops at ${VALUES_MAX} values, for linked objects and for long arrays`, () => {
    const peers: Record<string, unknown>[] = Array.from({ length: 20 }, () => ({}));
    for (const peer of peers) Object.assign(peer, peers);
    expect(JSON.stringify(shown(peers[0]))).toContain(VALUES_TEXT);
    const sparse: unknown[] = [];
    sparse.length = 2 ** 32 - 1;
    const list = shown({ sparse }) as { sparse: unknown[] };
    expect(list.sparse.length).toBeLessThanOrEqual(VALUES_MAX + 1);
    expect(list.sparse.at(-1)).toBe(VALUES_TEXT);
    const keys = shown(new Map(Array.from({ length: VALUES_MAX + 9 }, (_, key) => [key, key])));
    expect(Object.keys(keys as object).at(-1)).toBe(VALUES_TEXT);
  });

  it(`stops at ${DEPTH_MAX} levels`, () => {
    let deep: unknown = "bottom";
    for (let level = 0; level < 3000; level++) deep = [deep];
    let at = shown(deep);
    for (let level = 0; level < DEPTH_MAX; level++) at = (at as unknown[])[0];
    expect(at).toBe(DEPTH_TEXT);
  });

  it("does not change with its source afterwards", () => {
    const source = { list: [1], bytes: Uint8Array.of(1) };
    const snapshot = plainValue(source) as Map<string, unknown>;
    source.list.push(2);
    source.bytes[0] = 9;
    expect(snapshot.get("list")).toEqual([1]);
    expect(snapshot.get("bytes")).toEqual(Uint8Array.of(1));
  });
});
