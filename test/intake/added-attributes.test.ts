/** The option `attributes` of receivers, in front of the gateway's intake. */

import { expect, it, onTestFinished } from "vitest";
import { intakeWithAttributes } from "../../src/intake/added-attributes.ts";
import { createRecord, type Intake } from "tailgate/plugin";
import { testHost, type TestHost } from "tailgate/testing";
import { otlpRequest } from "../bench/otlp-request.ts";

const ADDED = { environment: "prod", rack: 7, canary: false };

async function open(): Promise<{ host: TestHost; intake: Intake }> {
  const host = await testHost("otlp");
  onTestFinished(() => host.close());
  return { host, intake: intakeWithAttributes(host.intake, ADDED) };
}

it("are added in every form, unless the record has them, and audit events get them as metadata", async () => {
  const { host, intake } = await open();
  const { protobuf, json } = otlpRequest(1);
  const own = createRecord({
    logger: "orchestrator.audit",
    body: "stop",
    attributes: { environment: "test", event_type: "stop" },
  });
  const answers = [
    await intake.otlpProtobuf(protobuf),
    await intake.otlpJson(json),
    await intake.records([own]),
  ];
  expect(answers).toMatchObject(answers.map(() => ({ accepted: 1, rejected: 0 })));
  const [first, second, audit] = host.intake.envelopes;
  expect(first!.data).toMatchObject(ADDED);
  expect(second).toEqual(first);
  expect(audit!.data).toMatchObject({ metadata: { environment: "test", rack: 7, canary: false } });
  // The record of the receiver itself is not changed.
  expect([...own.attributes.keys()]).toEqual(["environment", "event_type"]);
});

it("do not hide what is wrong with a request or a record", async () => {
  const { host, intake } = await open();
  await expect(intake.otlpProtobuf(Buffer.from("no"))).rejects.toMatchObject({
    code: "OTLP_UNDECODABLE",
  });
  await expect(intake.otlpJson(Buffer.from("[1"))).rejects.toMatchObject({
    code: "OTLP_UNDECODABLE",
  });
  const logRecords = [{ attributes: 3 }, { body: { stringValue: "fine" } }];
  const request = JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] });
  const answer = await intake.otlpJson(Buffer.from(request));
  expect(answer).toMatchObject({ accepted: 1, rejected: 1 });
  expect(answer.reason).toContain("attributes: a number is not an array");
  expect(host.intake.envelopes.map(({ data }) => data.message)).toEqual(["fine"]);
  expect(await intake.records([3 as never])).toMatchObject({ rejected: 1 });
});

it("are added to requests that are too large for one turn of the event loop", async () => {
  const { host, intake } = await open();
  const { protobuf, json } = otlpRequest(2_000);
  await Promise.all([intake.otlpProtobuf(protobuf), intake.otlpJson(json)]);
  const { envelopes } = host.intake;
  expect(envelopes).toHaveLength(4_000);
  expect(envelopes.every(({ data }) => "rack" in data)).toBe(true);
});
