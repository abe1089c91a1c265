/** Envelopes that are made again of the stored requests, by the rules that are stored with them. */

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { ProtobufOrigin } from "../../src/batch/origin.ts";
import { LoggerNames } from "../../src/envelope/prefix.ts";
import {
  envelopeRules,
  renderFrames,
  rulesOf,
  rulesText,
  type EnvelopeRules,
} from "../../src/envelope/rules.ts";
import { createSender } from "../../src/envelope/sender.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { textFrameAt } from "../../src/plugin/text-frame.ts";
import type { LevelRank } from "../../src/wire/envelope.ts";
import { alikeRequest, jsonRequest, reordered, toProtobuf } from "./generated-request.ts";

const NAMES = ["a", "b", "é", "label", "exception.message", "host.name"];

/** The envelopes that the rules make of records, as texts. */
function rendered(request: Uint8Array, indexes: number[], rules: EnvelopeRules): string[] {
  const { bytes, sizes } = renderFrames(request, indexes, rules);
  let position = 0;
  const texts = Array.from(sizes, (size) => {
    const { start, end } = textFrameAt(bytes, position);
    expect(end - start).toBe(size);
    position = end;
    return bytes.toString("utf8", start, end);
  });
  expect(position).toBe(bytes.length);
  return texts;
}

function hasTime(request: ProtobufOrigin, index: number): boolean {
  const { timestamp, observedTimestamp } = request.record(index);
  return (timestamp || observedTimestamp) > 0n;
}

test("are the envelopes that the request had when it came, in any order", () => {
  const requests = fc.oneof(jsonRequest, alikeRequest);
  const choices = fc.record({
    names: fc.constantFrom([], NAMES),
    seed: fc.nat(1000),
    lowest: fc.constantFrom<LevelRank>(0, 1, 3),
    isNamed: fc.boolean(),
  });
  fc.assert(
    fc.property(requests, choices, fc.infiniteStream(fc.nat()), (request, choice, numbers) => {
      const rules = rulesOf(rulesText(envelopeRules(choice.names)));
      const loggers = new LoggerNames(["orchestrator.audit"], choice.names);
      const sender = choice.isNamed ? createSender("somebody", true, true) : undefined;
      const body = reordered(toProtobuf(request), choice.seed);
      const open = new BatchBuilder();
      encodeOtlpProtobuf(body, open, choice.lowest, loggers, undefined, sender);
      for (const batch of open.take()) {
        // As it is retained, and as it is rebuilt.
        for (const origin of [batch.origin(0), new ProtobufOrigin(batch.otlp(), batch.length)]) {
          const isRetained = origin === batch.origin(0);
          const chosen = Array.from({ length: batch.length }, (_, index) => index)
            .filter((index) => batch.type(index) === "system_log")
            .map((index) => ({ index, stored: isRetained ? batch.originIndex(index) : index }))
            .filter(({ stored }) => hasTime(origin as ProtobufOrigin, stored))
            .map((one) => ({ ...one, key: numbers.next().value }))
            .sort((one, other) => one.key - other.key);
          const indexes = chosen.map(({ stored }) => stored);
          const wanted = chosen.map(({ index }) => Buffer.from(batch.bytes(index)).toString());
          expect(rendered(origin.request!, indexes, rules)).toEqual(wanted);
        }
      }
    }),
    { numRuns: 300 },
  );
});

function fixture(name: string): Buffer {
  return gunzipSync(readFileSync(new URL(`../fixtures/${name}.gz`, import.meta.url)));
}

/**
 * If this fails, a record of an old journal would change: make the new envelopes a new version of the rules, and store
 * envelopes of that version in files of its own.
 */
test("do not change within a version", () => {
  const request = fixture("envelopes-1.pb");
  const lines = fixture("envelopes-1.jsonl").toString().trimEnd().split("\n");
  const indexes = lines.map((_, index) => index);
  expect(rulesText(envelopeRules())).toBe('{"version":1,"resourceAttributes":[]}');
  expect(rendered(request, indexes, { version: 1, resourceAttributes: NAMES })).toEqual(lines);
});

test("are not made by the rules of a newer Tailgate, nor of audit events", () => {
  expect(() => rulesOf('{"version":2,"resourceAttributes":[]}')).toThrow(RangeError);
  const scopeLogs = [
    { scope: { name: "orchestrator.audit.key", attributes: [] }, logRecords: [{}] },
  ];
  const request = toProtobuf({ resourceLogs: [{ scopeLogs }] });
  const message = "1 of the stored records are not system logs";
  expect(() => renderFrames(request, [0], envelopeRules())).toThrow(message);
});
