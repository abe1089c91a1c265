import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { built } from "./built.ts";

/** Messages per tick. */
export const TICK_RECORDS = 32;

/** The size of one envelope. */
const MESSAGE_BYTES = 313;

/** Messages sent to all clients at once, encoded once. */
export type Tick = RecordBatch;

/** Returns a function that creates ticks, each with its own memory and sequences. */
export async function tickMaker(): Promise<(count: number) => Tick[]> {
  const { BatchBuilder } = await built<typeof import("../../src/batch/batch-builder.ts")>(
    "src/batch/batch-builder.js",
  );
  const { EnvelopeEncoder } =
    await built<typeof import("../../src/envelope/encoder.ts")>("src/envelope/encoder.js");
  const { partsOfRecord } =
    await built<typeof import("../../src/envelope/encoder.ts")>("src/envelope/encoder.js");
  const { originOfRecords } =
    await built<typeof import("../../src/batch/origin.ts")>("src/batch/origin.js");
  const { batchOf, recordOf } =
    await built<typeof import("../../src/testing/batch.ts")>("src/testing/batch.js");
  const empty = batchOf([{ body: "" }]).bytes(0).length;
  const record = recordOf({ body: "x".repeat(MESSAGE_BYTES - empty) });
  const parts = partsOfRecord(record);
  const origin = originOfRecords(Array(TICK_RECORDS).fill(record));
  const open = new BatchBuilder();
  const encoder = new EnvelopeEncoder(open, 0);
  const make = (): Tick[] => {
    for (let index = 0; index < TICK_RECORDS; index++) encoder.encode(parts, origin, index);
    return open.take();
  };
  // If the buffer is replaced within a tick, the tick has two parts, and another one is created.
  return (count) =>
    Array.from({ length: count }, () => {
      let ticks = make();
      if (ticks.length > 1) ticks = make();
      return ticks[0]!;
    });
}
