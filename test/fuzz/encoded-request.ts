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

/** The result of encoding a request. */
export interface EncodedRequest {
  readonly batches: readonly RecordBatch[];
  readonly envelopes: readonly string[];
  /** Number of records below the level; their bodies and attributes are not checked. */
  readonly filtered: number;
}

/** Shared by all requests, as in the gateway. */
const open = new BatchBuilder();

/** Size of the buffer that envelopes are written to. Near its end, they have to move to a new one. */
const SLAB_BYTES = open.writer.buffer.length;

/** Encodes a request. Returns undefined if it was rejected as undecodable; the batch must then be unchanged. */
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

/** Returns a position that depends only on the request; every other one is shortly before the end of the buffer. */
function positionFor(body: Uint8Array): number {
  const before = (body.length * 37) % 3000;
  return body.length % 2 === 0 ? 0 : SLAB_BYTES - before;
}

function startAt(position: number): void {
  const { writer } = open;
  const buffer = writer.buffer.length === SLAB_BYTES ? writer.buffer : Buffer.alloc(SLAB_BYTES);
  writer.continueIn(buffer, position);
}

/** Returns a batch's envelopes as strings. */
export function envelopesOf(batch: RecordBatch): string[] {
  return Array.from({ length: batch.length }, (_, index) =>
    Buffer.from(batch.bytes(index)).toString(),
  );
}

/** Stands for the hash that the journal computes for an audit event. */
const HASH = "ab".repeat(32);

/** Larger records are compared as envelopes only, because rebuilding them is slow. */
const REBUILT_BYTES_MAX = 4096;

/** Checks all formats of encoded records: frames, stored blocks, audit lines and OpenTelemetry records. */
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
  if (!isKnown || !hasTime) throw new Error(`Not an envelope: ${text.slice(0, 200)}`);
}

/** Reads the frames like a client (RFC 6455, 5.2). */
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
    if (frames[position] !== 0x81) throw new Error("A frame is not a complete text frame.");
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
    throw new Error("The record that is exported as OTLP differs from the one that was received.");
  }
}

function checkStored(batches: readonly RecordBatch[], envelopes: readonly string[]): void {
  const blocks = encodeBlocks(batches);
  const firstSequence = 1;
  const read = decodeBlocks(blocks.map(({ bytes }) => ({ firstSequence, appendedAtMs: 0, bytes })));
  const stored = envelopesOf(read);
  same(stored.join("\n"), envelopes.join("\n"), "A stored envelope");
}
