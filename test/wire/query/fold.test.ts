import { expect, test } from "vitest";

import { FOLDED_BYTES, fold, hasUnusualFolding } from "../../../src/wire/query/fold.ts";

test("folded code points are equal if a regular expression says so that ignores case", () => {
  const cased = ALL.filter((character) => hasCase(character) && isNfc(character));
  const others = ALL.filter((character) => !hasCase(character)).join("");
  const isCased = new RegExp(`[${cased.join("")}]`, "iu");
  expect(isCased.exec(others)?.[0]).toBeUndefined();

  const text = cased.join("");
  const differences = cased.filter((character) => {
    const equal = text.match(new RegExp(character, "giu"));
    const folded = fold(character);
    const alike = (byFolding.get(folded) ?? []).filter(isNfc);
    return equal?.join("") !== alike.join("");
  });
  expect(differences).toEqual([]);
});

test("a text is folded like each of its code points, after normalization", () => {
  for (const text of [
    "ΌΣΟΣ ΣΑΣ",
    "İSTANBUL ıI",
    "Straße STRASSE ẞ",
    "\u{1f1f4}𐐀",
    "ſt \u{fb05}\u{fb06}",
    "a\u{d800}B",
  ]) {
    expect(fold(text)).toBe(Array.from(text, fold).join(""));
  }
  expect(fold("CAFE\u{301}")).toBe("caf\u{e9}");
  expect(fold("\u{212a}elvin \u{212b}ngstr\u{f6}m")).toBe("kelvin \u{e5}ngstr\u{f6}m");
  expect(fold("\u{2000}")).toBe("\u{2002}");
  expect(fold("Timeout_42\n")).toBe("timeout_42\n");
});

test("folding moves bytes only of texts that are said to be unusual", () => {
  for (const character of ALL) {
    const text = `Q${character}Q`;
    if (hasUnusualFolding(text)) continue;
    const [bytes, folded] = [Buffer.from(text), Buffer.from(fold(text))];
    const isAligned =
      bytes.length === folded.length &&
      bytes.every((byte, index) =>
        byte < 0x80 ? FOLDED_BYTES[byte] === folded[index] : folded[index]! >= 0x80,
      );
    if (!isAligned) expect.fail(`U+${character.codePointAt(0)!.toString(16)}`);
  }
});

test.each(["\u{212a}", "\u{17f}", "e\u{301}", "\u{37e}", "\u{1e9e}", "\u{1100}\u{1161}"])(
  "%j has an unusual folding",
  (text) => {
    expect(hasUnusualFolding(`x${text}y`)).toBe(true);
  },
);

test.each(["", "ASCII only\n\u{7f}", "\u{c9}t\u{e9}", "\u{130}", "日本語", "𐐀"])(
  "%j has a usual folding",
  (text) => {
    expect(hasUnusualFolding(text)).toBe(false);
  },
);

const ALL = Array.from({ length: 0x11_0000 }, (_, code) => code)
  .filter((code) => code < 0xd800 || code > 0xdfff)
  .map((code) => String.fromCodePoint(code));

const byFolding = Map.groupBy(ALL.filter(hasCase), fold);

function hasCase(character: string): boolean {
  return (
    character !== character.toLowerCase() ||
    character !== character.toUpperCase() ||
    /\p{Changes_When_Casefolded}/u.test(character)
  );
}

function isNfc(character: string): boolean {
  return character.normalize("NFC") === character;
}
