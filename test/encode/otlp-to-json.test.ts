import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CompositeBatch } from "../../src/batch/composite.ts";
import { DEPTH_MAX, DEPTH_TEXT } from "../../src/envelope/json-writer.ts";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { decodeOtlpJson, decodeOtlpProtobuf } from "../../src/otlp/decode.ts";
import { otlpToJson } from "../../src/otlp/to-json.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import type { OtlpForm, Value } from "tailgate/plugin";
import { batchOf } from "tailgate/testing";
import { jsonRequest, toProtobuf } from "./generated-request.ts";

function asJson(bytes: Uint8Array): unknown {
  return JSON.parse(Buffer.from(bytes).toString());
}

describe("a request in protobuf as JSON", () => {
  it("has the same records when it is decoded", () => {
    fc.assert(
      fc.property(jsonRequest, (request) => {
        const protobuf = toProtobuf(request);
        expect(decodeOtlpJson(otlpToJson(protobuf))).toEqual(decodeOtlpProtobuf(protobuf));
      }),
      { numRuns: 300 },
    );
  });

  it("retains what a record does not have: types of numbers, schema URLs, counts, flags", () => {
    const request = {
      resourceLogs: [
        {
          resource: { attributes: [], droppedAttributesCount: 3 },
          scopeLogs: [
            {
              scope: { name: "a", attributes: [], droppedAttributesCount: 4 },
              logRecords: [
                {
                  timeUnixNano: "1760347644339163001",
                  flags: 769,
                  droppedAttributesCount: 5,
                  attributes: [
                    { key: "double", value: { doubleValue: 1 } },
                    { key: "integer", value: { intValue: "9007199254740993" } },
                    { key: "nan", value: { doubleValue: "NaN" } },
                  ],
                },
              ],
              schemaUrl: "scope",
            },
          ],
          schemaUrl: "resource",
        },
      ],
    };
    const { resource, scopeLogs, schemaUrl } = (
      asJson(otlpToJson(toProtobuf(request))) as typeof request
    ).resourceLogs[0]!;
    expect(resource).toMatchObject({ droppedAttributesCount: 3 });
    expect(schemaUrl).toBe("resource");
    expect(scopeLogs[0]).toMatchObject({
      scope: { name: "a", droppedAttributesCount: 4 },
      schemaUrl: "scope",
      logRecords: request.resourceLogs[0]!.scopeLogs[0]!.logRecords,
    });
  });

  it("stops at the depth limit of records", () => {
    let body: Value = "the end";
    for (let depth = 0; depth < DEPTH_MAX + 1; depth++) body = [body];
    const text = Buffer.from(batchOf([{ body }]).otlpJson()).toString();
    expect(text).toContain(JSON.stringify(DEPTH_TEXT));
    expect(text).not.toContain("the end");
  });

  it("is the same for a batch, a part of it, and several as one", () => {
    const batch = batchOf([{ body: "a" }, { body: "b" }, { body: "c" }]);
    for (const one of [batch, batch.from(1), new CompositeBatch([batch, batch.from(2)])]) {
      expect(decodeOtlpJson(one.otlpJson())).toEqual(decodeOtlpProtobuf(one.otlp()));
    }
  });
});

/**
 * Expects each record of any request to get an attribute of that name, and nothing else to change.
 */
function expectAdded(name: string, form: OtlpForm): void {
  fc.assert(
    fc.property(jsonRequest, (request) => {
      const open = new BatchBuilder();
      encodeOtlpProtobuf(toProtobuf(request), open, 0);
      for (const batch of open.take()) {
        const records = decodeOtlpProtobuf(batch.otlp());
        const named = decodeOtlpProtobuf(batch.otlp(form));
        expect(named.length).toBe(records.length);
        for (const { attributes } of named) expect(attributes.has(name)).toBe(true);
        for (const { attributes } of [...named, ...records]) attributes.delete(name);
        expect(named).toEqual(records);
      }
    }),
    { numRuns: 100 },
  );
}

describe("the logger as an attribute", () => {
  const form = { loggerAttribute: "logger.name" };

  it("is added to each record, and nothing else is changed", () => {
    expectAdded("logger.name", form);
  });

  it("preserves the record's own", () => {
    const scope = { name: "orchestrator.server", version: "", attributes: new Map() };
    const attributes = new Map([["logger.name", "mine"]]);
    const batch = batchOf([{ scope, attributes }, { scope }]);
    const names = decodeOtlpProtobuf(batch.otlp(form)).map((record) =>
      record.attributes.get("logger.name"),
    );
    expect(names).toEqual(["mine", "orchestrator.server"]);
  });
});

describe("the record's uid as an attribute", () => {
  const form = { uidOf: (sequence: number) => `here/${sequence}` };

  it("is added to each record, and nothing else is changed", () => {
    expectAdded("log.record.uid", form);
  });

  it("is the same in a part of a batch, and preserves the sender's own", () => {
    const mine = new Map([["log.record.uid", "mine"]]);
    const mention = { body: "log.record.uid" };
    const batch = batchOf([{}, { attributes: mine }, mention], { firstSequence: 7 });
    const uidsOf = (request: Uint8Array): unknown[] =>
      decodeOtlpProtobuf(request).map(({ attributes }) => attributes.get("log.record.uid"));
    expect(uidsOf(batch.otlp(form))).toEqual(["here/7", "mine", "here/9"]);
    expect(uidsOf(batch.from(2).otlp(form))).toEqual(["here/9"]);
    expect(uidsOf(new CompositeBatch([batch, batch.from(2)]).otlp(form)).at(-1)).toBe("here/9");
  });
});
