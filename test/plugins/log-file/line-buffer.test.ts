import fc from "fast-check";
import { expect, test } from "vitest";
import { LineBuffer } from "../../../plugins/log-file/line-writer.ts";

const line = fc.record({
  text: fc.string({ maxLength: 40 }).map((text) => text.replaceAll("\n", "")),
  /** How many sequences before it are absent. */
  passedOver: fc.oneof(fc.constant(0), fc.nat(3)),
});

/** Returns the buffer's result, line by line. */
function lastLineWithin(
  lines: readonly { end: number; sequence: number }[],
  bytes: number,
): { end: number; sequence: number } | undefined {
  return lines.findLast(({ end }) => end <= bytes);
}

test("returns the last line within the bytes written, wherever the write ended", () => {
  fc.assert(
    fc.property(fc.array(line, { maxLength: 12 }), fc.nat(100), (lines, first) => {
      const buffer = new LineBuffer();
      for (const round of [0, 1]) {
        const known: { end: number; sequence: number }[] = [];
        let sequence = first + round;
        for (const { text, passedOver } of lines) {
          sequence += 1 + passedOver;
          buffer.addLine(Buffer.from(text), sequence);
          known.push({ end: buffer.byteLength, sequence });
        }
        const text = lines.map((one) => `${one.text}\n`).join("");
        expect(Buffer.from(buffer.bytes).toString()).toBe(Buffer.from(text).toString());
        for (let bytes = 0; bytes <= buffer.byteLength; bytes++) {
          expect(buffer.lastLineWithin(bytes)).toEqual(lastLineWithin(known, bytes));
        }
        buffer.clear();
      }
    }),
  );
});
