import type { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { built } from "./built.ts";
import { printFigures } from "./figure.ts";
import { naiveEnvelope } from "./naive-envelope.ts";
import { otlpRequest, REQUEST_RECORDS, variedRequest } from "./otlp-request.ts";
import {
  LogsRequest,
  type DecodedAttribute,
  type DecodedRecord,
  type DecodedRequest,
  type DecodedValue,
} from "./otlp-schema.ts";
import { measured, type Scale, type Variant } from "./rounds.ts";

const SLICE_REQUESTS = 12;

/** The cost of building the envelopes of a request's records, in the process that received its bytes. */
export async function benchOtlpDecode({ rounds, share }: Scale): Promise<void> {
  const { protobuf, json } = otlpRequest();
  const varied = variedRequest();
  const open = await newBatchBuilder();
  const { encodeOtlpProtobuf } = await built<typeof import("../../src/otlp/request-encoder.ts")>(
    "src/otlp/request-encoder.js",
  );
  const { encodeOtlpJson } = await built<typeof import("../../src/otlp/request-encoder.ts")>(
    "src/otlp/request-encoder.js",
  );
  for (const forms of [{ protobuf, json }, varied]) {
    const wanted = protobufEnvelopes(forms.protobuf);
    checkEnvelopes(open, wanted, () => encodeOtlpProtobuf(forms.protobuf, open, 0));
    checkEnvelopes(open, wanted, () => encodeOtlpJson(forms.json, open, 0));
  }

  const requests = Math.ceil(SLICE_REQUESTS * share);
  const tailgate = (encode: () => unknown) => () => {
    encode();
    open.take();
  };
  const samples = await measured(
    [
      variantOf(
        "otlp_protobuf.tailgate",
        requests,
        tailgate(() => encodeOtlpProtobuf(protobuf, open, 0)),
      ),
      variantOf("otlp_protobuf.protobufjs_decode", requests, () => LogsRequest.decode(protobuf)),
      variantOf("otlp_protobuf.protobufjs_envelope", requests, () => protobufEnvelopes(protobuf)),
      variantOf(
        "otlp_json.tailgate",
        requests,
        tailgate(() => encodeOtlpJson(json, open, 0)),
      ),
      variantOf("otlp_json.parse", requests, () => JSON.parse(json.toString())),
      variantOf(
        "otlp_protobuf_varied.tailgate",
        requests,
        tailgate(() => encodeOtlpProtobuf(varied.protobuf, open, 0)),
      ),
      variantOf("otlp_protobuf_varied.protobufjs_decode", requests, () =>
        LogsRequest.decode(varied.protobuf),
      ),
    ],
    rounds,
  );
  printFigures("ns/record", samples, [
    {
      name: "otlp_protobuf.speedup",
      of: "otlp_protobuf.protobufjs_decode",
      to: "otlp_protobuf.tailgate",
      target: ">= 5",
    },
    {
      name: "otlp_protobuf.speedup",
      of: "otlp_protobuf.protobufjs_envelope",
      to: "otlp_protobuf.tailgate",
      target: ">= 10",
    },
    {
      name: "otlp_protobuf_varied.speedup",
      of: "otlp_protobuf_varied.protobufjs_decode",
      to: "otlp_protobuf_varied.tailgate",
      target: undefined,
    },
    { name: "otlp_json.ratio", of: "otlp_json.tailgate", to: "otlp_json.parse", target: "<= 1.3" },
  ]);
}

function variantOf<Name extends string>(
  name: Name,
  requests: number,
  decode: () => unknown,
): Variant<Name> {
  return {
    name,
    run() {
      for (let request = 0; request < requests; request++) decode();
      return requests * REQUEST_RECORDS;
    },
  };
}

async function newBatchBuilder(): Promise<BatchBuilder> {
  const { BatchBuilder } = await built<typeof import("../../src/batch/batch-builder.ts")>(
    "src/batch/batch-builder.js",
  );
  return new BatchBuilder();
}

/** Checks that the compared variants produce the same bytes. */
function checkEnvelopes(
  open: BatchBuilder,
  wanted: readonly string[],
  encode: () => unknown,
): void {
  encode();
  const texts = open
    .take()
    .flatMap((batch) =>
      Array.from({ length: batch.length }, (_, index) =>
        Buffer.from(batch.bytes(index)).toString(),
      ),
    );
  const wrong = wanted.findIndex((text, index) => text !== texts[index]);
  if (wrong >= 0) throw new Error(`Envelopes differ: ${texts[wrong]} instead of ${wanted[wrong]}`);
}

/** The variant that builds objects. */
function protobufEnvelopes(body: Uint8Array): string[] {
  const request = LogsRequest.decode(body) as unknown as DecodedRequest;
  return request.resourceLogs.flatMap(({ resource, scopeLogs }) => {
    const service = valuesOf(resource.attributes)["service.name"];
    return scopeLogs.flatMap(({ scope, logRecords }) =>
      logRecords.map((record) => envelopeOf(record, scope.name, service)),
    );
  });
}

const SECOND_NANOS = 1_000_000_000n;

function envelopeOf(record: DecodedRecord, logger: string, service: unknown): string {
  const { low, high } = record.timeUnixNano;
  const nanos = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  return naiveEnvelope({
    seconds: Number(nanos / SECOND_NANOS),
    nanos: Number(nanos % SECOND_NANOS),
    level: record.severityText,
    logger,
    message: record.body.stringValue,
    attributes: {
      ...valuesOf(record.attributes),
      trace_id: Buffer.from(record.traceId).toString("hex"),
      span_id: Buffer.from(record.spanId).toString("hex"),
      service,
    },
  });
}

function valuesOf(attributes: readonly DecodedAttribute[]): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const { key, value } of attributes) values[key] = valueOf(value);
  return values;
}

function valueOf(value: DecodedValue): unknown {
  if (value.value === "stringValue") return value.stringValue;
  if (value.value === "intValue") return value.intValue.toNumber();
  return valuesOf(value.kvlistValue.values);
}
