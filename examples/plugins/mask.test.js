import assert from "node:assert/strict";
import { test } from "node:test";
import { recordOf, testHost } from "tailgate/testing";
import mask from "./mask.js";

test("masks the configured attributes, in envelopes too", async (t) => {
  const host = await testHost("mask");
  t.after(() => host.close());
  const processor = await mask.open(mask.options.parse({ keys: ["token"] }), host);

  const attributes = new Map([
    ["token", "swordfish"],
    ["user", "ada"],
  ]);
  const record = processor.process(recordOf({ attributes: new Map(attributes) }));
  assert.equal(record.attributes.get("token"), "********");

  host.intake.process("mask", processor);
  await host.intake.records([recordOf({ attributes })]);
  const { token, user } = host.intake.envelopes[0].data;
  assert.deepEqual({ token, user }, { token: "********", user: "ada" });
});
