import { RecordIntake } from "../../src/intake/intake.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { EVENT_KEY } from "../../src/envelope/event-key.ts";
import { TailgateError } from "tailgate";
import { envelopesOf, type EncodedRequest } from "./encoded-request.ts";
import { same, type Timed } from "./target.ts";

export type OtlpForm = "protobuf" | "json";

const PENDING_BYTES_MAX = 60 << 20;

let batches: RecordBatch[] = [];

/** The gateway's own way in, which works on a large request in more than one turn; its journal keeps nothing. */
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

/** The envelopes of a request; undefined when it is rejected as its sender's fault. Only one request at a time. */
export async function ingestedEnvelopes(
  form: OtlpForm,
  body: Uint8Array,
  timed: Timed,
): Promise<string[] | undefined> {
  batches = [];
  // It keeps what it is given.
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

/** The same for checks of which several are under way. */
export function ownEnvelopes(form: OtlpForm, body: Uint8Array): Promise<string[] | undefined> {
  const own = last.then(() => ingestedEnvelopes(form, body, (call) => call()));
  last = own.catch(() => {});
  return own;
}

/**
 * The intake gives the envelopes that the encoder gives. It may reject what is far larger than any exporter sends.
 */
export async function checkIngested(
  form: OtlpForm,
  body: Uint8Array,
  encoded: EncodedRequest | undefined,
  timed: Timed,
): Promise<void> {
  const ingested = await ingestedEnvelopes(form, body, timed);
  if (ingested === undefined) {
    if (encoded === undefined || body.length > ALWAYS_TAKEN_BYTES) return;
    throw new Error("The intake rejects what the encoder accepts.");
  }
  if (encoded === undefined) throw new Error("The intake accepts what the encoder rejects.");
  const expected = encoded.envelopes;
  // An event that its sender has named is stored once.
  if (expected.some((envelope) => envelope.includes(EVENT_KEY))) return;
  same(withoutTimes(ingested), withoutTimes(expected), "An ingested envelope");
}

const ALWAYS_TAKEN_BYTES = 16 << 10;

/** A record without a time has that of its arrival, and its place among the others. */
function withoutTimes(envelopes: readonly string[]): string {
  return envelopes.map(withoutTime).toSorted().join("\n");
}

/** An envelope as far as it does not depend on the moment of its arrival. */
export function withoutTime(envelope: string): string {
  return envelope.replace(/"timestamp":"[^"]*"/, "");
}
