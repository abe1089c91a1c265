/** Any order in which a gateway can report its records, over connections that break at any point. */

import fc from "fast-check";
import { expect, test } from "vitest";
import type { StreamEvent } from "tailgate/client";
import type { GapMessage } from "tailgate/plugin";
import { StreamPosition } from "../../src/client/position.ts";
import type { BatchMessage } from "../../src/wire/protocol.ts";
import { envelope } from "./faulty-gateway.ts";

/** The journal's content by sequence: a record that matches, one that does not, or a deleted one. */
const journal = fc.array(fc.constantFrom("match", "other", "gone"), {
  minLength: 1,
  maxLength: 60,
});

/** The next batch's length, how far back it starts at most, and whether the connection breaks before or after it. */
const steps = fc.array(
  fc.record({
    length: fc.integer({ min: 1, max: 9 }),
    back: fc.constantFrom(0, 0, 0, 1, 5),
    breaks: fc.constantFrom("not", "not", "before", "behind"),
  }),
  { minLength: 1, maxLength: 40 },
);

function batchOf(contents: readonly string[], from: number, to: number): BatchMessage {
  const sequences: number[] = [];
  for (let sequence = from; sequence <= to; sequence++) {
    if (contents[sequence - 1] === "match") sequences.push(sequence);
  }
  const envelopes = sequences.map((sequence) => envelope(String(sequence)));
  return { type: "batch", from, to, durable: 0, sequences, envelopes } as unknown as BatchMessage;
}

function gapsOf(contents: readonly string[], from: number, to: number): GapMessage[] {
  const gaps: GapMessage[] = [];
  for (let sequence = from; sequence <= to; sequence++) {
    if (contents[sequence - 1] !== "gone") continue;
    gaps.push({ type: "gap", from: sequence, to: sequence, reason: "retention" });
  }
  return gaps;
}

test("each matching record is delivered once and in order, each deleted one as a gap", () => {
  fc.assert(
    fc.property(journal, steps, (contents, plan) => {
      const position = new StreamPosition({ epoch: "e", sequence: 0 });
      const events: StreamEvent[] = [];
      position.connect("e");
      const deliver = (from: number, to: number, breaks: string): void => {
        for (const gap of gapsOf(contents, from, to)) events.push(...position.addGap(gap));
        if (breaks === "before") return position.connect("e");
        events.push(...position.advanceByBatch(batchOf(contents, from, to)));
        if (breaks === "behind") position.connect("e");
      };
      for (const { length, back, breaks } of plan) {
        const next = position.resume!.sequence + 1;
        const to = Math.min(contents.length, next + length - 1);
        if (to >= next) deliver(Math.max(1, next - back), to, breaks);
      }
      const next = position.resume!.sequence + 1;
      if (next <= contents.length) deliver(next, contents.length, "not");

      const told = events.flatMap((event) => (event.type === "records" ? event.entries : []));
      const gone = events.flatMap((event) => (event.type === "gap" ? [event.gap.from] : []));
      const all = (kind: string): number[] =>
        contents.flatMap((content, index) => (content === kind ? [index + 1] : []));
      expect(told.map(({ sequence }) => sequence)).toEqual(all("match"));
      expect([...new Set(gone)]).toEqual(all("gone"));
      expect(position.resume!.sequence).toBe(contents.length);
    }),
    { numRuns: 2_000 },
  );
});

test("records that were not stored are forgotten from there on, and reported once", () => {
  const position = new StreamPosition({ epoch: "old", sequence: 10, durable: 7 });
  position.connect("new");
  const gap = { type: "gap", from: 8, to: 10, reason: "epoch" } as const;
  expect(position.addGap(gap)).toEqual([
    {
      type: "reset",
      epoch: "new",
      from: 8,
      to: 10,
      reason: "The gateway crashed, and its records from 8 on had not been stored.",
    },
  ]);
  expect(position.resume).toEqual({ epoch: "new", sequence: 7, durable: 7 });
  expect(position.advanceByBatch(batchOf(Array(9).fill("match"), 8, 9))).toMatchObject([
    { type: "records", from: 8, to: 9, entries: [{ sequence: 8 }, { sequence: 9 }] },
  ]);
});

test("a delivered record that turns out not to be stored is reported as a gap at once", () => {
  const position = new StreamPosition({ epoch: "e", sequence: 10 });
  position.connect("e");
  const range = { from: 3, to: 4, reason: "not_stored" } as const;
  expect(position.addGap({ type: "gap", ...range })).toEqual([{ type: "gap", gap: range }]);
  expect(position.resume!.sequence).toBe(10);
});

test("the number of gaps retained before a batch is bounded", () => {
  const position = new StreamPosition();
  position.connect("e");
  const push = (): void => {
    for (let from = 1; from <= 20_000; from++) {
      position.addGap({ type: "gap", from, to: from, reason: "slow" });
    }
  };
  expect(push).toThrow("too many gaps");
});

test.each([
  { record_type: "audit_log", lane: "audit_log" },
  { record_type: "audit_log" },
  { lane: "audit_log" },
])("accepts either name of a gap's type: %o", (names) => {
  const position = new StreamPosition({ epoch: "e", sequence: 4 });
  position.connect("e");
  const gap = { type: "gap", from: 3, to: 4, reason: "retention", ...names } as GapMessage;
  const range = { from: 3, to: 4, reason: "retention", type: "audit_log", lane: "audit_log" };
  expect(position.addGap(gap)).toEqual([{ type: "gap", gap: range }]);
});
