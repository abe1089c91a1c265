import assert from "node:assert/strict";
import { test } from "node:test";
import { testHost } from "tailgate/testing";
import lines from "./lines.js";

/** Opens the receiver until the end of the test. */
async function openLines(t, options = {}) {
  const host = await testHost("lines");
  t.after(() => host.close());
  await lines.open(lines.options.parse(options), host);
  const url = await host.listen();
  const post = (body) => fetch(`${url}/lines`, { method: "POST", body });
  return { post, intake: host.intake };
}

test("stores one record for each line", async (t) => {
  const { post, intake } = await openLines(t);
  const response = await post("first\nsecond\n");
  assert.deepEqual(await response.json(), { accepted: 2, rejected: 0, reason: "" });
  const found = intake.envelopes.map(({ data }) => `${data.logger}: ${data.message}`);
  assert.deepEqual(found, ["orchestrator.lines: first", "orchestrator.lines: second"]);
});

test("answers 403 to a sender that may not send the records", async (t) => {
  const { post, intake } = await openLines(t);
  intake.rejectWith("FORBIDDEN");
  assert.equal((await post("first\n")).status, 403);
  assert.deepEqual(intake.accepted, []);
});

test("asks the client to retry if nothing was stored", async (t) => {
  const { post, intake } = await openLines(t);
  intake.rejectWith("OVERLOADED");
  assert.equal((await post("first\n")).status, 429);
  intake.rejectWith("STOPPED");
  assert.equal((await post("first\n")).status, 503);
  assert.deepEqual(intake.accepted, []);

  intake.rejectWith(undefined);
  assert.equal((await post("first\n")).status, 200);
  assert.equal(intake.accepted.length, 1);
});

test("answers 413 to a body that is too large", async (t) => {
  const { post, intake } = await openLines(t, { max_body_bytes: 5 });
  assert.equal((await post("too long\n")).status, 413);
  assert.deepEqual(intake.accepted, []);
});
