import { describe, expect, it } from "vitest";
import { EnvelopeEncoder, partsOfRecord } from "../../src/envelope/encoder.ts";
import { JsonWriter, RECORD_BYTES_MAX } from "../../src/envelope/json-writer.ts";
import { BatchBuilder, type AuditGate } from "../../src/batch/batch-builder.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { originOfRecords } from "../../src/batch/origin.ts";
import { AUDIT_LOGGER } from "tailgate";
import type { LogRecord, Value } from "tailgate/plugin";
import { recordOf } from "tailgate/testing";
import { lengthDelimited } from "./generated-request.ts";
import { soundEnvelopes } from "./sound-batch.ts";

const SLAB_BYTES = 1 << 20;

const AUDIT = { name: AUDIT_LOGGER, version: "", attributes: new Map() };

function encode(open: BatchBuilder, given: Partial<LogRecord>): void {
  const record = recordOf(given);
  new EnvelopeEncoder(open, 0).encode(partsOfRecord(record), originOfRecords([record]), 0);
}

/** A value that throws after it is partly written. */
function throwing(before: Value): Value {
  const list = [before, null];
  Object.defineProperty(list, 1, {
    get: () => {
      throw new Error("not readable");
    },
  });
  return list;
}

/** Encodes a record that fails partway. */
function encodeInPart(open: BatchBuilder, value: Value): void {
  const attributes = new Map([["list", value]]);
  const parts = partsOfRecord(recordOf({ attributes }));
  const origin = originOfRecords([recordOf({})]);
  expect(() => new EnvelopeEncoder(open, 0).encode(parts, origin, 0)).toThrow("not readable");
  open.abandon();
}

function messagesOf(open: BatchBuilder): string[] {
  return soundEnvelopes(open.take()).map(
    (text) => (JSON.parse(text) as { data: { message: string } }).data.message,
  );
}

describe("the batch builder", () => {
  it("retains committed records when a record that needed more memory is abandoned and a request rejected", () => {
    const open = new BatchBuilder();
    encode(open, { body: "first" });
    encodeInPart(open, throwing("x".repeat(SLAB_BYTES)));
    const damaged = lengthDelimited(1, Buffer.from([0x12, 0x05]));
    expect(() => encodeOtlpProtobuf(damaged, open, 0)).toThrow("OTLP request is wrong");
    encode(open, { body: "second" });
    expect(messagesOf(open)).toEqual(["first", "second"]);
  });

  it("retains accepted records when the next request is rejected", () => {
    const open = new BatchBuilder();
    encode(open, { body: "first" });
    const taken = open.take();
    encodeInPart(open, throwing("x".repeat(SLAB_BYTES)));
    open.rollback(open.savepoint());
    encode(open, { body: "second" });
    expect(messagesOf(open)).toEqual(["second"]);
    expect(soundEnvelopes(taken)).toHaveLength(1);
  });

  it("writes the values of the next record to full depth after one whose value threw", () => {
    const open = new BatchBuilder();
    for (let times = 0; times < 60; times++) encodeInPart(open, [throwing("x")]);
    encode(open, { body: "next", attributes: new Map([["nested", [[["deep"]]]]]) });
    const [text] = soundEnvelopes(open.take());
    expect(text).toContain('"nested":[[["deep"]]]');
  });

  it("omits an audit event whose gate threw", () => {
    let isBroken = false;
    const gate: AuditGate = {
      admits: () => {
        if (isBroken) throw new Error("broken");
        return true;
      },
      savepoint: () => ({ open: 0, repeats: 0 }),
      rollback: () => {},
    };
    const open = new BatchBuilder(gate);
    encode(open, { body: "first", scope: AUDIT });
    isBroken = true;
    expect(() => encode(open, { body: "refused", scope: AUDIT })).toThrow("broken");
    isBroken = false;
    encode(open, { body: "second", scope: AUDIT });
    expect(messagesOf(open)).toEqual(["first", "second"]);
  });

  it("has no envelope short enough for the shortest frame header", () => {
    const open = new BatchBuilder();
    encode(open, { body: "", scope: AUDIT });
    encode(open, { body: "", scope: { name: "x", version: "", attributes: new Map() } });
    const [audit, system] = soundEnvelopes(open.take());
    expect(audit!.length).toBeGreaterThan(125);
    expect(system!.length).toBeGreaterThan(125);
  });
});

describe("a record of a plugin", () => {
  it("leaves nothing behind in the next one if it cannot be written as OTLP", () => {
    const scope = { name: "x", version: "", attributes: 7 } as unknown as LogRecord["scope"];
    expect(() => originOfRecords([recordOf({ scope })])).toThrow("not iterable");
    expect(originOfRecords([recordOf({ body: "next" })]).record(0)).toMatchObject({
      body: "next",
      scope: { name: "orchestrator.server" },
    });
  });

  it.each([-1n, -1500n, -(10n ** 18n)])("of the time %s gets the current time", (time) => {
    const open = new BatchBuilder();
    encode(open, { timestamp: time, observedTimestamp: time });
    const [text] = soundEnvelopes(open.take());
    const { data } = JSON.parse(text!) as { data: { timestamp: string } };
    expect(Date.parse(data.timestamp)).toBeGreaterThan(Date.now() - 60_000);
  });
});

describe("a writer", () => {
  it("needs no more memory for a long text than its JSON, and the same again", () => {
    const chars = 8 << 20;
    const writer = JsonWriter.scratch();
    writer.string("x".repeat(chars));
    expect(writer.buffer.length).toBeLessThan(2.1 * chars);
    const escaped = JsonWriter.scratch();
    escaped.string("\n".repeat(chars));
    expect(escaped.buffer.length).toBeLessThan(4.2 * chars);
  });

  it("rejects a record that does not fit in a batch and a row of the journal", () => {
    const writer = JsonWriter.scratch();
    expect(() => writer.reserve(RECORD_BYTES_MAX + 1)).toThrow("more than 268435456 bytes");
    writer.string("next");
    expect(writer.text()).toBe('"next"');
  });
});
