import { isDeepStrictEqual } from "node:util";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import type { RequestCounts } from "../../src/otlp/findings.ts";
import { decodeBlocks, encodeBlocks } from "../../src/batch/block.ts";
import { TailgateError } from "tailgate";
import type { LevelRank } from "../../src/wire/envelope.ts";
import { expectedRecords } from "./otlp-oracle.ts";
import { same } from "./target.ts";

type Encode = (body: Uint8Array, open: BatchBuilder, lowest: LevelRank) => RequestCounts;

/** All levels. */
const LOWEST: LevelRank = 0;

/** What the encoder made of a request. */
export interface EncodedRequest {
  readonly batches: readonly RecordBatch[];
  readonly envelopes: readonly string[];
  /** Records below the level; their bodies and attributes are not looked at. */
  readonly filtered: number;
}

/** One for all requests, as in the gateway. */
const open = new BatchBuilder();

/** The end of the memory piece that envelopes are written into is where they have to move. */
const SLAB_BYTES = open.writer.buffer.length;

/** Undefined when the request was rejected as undecodable; then the batch must be as it was before. */
export function encodedRequest(encode: Encode, body: Uint8Array): EncodedRequest | undefined {
  startAt(positionFor(body));
  let filtered: number;
  try {
    ({ filtered } = encode(body, open, LOWEST));
  } catch (error) {
    if (!TailgateError.is(error, "OTLP_UNDECODABLE")) throw error;
    if (!open.isEmpty) throw new Error("A rejected request left records behind.", { cause: error });
    return undefined;
  }
  const batches = open.take();
  return { batches, envelopes: batches.flatMap(envelopesOf), filtered };
}

/** Every other request begins shortly before the end of the memory; the position depends on the request alone. */
function positionFor(body: Uint8Array): number {
  const before = (body.length * 37) % 3000;
  return body.length % 2 === 0 ? 0 : SLAB_BYTES - before;
}

function startAt(position: number): void {
  const { writer } = open;
  const buffer = writer.buffer.length === SLAB_BYTES ? writer.buffer : Buffer.alloc(SLAB_BYTES);
  writer.continueIn(buffer, position);
}

/** The texts of a batch's envelopes. */
export function envelopesOf(batch: RecordBatch): string[] {
  return Array.from({ length: batch.length }, (_, index) =>
    Buffer.from(batch.bytes(index)).toString(),
  );
}

/** In the place of what the journal computes for an audit event. */
const HASH = "ab".repeat(32);

/** Records with more bytes are compared as envelopes only: rebuilding them takes longest. */
const REBUILT_BYTES_MAX = 4096;

/** Checks all forms in which the records leave the encoder: frames, stored blocks, lines and OpenTelemetry records. */
export function checkForms({ batches, envelopes }: EncodedRequest): void {
  if (envelopes.length === 0) return;
  for (const envelope of envelopes) checkEnvelope(envelope);
  let sequence = 1;
  for (const batch of batches) {
    checkFrames(batch);
    batch.firstSequence = sequence;
    sequence += batch.length;
    for (let index = 0; index < batch.length; index++) checkRecord(batch, index);
  }
  checkStored(batches, envelopes);
}

function checkEnvelope(text: string): void {
  const envelope = JSON.parse(text) as { type?: unknown; data?: { timestamp?: unknown } };
  const isKnown = envelope.type === "system_log" || envelope.type === "audit_log";
  const { timestamp } = envelope.data ?? {};
  const hasTime = typeof timestamp === "string" && /^[\d-]{10}T[\d:]{8}\.\d{6}Z$/.test(timestamp);
  if (!isKnown || !hasTime) throw new Error(`This is not an envelope: ${text.slice(0, 200)}`);
}

/** Frames are read as a client reads them (RFC 6455, 5.2). */
function checkFrames(batch: RecordBatch): void {
  const frames = Buffer.from(batch.frames());
  let position = 0;
  for (let index = 0; index < batch.length; index++) {
    let length = frames[position + 1]!;
    let head = 2;
    if (length === 126) {
      length = frames.readUInt16BE(position + 2);
      head = 4;
    } else if (length === 127) {
      length = Number(frames.readBigUInt64BE(position + 2));
      head = 10;
    }
    const payload = frames.toString("utf8", position + head, position + head + length);
    if (frames[position] !== 0x81) throw new Error("A frame is not a whole text frame.");
    same(payload, Buffer.from(batch.bytes(index)).toString(), "A frame's payload");
    position += head + length;
  }
  if (position !== frames.length) throw new Error("There are bytes after the last frame.");
}

function checkRecord(batch: RecordBatch, index: number): void {
  if (batch.type(index) === "audit_log") {
    batch.seal(index, HASH);
    JSON.parse(Buffer.from(batch.auditLine(index)).toString());
  }
  if (batch.size(index) > REBUILT_BYTES_MAX) return;
  const record = batch.record(index);
  const sent = expectedRecords(batch.select((place) => place === index).otlp());
  if (sent.length !== 1 || !isDeepStrictEqual(sent[0], record)) {
    throw new Error("The record that is sent on as OTLP is not the one that was received.");
  }
}

function checkStored(batches: readonly RecordBatch[], envelopes: readonly string[]): void {
  const lanes = encodeBlocks(batches);
  const firstSequence = 1;
  const read = decodeBlocks(lanes.map(({ bytes }) => ({ firstSequence, appendedAtMs: 0, bytes })));
  const stored = envelopesOf(read);
  same(stored.join("\n"), envelopes.join("\n"), "A stored envelope");
}
