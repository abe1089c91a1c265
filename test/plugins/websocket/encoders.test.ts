import * as fc from "fast-check";
import { expect, test } from "vitest";
import { batchEncoder, createPlainEncoder } from "../../../plugins/websocket/encoders.ts";
import type { GapMessage, ServerMessage } from "tailgate/plugin";
import { batchOf } from "tailgate/testing";
import { Ledger } from "../../harness/ledger.ts";

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

const type = fc.constantFrom("system_log", "audit_log", undefined);
const reason = fc.constantFrom("slow", "retention", "damaged");

test("a range of any records and gaps means the same after it is split into batch messages", () => {
  const sizes = fc.array(fc.oneof(fc.nat(300), fc.constantFrom(20_000, 59_000, 70_000)), {
    minLength: 1,
    maxLength: 30,
  });
  const gap = fc.record({
    from: fc.integer({ min: 90, max: 140 }),
    length: fc.nat(60),
    type,
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
          ...(more.type && { lane: more.type, record_type: more.type }),
        })) satisfies GapMessage[];
        const chunks = batchEncoder.encode({
          from,
          to,
          records,
          isFiltered: true,
          gaps: told,
          durable: 7,
        });
        const ledger = new Ledger();
        ledger.apply({ type: "hello", epoch: "x" } as ServerMessage);
        for (const chunk of chunks) {
          const texts = textsOf(chunk.bytes);
          expect(texts).toHaveLength(chunk.frames);
          for (const text of texts) ledger.apply(JSON.parse(text) as ServerMessage);
          expect(ledger.resume!.sequence).toBe(chunk.to);
          expect(texts.at(-1)!).toMatch(new RegExp(`"to":${chunk.to},`));
        }
        expect(chunks.at(-1)!.to).toBe(to);
        const indexes = Array.from({ length: records.length }, (_, index) => index);
        expect(ledger.sequences).toEqual(indexes.map((index) => records.sequence(index)));
        expect([...ledger.envelopes.values()]).toEqual(
          indexes.map((index) => records.envelope(index)),
        );
        const covered = Array.from({ length: to - from + 1 }, (_, offset) => from + offset);
        const missing = (list: readonly GapMessage[]): string[] =>
          covered.flatMap((sequence) =>
            [
              ...new Set(
                list
                  .filter((one) => one.from <= sequence && sequence <= one.to)
                  .map((one) => `${sequence} ${one.reason} ${one.lane}`),
              ),
            ].sort(),
          );
        expect(missing(ledger.gaps)).toEqual(missing(told));
      },
    ),
    { numRuns: 300 },
  );
});

test("plain frames are split between frames into chunks that fit, with their sequences", () => {
  const sizes = fc.array(fc.oneof(fc.nat(300), fc.constantFrom(20_000, 64_000, 70_000, 200_000)), {
    minLength: 1,
    maxLength: 30,
  });
  const bufferBytesMax = 192 << 10;
  const chunkBytesMax = bufferBytesMax - (64 << 10);
  fc.assert(
    fc.property(sizes, fc.func(fc.boolean()), (given, keep) => {
      const batch = batchOf(
        given.map((size, index) => ({ body: `${index} ${"x".repeat(size)}` })),
        { firstSequence: 100 },
      );
      const records = batch.select((index) => keep(index));
      const to = 100 + given.length - 1;
      const chunks = createPlainEncoder(bufferBytesMax).encode({
        from: 100,
        to,
        records,
        isFiltered: records !== batch,
        gaps: [],
        durable: to,
      });
      const indexes = Array.from({ length: records.length }, (_, index) => index);
      const texts = chunks.map(({ bytes }) => textsOf(bytes));
      expect(texts.flat()).toEqual(
        indexes.map((index) => Buffer.from(records.bytes(index)).toString()),
      );
      let sent = 0;
      for (const [index, { to: end, frames, bytes }] of chunks.entries()) {
        expect(texts[index]).toHaveLength(frames);
        expect(frames === 1 || bytes.length <= chunkBytesMax).toBe(true);
        sent += frames;
        expect(end).toBe(sent === records.length ? to : records.sequence(sent - 1));
      }
    }),
    { numRuns: 100 },
  );
});
