import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RecordBatch } from "../harness/records.ts";
import { MemoryJournal } from "../../src/journal/memory.ts";
import { batchOf } from "tailgate/testing";

function batch(...bodies: string[]): RecordBatch {
  return batchOf(bodies.map((body) => ({ body }))) as RecordBatch;
}

describe("the memory journal", () => {
  it("starts empty, with its own epoch", () => {
    const journal = new MemoryJournal();
    expect(journal).toMatchObject({ newest: 0, oldest: 1 });
    expect(journal.readFrom(0)).toBe(undefined);
    expect(journal.readFrom(1)).toBe(undefined);
    expect(journal.epoch).not.toBe(new MemoryJournal().epoch);
  });

  it("gives each record the next sequence", async () => {
    const journal = new MemoryJournal();
    await journal.append(batch("a", "b"));
    await journal.append(batch("c"));
    expect(journal).toMatchObject({ newest: 3, oldest: 1 });
    const second = journal.readFrom(2)!;
    expect(second.length).toBe(1);
    expect(second.sequence(0)).toBe(2);
    expect(second.envelope(0).data.message).toBe("b");
    expect(journal.readFrom(3)!.envelope(0).data.message).toBe("c");
    expect(journal.readFrom(4)).toBe(undefined);
  });

  it("holds a contiguous run of the newest records within its byte limit, and at least one batch", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 0, max: 5000 }),
        (sizes, bytesMax) => {
          const journal = new MemoryJournal(bytesMax);
          for (const size of sizes) void journal.append(batch(...Array<string>(size).fill("x")));
          expect(journal.newest).toBe(sizes.reduce((sum, size) => sum + size));
          expect(
            journal.memoryBytes <= bytesMax || journal.oldest > journal.newest - sizes.at(-1)!,
          ).toBe(true);
          let next = journal.oldest;
          while (next <= journal.newest) {
            const run = journal.readFrom(next)!;
            expect(run.sequence(0)).toBe(next);
            next += run.length;
          }
          expect(next).toBe(journal.newest + 1);
          expect(journal.readFrom(journal.oldest - 1)).toBe(undefined);
        },
      ),
    );
  });
});
