import { RecordIntake } from "../../src/intake/intake.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { EVENT_KEY } from "../../src/envelope/event-key.ts";
import { TailgateError } from "tailgate";
import { envelopesOf, type EncodedRequest } from "./encoded-request.ts";
import { same, type Timed } from "./target.ts";

export type OtlpForm = "protobuf" | "json";

const PENDING_BYTES_MAX = 60 << 20;

let batches: RecordBatch[] = [];

/** The gateway's own intake, which processes a large request in several turns, with a journal that stores nothing. */
const intake = new RecordIntake({
  logLevel: "DEBUG",
  processors: [],
  pendingBytesMax: PENDING_BYTES_MAX,
  unstoredBytes: () => 0,
  append: (batch) => {
    batches.push(batch);
    return Promise.resolve();
  },
  storedEvents: [],
  log: { info() {}, warning() {}, error() {} },
});

/** Returns the envelopes of a request, or undefined if it is rejected as undecodable. One request at a time. */
export async function ingestedEnvelopes(
  form: OtlpForm,
  body: Uint8Array,
  timed: Timed,
): Promise<string[] | undefined> {
  batches = [];
  // The intake takes ownership of the body.
  const own = Uint8Array.from(body);
  try {
    await timed(() => (form === "json" ? intake.otlpJson(own) : intake.otlpProtobuf(own)));
  } catch (error) {
    if (TailgateError.is(error, "OTLP_UNDECODABLE")) return undefined;
    throw error;
  }
  return batches.flatMap(envelopesOf);
}

let last: Promise<unknown> = Promise.resolve();

/** The same, for checks that run concurrently. */
export function ownEnvelopes(form: OtlpForm, body: Uint8Array): Promise<string[] | undefined> {
  const own = last.then(() => ingestedEnvelopes(form, body, (call) => call()));
  last = own.catch(() => {});
  return own;
}

/**
 * Checks that the intake returns the same envelopes as the encoder. It may reject requests that are far larger than any
 * exporter sends.
 */
export async function checkIngested(
  form: OtlpForm,
  body: Uint8Array,
  encoded: EncodedRequest | undefined,
  timed: Timed,
): Promise<void> {
  const ingested = await ingestedEnvelopes(form, body, timed);
  if (ingested === undefined) {
    if (encoded === undefined || body.length > ALWAYS_ACCEPTED_BYTES) return;
    throw new Error("The intake rejects a request that the encoder accepts.");
  }
  if (encoded === undefined)
    throw new Error("The intake accepts a request that the encoder rejects.");
  const expected = encoded.envelopes;
  // An event with an idempotency key is stored once.
  if (expected.some((envelope) => envelope.includes(EVENT_KEY))) return;
  same(withoutTimes(ingested), withoutTimes(expected), "An ingested envelope");
}

const ALWAYS_ACCEPTED_BYTES = 16 << 10;

/** A record without a time gets its arrival time, which also determines its position. */
function withoutTimes(envelopes: readonly string[]): string {
  return envelopes.map(withoutTime).toSorted().join("\n");
}

/** Returns the envelope without its timestamp, which may be the arrival time. */
export function withoutTime(envelope: string): string {
  return envelope.replace(/"timestamp":"[^"]*"/, "");
}
