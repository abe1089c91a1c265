import type { ServerHttp2Stream } from "node:http2";
import type { ContentCoding } from "./content-coding.ts";
import { Refusal } from "./refusal.ts";
import { tooLarge, unpacked, type BodyBudget, type BodyLimits } from "./request-body.ts";

/** A flag that says whether the message is compressed, and its length. */
const PREFIX_BYTES = 5;

/**
 * Reads the one message of a unary call and unpacks it; `coding` is what `grpc-encoding` names.
 *
 * What is refused is not read to its end: HTTP/2 lets the answer through to a client that still sends.
 * @throws Refusal 400, 413 or 503; the stream's own error where the client goes away.
 */
export async function readMessage(
  stream: ServerHttp2Stream,
  coding: ContentCoding | undefined,
  limits: BodyLimits,
  budget: BodyBudget,
): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    const sent = stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    for await (const chunk of sent) {
      budget.take(chunk.length);
      bytes += chunk.length;
      chunks.push(chunk);
      checkLength(chunks, bytes, limits.bodyBytesMax);
    }
    return await contentOf(Buffer.concat(chunks, bytes), coding, limits, budget);
  } finally {
    budget.give(bytes);
  }
}

/** Refuses what is too large or has a second message as soon as that is known. */
function checkLength(chunks: Buffer[], bytes: number, bytesMax: number): void {
  if (chunks[0]!.length < PREFIX_BYTES) chunks.splice(0, chunks.length, Buffer.concat(chunks));
  if (bytes < PREFIX_BYTES) return;
  const length = chunks[0]!.readUInt32BE(1);
  if (length > bytesMax) throw tooLarge(bytesMax);
  if (bytes > PREFIX_BYTES + length) {
    throw new Refusal(400, `The call has more than its one message of ${length} bytes.`);
  }
}

async function contentOf(
  frame: Buffer,
  coding: ContentCoding | undefined,
  { inflatedBytesMax }: BodyLimits,
  budget: BodyBudget,
): Promise<Uint8Array> {
  if (frame.length === 0) throw new Refusal(400, "The call has no message.");
  if (frame.length < PREFIX_BYTES || frame.length < PREFIX_BYTES + frame.readUInt32BE(1)) {
    throw new Refusal(400, `The message is cut off: the call has ${frame.length} bytes of it.`);
  }
  const flag = frame[0]!;
  const content = frame.subarray(PREFIX_BYTES);
  if (flag === 0) return content;
  if (flag !== 1) throw new Refusal(400, `The message's flag is ${flag}; 0 and 1 are known.`);
  if (coding === undefined) {
    throw new Refusal(400, "The message is marked as compressed, but grpc-encoding names nothing.");
  }
  return unpacked(content, inflatedBytesMax, budget, coding);
}
