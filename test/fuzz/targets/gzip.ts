import { deflateRawSync, deflateSync, gunzipSync, gzipSync } from "node:zlib";
import { BodyBudget, decompress } from "../../../plugins/otlp-receiver/request-body.ts";
import { costlyRequest } from "../costly-request.ts";
import { ingestedEnvelopes } from "../fuzzed-intake.ts";
import { mutated } from "../mutation.ts";
import type { Random } from "../random.ts";
import type { FuzzTarget, Timed } from "../target.ts";
import { otlpJsonInput } from "./otlp-json.ts";
import { otlpProtobufInput } from "./otlp-protobuf.ts";

/** The receiver's defaults. */
const INFLATED_BYTES_MAX = 20 << 20;
const IN_FLIGHT_BYTES_MAX = 64 << 20;

/** Bodies that are gzipped or claim to be. They must decompress as with zlib, and take no longer than any other body. */
export function gzip(): FuzzTarget {
  return { input: gzipInput, check };
}

const COSTLY_EVERY = 500;
const COSTLY_HALVINGS = 12;

export function gzipInput(random: Random): Uint8Array {
  if (random.once(COSTLY_EVERY)) {
    const bytes = INFLATED_BYTES_MAX / 2 ** random.below(COSTLY_HALVINGS) - random.below(2000);
    return gzipSync(costlyRequest(random, bytes), { level: 1 });
  }
  const content = random.once(2) ? otlpProtobufInput(random) : otlpJsonInput(random);
  const body = packed(content, random);
  return random.once(2) ? body : mutated(body, random);
}

function packed(content: Uint8Array, random: Random): Buffer {
  switch (random.below(12)) {
    case 0:
      return deflateSync(content);
    case 1:
      return deflateRawSync(content);
    case 2: {
      const at = random.below(content.length + 1);
      return Buffer.concat([gzipSync(content.subarray(0, at)), gzipSync(content.subarray(at))]);
    }
    case 3:
      return Buffer.concat([gzipSync(content), Buffer.alloc(random.below(20))]);
    case 4:
      return Buffer.from(content);
    default:
      return gzipSync(content, { level: random.pick([0, 1, 1, 1, 6]) });
  }
}

async function check(body: Uint8Array, timed: Timed): Promise<void> {
  const budget = new BodyBudget(IN_FLIGHT_BYTES_MAX);
  const expected = unpackedByZlib(body);
  // The receiver owns the body and releases its memory.
  const own = Buffer.from(body);
  const content = await timed(() => decompress(own, INFLATED_BYTES_MAX, budget)).catch(refused);
  // All memory must be released.
  budget.acquire(IN_FLIGHT_BYTES_MAX);
  if ((content === undefined) !== (expected === undefined)) {
    throw new Error(`It was ${content ? "decompressed" : "rejected"}, but not by zlib.`);
  }
  if (content === undefined || expected === undefined) return;
  if (!expected.equals(content))
    throw new Error("The decompressed bytes differ from those of zlib.");
  await ingestedEnvelopes(content[0] === OPEN_BRACE ? "json" : "protobuf", content, timed);
}

const OPEN_BRACE = 0x7b;

/** @throws errors other than the rejection of such a body */
function refused(error: unknown): undefined {
  const { status } = error as { status?: number };
  if (status !== 400 && status !== 413) throw error;
}

/** Returns undefined if zlib rejects the body, if it is too large, or if anything but zeros follows its end. */
export function unpackedByZlib(body: Uint8Array): Buffer | undefined {
  try {
    const options = { maxOutputLength: INFLATED_BYTES_MAX, info: true };
    const { buffer, engine } = gunzipSync(body, options) as unknown as {
      buffer: Buffer;
      engine: { bytesWritten: number };
    };
    return body.subarray(engine.bytesWritten).every((byte) => byte === 0) ? buffer : undefined;
  } catch {
    return undefined;
  }
}
