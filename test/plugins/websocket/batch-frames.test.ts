import * as fc from "fast-check";
import { expect, test } from "vitest";
import { unitsOf } from "../../../plugins/websocket/batch-frames.ts";
import type { GapMessage, ServerMessage } from "tailgate/plugin";
import { batchOf } from "tailgate/testing";
import { Ledger } from "./ledger.ts";

/** The payloads of unmasked text frames. */
function textsOf(frames: Uint8Array): string[] {
  const bytes = Buffer.from(frames);
  const texts: string[] = [];
  for (let position = 0; position < bytes.length;) {
    expect(bytes[position]).toBe(0x81);
    let length = bytes[position + 1]!;
    position += 2;
    if (length === 126) {
      length = bytes.readUInt16BE(position);
      position += 2;
    } else if (length === 127) {
      length = Number(bytes.readBigUInt64BE(position));
      position += 8;
    }
    texts.push(bytes.toString("utf8", position, position + length));
    position += length;
  }
  return texts;
}

const lane = fc.constantFrom("system_log", "audit_log", undefined);
const reason = fc.constantFrom("slow", "retention", "damaged");

test("a stretch of any records and gaps says the same after it was cut into messages", () => {
  const sizes = fc.array(fc.oneof(fc.nat(300), fc.constantFrom(20_000, 59_000, 70_000)), {
    minLength: 1,
    maxLength: 30,
  });
  const gap = fc.record({
    from: fc.integer({ min: 90, max: 140 }),
    length: fc.nat(60),
    lane,
    reason,
  });
  fc.assert(
    fc.property(
      sizes,
      fc.array(gap, { maxLength: 3 }),
      fc.nat(20),
      fc.nat(20),
      fc.func(fc.boolean()),
      (given, gaps, before, after, keep) => {
        const batch = batchOf(
          given.map((size, index) => ({ body: `${index} "\u{1f30d}" ${"x".repeat(size)}` })),
          { firstSequence: 100 },
        );
        const records = batch.select((index) => keep(index));
        const from = 100 - before;
        const to = 100 + given.length - 1 + after;
        const told = gaps.map(({ from: start, length, ...more }) => ({
          type: "gap" as const,
          from: start,
          to: start + length,
          reason: more.reason,
          ...(more.lane && { lane: more.lane }),
        })) satisfies GapMessage[];
        const units = unitsOf({ from, to, records, gaps: told, durable: 7 });
        const ledger = new Ledger();
        ledger.take({ type: "hello", epoch: "x" } as ServerMessage);
        for (const unit of units) {
          const texts = textsOf(unit.bytes);
          expect(texts).toHaveLength(unit.frames);
          for (const text of texts) ledger.take(JSON.parse(text) as ServerMessage);
          expect(ledger.resume!.sequence).toBe(unit.to);
          expect(texts.at(-1)!).toMatch(new RegExp(`"to":${unit.to},`));
        }
        expect(units.at(-1)!.to).toBe(to);
        const indexes = Array.from({ length: records.length }, (_, index) => index);
        expect(ledger.sequences).toEqual(indexes.map((index) => records.sequence(index)));
        expect([...ledger.envelopes.values()]).toEqual(
          indexes.map((index) => records.envelope(index)),
        );
        const places = Array.from({ length: to - from + 1 }, (_, offset) => from + offset);
        const missing = (list: readonly GapMessage[]): string[] =>
          places.flatMap((place) =>
            [
              ...new Set(
                list
                  .filter((one) => one.from <= place && place <= one.to)
                  .map((one) => `${place} ${one.reason} ${one.lane}`),
              ),
            ].sort(),
          );
        expect(missing(ledger.gaps)).toEqual(missing(told));
      },
    ),
    { numRuns: 300 },
  );
});
