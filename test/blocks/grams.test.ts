import fc from "fast-check";
import { expect, test } from "vitest";
import { buildFilter, mayHave, partOf } from "../../src/blocks/gram-filter.ts";
import { gramsOf, type GramSet } from "../../src/blocks/grams.ts";
import type { JsonValue } from "../../src/wire/envelope.ts";
import { fold, hasUnusualFolding } from "../../src/wire/query/fold.ts";

function mayContain(parts: readonly Uint8Array[], text: string): boolean {
  return gramsOf(fold(text)).every((gram) => mayHave(parts[partOf(gram)]!, gram));
}

function filterOf(...values: readonly JsonValue[]): readonly Uint8Array[] {
  return buildFilter(values.length, (grams) => {
    for (const value of values) grams.addJson(value);
  }).parts;
}

/** Letters that fold or compose in unusual ways, and what they compose with. */
const LETTERS =
  "k K \u212A s S \u017F i I \u0130 \u0131 \u00DF \u1E9E \u03A3 \u03C3 \u03C2 \u00C5 \u212B \u01C4 \u01C5 \u01C6 " +
  "\u1F80 \u1E00 \u00C4 A e \u0308 \u0301 \u0323 \u0307 \u1100 \u1161 \u11A8 \uAC01 \u65E5 \u672C \u{1F600} \u{10400} \u{10428}";
const letter = fc.constantFrom(...LETTERS.split(" "));

const ID_CHARACTERS = "a b c d e f K S T Z 0 1 2 3 4 5 6 7 8 9 - _";
const OTHERS = [
  " ",
  ".",
  ":",
  "/",
  "+",
  "@",
  "=",
  ",",
  "(",
  "[",
  "\u00A0",
  "\u2028",
  "\uFFFD",
  "\0",
  "\n",
  '"',
  "\\",
];
const character = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...ID_CHARACTERS.split(" ")) },
  { weight: 2, arbitrary: fc.constantFrom(...OTHERS) },
  { weight: 2, arbitrary: letter },
);
const unusualText = fc.string({ unit: character, maxLength: 60 });

const digits = fc.stringMatching(/^\d{1,20}$/);
const text = fc.oneof(
  unusualText,
  fc.string({ unit: letter, minLength: 4, maxLength: 20 }),
  fc.uuid(),
  fc.stringMatching(/^[0-9a-f]{16,32}$/),
  fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
  fc.tuple(unusualText, fc.uuid(), unusualText).map((parts) => parts.join("")),
  fc.tuple(fc.stringMatching(/^[A-Za-z]{0,12}$/), digits).map((parts) => parts.join("-")),
  fc.lorem({ maxCount: 5 }),
  fc.base64String({ maxLength: 60 }),
);
const number = fc.oneof(fc.double(), fc.integer(), fc.maxSafeInteger(), fc.float());
const value: fc.Arbitrary<JsonValue> = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    text,
    text,
    number.filter((found) => Number.isFinite(found)),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom("name", "id", "nested"), tie("value"), { maxKeys: 3 }),
  ),
})).value;

function textsOf(from: JsonValue): string[] {
  if (typeof from !== "object" || from === null) return [String(from)];
  return Object.values(from).flatMap((inner: JsonValue) => textsOf(inner));
}

const changes = fc.constantFrom<(text: string) => string>(
  (same) => same,
  (same) => same.toUpperCase(),
  (same) => same.toLowerCase(),
  (same) => same.normalize("NFD"),
  (same) => same.normalize("NFC"),
);

/** A text and a part of it, in another form. */
function partsOfTexts(
  texts: readonly string[],
  cuts: readonly number[],
  change: (t: string) => string,
): string[] {
  return texts.map((whole, index) => {
    const [one, other] = [cuts[2 * index]!, cuts[2 * index + 1]!].map((cut) =>
      Math.floor(cut * (whole.length + 1)),
    );
    return change(whole.slice(Math.min(one!, other!), Math.max(one!, other!)));
  });
}

