import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { built } from "./built.ts";

/** How many messages come at a time. */
export const TICK_RECORDS = 32;

/** The size of one envelope. */
const MESSAGE_BYTES = 313;

/** Messages that all clients are to get in one go, encoded once. */
export type Tick = RecordBatch;

/** Answers a function that makes ticks, each with memory and numbers of its own. */
export async function tickMaker(): Promise<(count: number) => Tick[]> {
  const { BatchBuilder } = await built<typeof import("../../src/batch/batch-builder.ts")>(
    "src/batch/batch-builder.js",
  );
  const { EnvelopeEncoder } =
    await built<typeof import("../../src/envelope/encoder.ts")>("src/envelope/encoder.js");
  const { partsOfRecord } =
    await built<typeof import("../../src/envelope/encoder.ts")>("src/envelope/encoder.js");
  const { RecordOrigin } =
    await built<typeof import("../../src/batch/origin.ts")>("src/batch/origin.js");
  const { batchOf, recordOf } =
    await built<typeof import("../../src/testing/batch.ts")>("src/testing/batch.js");
  const empty = batchOf([{ body: "" }]).bytes(0).length;
  const record = recordOf({ body: "x".repeat(MESSAGE_BYTES - empty) });
  const parts = partsOfRecord(record);
  const origin = new RecordOrigin(Array(TICK_RECORDS).fill(record));
  const open = new BatchBuilder();
  const encoder = new EnvelopeEncoder(open, 0);
  const make = (): Tick[] => {
    for (let index = 0; index < TICK_RECORDS; index++) encoder.encode(parts, origin, index);
    return open.take();
  };
  // Where memory is exchanged within a tick, it comes in two parts, and another one is made.
  return (count) =>
    Array.from({ length: count }, () => {
      let ticks = make();
      if (ticks.length > 1) ticks = make();
      return ticks[0]!;
    });
}
