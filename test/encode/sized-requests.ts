/** Requests with records of sizes around the boundaries of all formats, among similar ones. */

import fc from "fast-check";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { envelopesOf } from "../harness/records.ts";
import { toProtobuf, type JsonRequest } from "./generated-request.ts";

const MIB = 1 << 20;

/** Lengths at which frames, varints, the byte path and memory slabs change. */
const SMALL = [0, 126, 128, 1 << 14];
const LARGE = [1 << 16];
const HUGE = [MIB, 2 * MIB];

/** Characters by how many bytes they take on the wire and in JSON. */
const FILLERS = ["x", '"', "\n", "é", "\u{1f600}", "\u0001"];

interface Size {
  readonly boundary: number;
  readonly off: number;
  readonly filler: string;
  /** Whether the envelope gets this size, or the text on the wire. */
  readonly isOfEnvelope: boolean;
}

const sizeAt = (boundaries: readonly number[], fillers = FILLERS): fc.Arbitrary<Size> =>
  fc.record({
    boundary: fc.constantFrom(...boundaries),
    off: fc.integer({ min: -8, max: 8 }),
    filler: fc.constantFrom(...fillers),
    isOfEnvelope: fc.boolean(),
  });

/** What records have in common. */
interface Model {
  readonly scope: string;
  readonly attributes: readonly object[];
  readonly traceId: string;
}

/** The keys include that of events which are stored once, however often they arrive. */
const attribute = fc.record({
  key: fc.constantFrom("a", "level", "code.function.name", "service", "log.record.uid"),
  value: fc.oneof(
    {
      weight: 12,
      arbitrary: fc.constantFrom(
        { stringValue: "x" },
        { stringValue: '"\n' },
        { kvlistValue: { values: [{ key: "k", value: {} }] } },
      ),
    },
    {
      weight: 6,
      arbitrary: fc
        .integer({ min: 105, max: 130 })
        .map((length) => ({ stringValue: "z".repeat(length) })),
    },
    { weight: 1, arbitrary: fc.constant({ stringValue: "z".repeat(1 << 16) }) },
  ),
});

const model: fc.Arbitrary<Model> = fc.record({
  scope: fc.constantFrom("orchestrator.server", "orchestrator.server", "orchestrator.audit"),
  attributes: fc.uniqueArray(attribute, { maxLength: 3, selector: ({ key }) => key }),
  traceId: fc.constantFrom("", "4bf92f3577b34da6a3ce929d0e0e4736"),
});

export interface SizedRequest {
  readonly models: readonly Model[];
  readonly records: readonly { readonly model: number; readonly size: Size }[];
  /** Whether one of its records is damaged. */
  readonly isRefused: boolean;
}

const requestAt = (size: fc.Arbitrary<Size>): fc.Arbitrary<SizedRequest> =>
  fc.record({
    models: fc.array(model, { minLength: 1, maxLength: 2 }),
    records: fc.array(fc.record({ model: fc.nat(1), size }), { minLength: 2, maxLength: 6 }),
    isRefused: fc.constantFrom(false, false, false, true),
  });

/** A very large record among small ones: it alone takes longer than many others. */
export const withHuge = fc
  .tuple(requestAt(sizeAt(SMALL)), fc.nat(6), sizeAt(HUGE, ["x", '"']))
  .map(([request, place, size]) => ({
    ...request,
    records: request.records.toSpliced(place, 0, { model: 0, size }),
    isRefused: false,
  }));

/** Mostly small ones, and some around the length at which a frame's header grows. */
export const mixed = requestAt(
  fc.oneof({ weight: 2, arbitrary: sizeAt(SMALL) }, { weight: 1, arbitrary: sizeAt(LARGE) }),
);

const SECOND = 1_760_347_644_000_000_000n;

/** A request of the records in this order, within one second. */
export function otlpOf(records: readonly { model: Model; text: string }[]): JsonRequest {
  return {
    resourceLogs: [
      {
        scopeLogs: records.map(({ model: { scope, attributes, traceId }, text }, order) => ({
          scope: { name: scope, attributes: [] },
          logRecords: [
            {
              timeUnixNano: String(SECOND + 1000n * BigInt(order)),
              severityNumber: 9,
              body: { stringValue: text },
              attributes,
              ...(traceId !== "" && { traceId }),
            },
          ],
        })),
      },
    ],
  };
}

/** The text that gives a record of the model its size. */
function textOf({ boundary, off, filler, isOfEnvelope }: Size, one: Model): string {
  const bytesOf = (text: string): number =>
    isOfEnvelope ? Buffer.byteLength(JSON.stringify(text)) - 2 : Buffer.byteLength(text);
  const body = toProtobuf(otlpOf([{ model: one, text: "" }]));
  const others = isOfEnvelope ? Buffer.byteLength(envelopesOf(encodeOtlpProtobuf, body)[0]!) : 0;
  const left = Math.max(0, boundary + off - others);
  const filled = filler.repeat(Math.floor(left / bytesOf(filler)));
  return filled + "y".repeat(left - bytesOf(filled));
}

export function recordsOf({ models, records }: SizedRequest): { model: Model; text: string }[] {
  return records.map(({ model: place, size }) => {
    const one = models[place % models.length]!;
    return { model: one, text: textOf(size, one) };
  });
}
