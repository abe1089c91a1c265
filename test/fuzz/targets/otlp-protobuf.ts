import { isDeepStrictEqual } from "node:util";
import { decodeOtlpProtobuf } from "../../../src/otlp/decode.ts";
import { encodeOtlpProtobuf } from "../../../src/otlp/request-encoder.ts";
import { TailgateError } from "tailgate";
import type { LogRecord } from "tailgate/plugin";
import { envelopesOfRecords } from "../../harness/records.ts";
import { reordered, toProtobuf } from "../../encode/generated-request.ts";
import { checkForms, encodedRequest, type EncodedRequest } from "../encoded-request.ts";
import { checkIngested } from "../fuzzed-intake.ts";
import { otlpRequest } from "../generated-otlp.ts";
import { mutated } from "../mutation.ts";
import { atFixedTime, expectedRecords } from "../otlp-oracle.ts";
import type { Random } from "../random.ts";
import { same, type FuzzTarget, type Timed } from "../target.ts";

/** Requests in protobuf. All formats of their records must agree with what protobufjs decodes. */
export function otlpProtobuf(): FuzzTarget {
  return {
    input: otlpProtobufInput,
    check,
  };
}

export function otlpProtobufInput(random: Random): Uint8Array {
  const body = toProtobuf(otlpRequest(random));
  const ordered = random.once(4) && body.length > 0 ? reordered(body, random.below(1000)) : body;
  return random.once(2) ? ordered : mutated(ordered, random);
}

async function check(body: Uint8Array, timed: Timed): Promise<void> {
  const encoded = atFixedTime(() => checked(body));
  await checkIngested("protobuf", body, encoded, timed);
}

function checked(body: Uint8Array): EncodedRequest | undefined {
  const encoded = encodedRequest(encodeOtlpProtobuf, body);
  const decoded = decodedByUs(body);
  if (decoded === undefined) {
    if (encoded === undefined || encoded.filtered > 0) return encoded;
    throw new Error("The encoder accepts a request that the decoder rejects.");
  }
  if (encoded === undefined)
    throw new Error("The encoder rejects a request that the decoder accepts.");
  const expected = expectedRecords(body);
  if (!isDeepStrictEqual(decoded, expected))
    throw new Error("protobufjs decodes different records.");
  same(encoded.envelopes.join("\n"), envelopesOfRecords(expected).join("\n"), "An envelope");
  checkForms(encoded);
  return encoded;
}

function decodedByUs(body: Uint8Array): LogRecord[] | undefined {
  try {
    return decodeOtlpProtobuf(body);
  } catch (error) {
    if (TailgateError.is(error, "OTLP_UNDECODABLE")) return undefined;
    throw error;
  }
}