test("a text that a value contains is never excluded", () => {
  const cut = fc.nat(999).map((thousandths) => thousandths / 1000);
  const cuts = fc.infiniteStream(cut);
  fc.assert(
    fc.property(
      fc.array(value, { minLength: 1, maxLength: 8 }),
      cuts,
      changes,
      (values, stream, change) => {
        const texts = values.flatMap(textsOf);
        const parts = filterOf(...values);
        const missed: string[] = [];
        for (const searched of partsOfTexts(texts, [...stream.take(2 * texts.length)], change)) {
          const isThere = texts.some((whole) => fold(whole).includes(fold(searched)));
          if (isThere && !mayContain(parts, searched)) missed.push(searched);
        }
        expect(missed).toEqual([]);
      },
    ),
    { numRuns: 600 },
  );
});

test("values of a column in UTF-8 have the same grams as strings", () => {
  fc.assert(
    fc.property(fc.array(text, { maxLength: 6 }), (texts) => {
      const column = Buffer.concat(texts.flatMap((one) => [Buffer.from(one), Buffer.of(0xff)]));
      const { parts, hasUnusualFolding: isUnusual } = buildFilter(1, (grams) =>
        grams.addText(column),
      );
      expect(texts.filter((one) => !mayContain(parts, one))).toEqual([]);
      expect(isUnusual).toBe(texts.some(hasUnusualFolding));
    }),
    { numRuns: 200 },
  );
});

test("a text that no value contains is excluded if it has a word or an id", () => {
  const parts = filterOf("worker 4711 restarted, request 2f1c9a3e-77aa-4c1f-b1de-0123456789ab", {
    role: ["Überprüfung", true],
    size: 123456789,
  });
  const present = ["RESTART", "9a3e-77aa-4c1f", "prüfung", "ÜBER", "true", "12345678"];
  expect(present.filter((one) => mayContain(parts, one))).toEqual(present);
  const absent = ["timeout", "9a3e-77ab-4c1f", "Prüfzug", "false", "123456780", "日本語"];
  expect(absent.filter((one) => mayContain(parts, one))).toEqual([]);
});

test("short texts and parts of timestamps say nothing", () => {
  expect(["", "the", "47-11-1", "a b c"].flatMap(gramsOf)).toEqual([]);
  const times = fc.date({ noInvalidDate: true, min: new Date(0), max: new Date("9999-12-31") });
  fc.assert(
    fc.property(times, fc.nat(999), fc.nat(26), fc.nat(26), (time, micros, start, end) => {
      const timestamp = `${time.toISOString().slice(0, -1)}${String(micros).padStart(3, "0")}Z`;
      expect(gramsOf(fold(timestamp.slice(start, end)))).toEqual([]);
    }),
  );
});

test("half of a character is not searched for", () => {
  const parts = filterOf("\u{1F600}abcd");
  expect(mayContain(parts, "\uDE00abcd")).toBe(true);
});

function ids(count: number): string[] {
  let state = 1;
  const next = (): string => {
    state = Math.imul(state, 1_664_525) + 1_013_904_223;
    return (state >>> 0).toString(16).padStart(8, "0");
  };
  return Array.from({ length: count }, () => next() + next() + next() + next());
}

test("with many ids, the filter has those of 16 characters", () => {
  const values = ids(10_000);
  const parts = filterOf(
    ...values.slice(0, 9000).map((id) => `${id} ${id.split("").toReversed().join("")}`),
  );
  expect(parts).not.toEqual([]);
  for (const id of values.slice(0, 9000)) {
    expect(mayContain(parts, id)).toBe(true);
    expect(mayContain(parts, id.slice(5, 21).toUpperCase())).toBe(true);
    expect(mayContain(parts, id.slice(5, 13))).toBe(true);
  }
  const found = values.slice(9000).filter((id) => mayContain(parts, id));
  expect(found.length).toBeLessThan(10);
});

test("with too many grams, there is no filter", () => {
  expect(filterOf(...ids(20_000).map((id) => id.repeat(4)))).not.toEqual([]);
  expect(filterOf(ids(40_000).join(""))).toEqual([]);
});

test("with too many long numbers, the filter says nothing about them", () => {
  const feed = (grams: GramSet): void => {
    for (let index = 1; index < 9000; index++) grams.addNumber(1 / index);
    grams.addString("order 123456789012 shipped");
  };
  const { parts } = buildFilter(9000, feed);
  expect(mayContain(parts, String(1 / 7))).toBe(true);
  expect(mayContain(parts, "99999999")).toBe(true);
  expect(mayContain(parts, "order-99999999")).toBe(false);
});
