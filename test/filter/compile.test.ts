/** Compiled filters match what their specification says. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { LoggerNames } from "../../src/envelope/prefix.ts";
import { compileFilter } from "../../src/filter/filter.ts";
import { heldRecord } from "../../src/filter/records.ts";
import { RequestView } from "../../src/intake/record-view.ts";
import { RequestIndex } from "../../src/otlp/request-index.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import {
  alikeRequest,
  jsonRequest,
  toProtobuf,
  type JsonRequest,
} from "../encode/generated-request.ts";
import { filterNode, samplesOf } from "./arbitraries.ts";
import { referenceMatches, type ReferenceRecord } from "./reference.ts";

/** More of them find more: `FILTER_RUNS=5000`. */
const RUNS = Number(process.env["FILTER_RUNS"] ?? 60);

const LOGGERS = new LoggerNames(["orchestrator.audit"]);

function encode(request: JsonRequest): RecordBatch[] {
  const open = new BatchBuilder();
  encodeOtlpProtobuf(toProtobuf(request), open, 0, LOGGERS);
  return open.take();
}

function referenceRecords(batch: RecordBatch): ReferenceRecord[] {
  return Array.from({ length: batch.length }, (_, index) => ({
    envelope: batch.envelope(index),
    logger: batch.logger(index),
    resource: batch.resourceAttributes(index),
    scope: batch.scopeAttributes(index),
  }));
}

/** Returns the record as a processor gets it. */
function viewOf(batch: RecordBatch, index: number): RequestView {
  const request = RequestIndex.of(batch.origin(index).request!, { isExact: true });
  return new RequestView(request, LOGGERS).select(batch.originIndex(index));
}

const request = fc
  .oneof(jsonRequest, alikeRequest)
  .filter((json) => encode(json).length > 0)
  .chain((json) => {
    const node = filterNode(samplesOf(encode(json).flatMap(referenceRecords)));
    return fc.record({
      json: fc.constant(json),
      nodes: fc.array(node, { minLength: 8, maxLength: 8 }),
    });
  });

test("a compiled filter matches batches, single records and processors' views like the reference", () => {
  let matches = 0;
  let required = 0;
  const property = fc.property(request, ({ json, nodes }) => {
    for (const batch of encode(json)) {
      for (const [index, record] of referenceRecords(batch).entries()) {
        const [view, held] = [viewOf(batch, index), heldRecord(batch, index)];
        for (const node of nodes) {
          const filter = compileFilter(node);
          const expected = referenceMatches(node, record);
          if (expected) matches++;
          expect([node, filter.matches(batch, index)]).toEqual([node, expected]);
          expect([node, filter.matches(view, 0)]).toEqual([node, expected]);
          if (expected && filter.required) {
            required++;
            expect([node, batch.mayHaveText(index, filter.required)]).toEqual([node, true]);
          }
          expect(filter.terms.every((term) => term.matches(held, 0))).toBe(expected);
        }
      }
    }
  });
  fc.assert(property, { numRuns: RUNS });
  expect(matches).toBeGreaterThan(RUNS);
  expect(required).toBeGreaterThan(RUNS);
});
