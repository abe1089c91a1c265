import { expect } from "vitest";
import { auditHash, NO_HASH } from "../../src/envelope/audit-line.ts";
import type { RecordBatch } from "../harness/records.ts";
import { decodeBlocks, encodeBlocks } from "../../src/batch/block.ts";
import type { Batch, Envelope } from "tailgate/plugin";

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Returns the texts of a batch's envelopes. Checks that each is JSON in valid UTF-8 that agrees
 * with the batch.
 */
export function soundTexts(batch: Batch): string[] {
  return Array.from({ length: batch.length }, (_, index) => {
    const text = strictUtf8.decode(batch.bytes(index));
    const envelope = JSON.parse(text) as Envelope;
    expect(envelope.type).toBe(batch.type(index));
    expect(envelope.data.level).toBe(batch.level(index));
    expect(envelope.data.logger).toBe(batch.logger(index));
    expect(JSON.parse(strictUtf8.decode(batch.data(index)))).toEqual(envelope.data);
    expect(batch.envelope(index)).toEqual(envelope);
    expect(batch.size(index)).toBe(batch.bytes(index).length);
    return text;
  });
}

/**
 * Returns the payloads of unmasked text frames (RFC 6455, 5.2), with the length in its shortest
 * form.
 */
function payloadsOf(frames: Uint8Array): string[] {
  const view = new DataView(frames.buffer, frames.byteOffset, frames.byteLength);
  const payloads: string[] = [];
  for (let position = 0; position < frames.length;) {
    expect(view.getUint8(position)).toBe(0x81);
    let length = view.getUint8(position + 1);
    position += 2;
    if (length === 126) {
      length = view.getUint16(position);
      expect(length).toBeGreaterThan(125);
      position += 2;
    } else if (length === 127) {
      length = Number(view.getBigUint64(position));
      expect(length).toBeGreaterThan(0xffff);
      position += 8;
    }
    expect(position + length).toBeLessThanOrEqual(frames.length);
    payloads.push(strictUtf8.decode(frames.subarray(position, position + length)));
    position += length;
  }
  return payloads;
}

/**
 * Returns the envelopes of consecutive batches. Checks that their frames, the lines of their audit
 * events, and their stored form agree with them.
 */
export function soundEnvelopes(batches: readonly RecordBatch[]): string[] {
  let sequence = 1;
  for (const batch of batches) {
    batch.firstSequence = sequence;
    sequence += batch.length;
  }
  const texts = batches.map(soundTexts);
  for (const [place, batch] of batches.entries()) {
    expect(payloadsOf(batch.frames())).toEqual(texts[place]);
    expectSystemData(batch);
    expectAuditLines(batch);
  }
  if (batches.length > 0) expectStored(batches, texts.flat());
  return texts.flat();
}

/** What the console and the files read of system logs. */
function expectSystemData(batch: Batch): void {
  const system = batch.select((index) => batch.type(index) === "system_log");
  for (let index = 0; index < system.length; index++) {
    const data = Buffer.from(system.data(index)).toString();
    const envelope = Buffer.from(system.bytes(index)).toString();
    expect(envelope).toBe(`{"type":"system_log","data":${data}}`);
  }
}

/** Also seals the audit events, as the journal does. */
function expectAuditLines(batch: RecordBatch): void {
  for (let index = 0; index < batch.length; index++) {
    if (batch.type(index) === "system_log") continue;
    const { message } = batch.envelope(index).data;
    expect(lineOf(batch, index)["event"]).toBe(message);
    const hash = auditHash(NO_HASH, batch.data(index), batch.sequence(index));
    batch.seal(index, hash);
    const sealed = { event: message, seq: batch.sequence(index), hash };
    expect(lineOf(batch, index)).toMatchObject(sealed);
  }
}

function lineOf(batch: Batch, index: number): Record<string, unknown> {
  return JSON.parse(strictUtf8.decode(batch.auditLine(index))) as Record<string, unknown>;
}

function expectStored(batches: readonly RecordBatch[], texts: readonly string[]): void {
  const blocks = encodeBlocks(batches);
  for (const { timeMin, timeMax } of blocks) expect(timeMin).toBeLessThanOrEqual(timeMax);
  const read = decodeBlocks(
    blocks.map(({ bytes }) => ({ firstSequence: 1, appendedAtMs: 0, bytes })),
  );
  expect(soundTexts(read)).toEqual(texts);
  expect(payloadsOf(read.frames())).toEqual(texts);
}
