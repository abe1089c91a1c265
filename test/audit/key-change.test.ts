/**
 * The signing key is lost, replaced or restored: the operator is notified, and the trail records it and still verifies.
 */

import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseCheckpointLine, signedText } from "../../src/audit/checkpoint.ts";
import { keyChangeEvent } from "../../src/audit/trail-events.ts";
import { PublicKey } from "../../src/audit/public-keys.ts";
import { AuditHarness, exitCodeOf, logEvents, freezeClock } from "../harness/audit-trail.ts";

const KEY = "keys/audit-key.pem";

/** Returns the key changes that the trail's events record, oldest first. */
function changesIn(harness: AuditHarness): { previous_key: string; key: string }[] {
  const events = [...harness.files().values()]
    .flat()
    .map((line) => JSON.parse(line) as { event_type: string; details: never });
  return events
    .filter(({ event_type: type }) => type === "audit_key_changed")
    .map(({ details }) => details);
}

function keysIn(harness: AuditHarness): string[] {
  return harness.checkpoints().map((line) => parseCheckpointLine(line)!.key);
}

function warningsOf(harness: AuditHarness): string[] {
  return harness.lines.filter((line) =>
    /ERROR - The audit trail is now signed with the key/.test(line),
  );
}

test("a trail verifies over lost and restored keys", async () => {
  const harness = await AuditHarness.create();
  await harness.run(["a", "b"]);
  const first = readFileSync(harness.keyFile, "utf8");
  for (const message of ["c", "d"]) {
    rmSync(harness.keyFile);
    await harness.run([message]);
  }
  await harness.workspace.write(KEY, first);
  await harness.run(["e"]);
  const ids = [...new Set(keysIn(harness))];
  expect(ids).toHaveLength(3);
  expect(keysIn(harness).at(-1)).toBe(ids[0]);
  expect(changesIn(harness)).toMatchObject([
    { previous_key: ids[0], key: ids[1] },
    { previous_key: ids[1], key: ids[2] },
    { previous_key: ids[2], key: ids[0] },
  ]);
  expect(warningsOf(harness)).toHaveLength(3);
  // Each checkpoint continues from the former key's last one: no part of the day is signed twice.
  const sequences = harness.checkpoints().map((line) => parseCheckpointLine(line)!.seq);
  expect(sequences).toEqual(sequences.toSorted((one, other) => one - other));
  expect(new Set(sequences).size).toBe(sequences.length);
  const verification = await harness.verify();
  expect([exitCodeOf(verification), verification.findings]).toEqual([0, []]);
  expect(verification.chain.proven!.lines).toBe(verification.chain.lines);
});

test.each([
  ["the newest checkpoint", "journal.db"],
  ["the journal", "audit/checkpoints.jsonl"],
])("all keys are lost, and %s remembers the former one", async (_, lost) => {
  const harness = await AuditHarness.create();
  await harness.run(["a"]);
  const [former] = keysIn(harness);
  rmSync(harness.workspace.path("keys"), { recursive: true });
  for (const name of readdirSync(join(harness.logDir, "."))) {
    if (lost === "journal.db" && name.startsWith("journal.")) rmSync(join(harness.logDir, name));
  }
  if (lost !== "journal.db") rmSync(join(harness.logDir, lost));
  await harness.run(["b"]);
  expect(warningsOf(harness)).toEqual([expect.stringContaining(`instead of ${former}`)]);
  expect(changesIn(harness)).toMatchObject([{ previous_key: former }]);
});

test("detects a checkpoint of a key that no event announced", async () => {
  const harness = await AuditHarness.create();
  await harness.run(["a"]);
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const other = new PublicKey(publicKey);
  await harness.workspace.write(`keys/audit-key.${other.id}.pub.pem`, other.pem);
  const lines = harness.checkpoints();
  const { signature: _, ...claim } = parseCheckpointLine(lines.at(-1)!)!;
  const text = signedText({ ...claim, key: other.id });
  const signature = sign(
    null,
    Buffer.from(text),
    createPrivateKey(privateKey.export({ type: "pkcs8", format: "pem" })),
  );
  const signed = `${text},"signature":"${signature.toString("base64")}"}`;
  harness.write("checkpoints.jsonl", [...lines, signed, ""].join("\n"));
  const { findings, unrecordedKeys } = await harness.verify();
  expect(findings).toEqual([]);
  expect(unrecordedKeys).toMatchObject([
    {
      position: `checkpoints.jsonl:${lines.length + 1}`,
      text: expect.stringMatching(/no audit_key_changed event in the trail records the change/),
    },
  ]);
  // A logged event claims a change of other keys.
  const running = await harness.start();
  await running.gateway.intake.records([keyChangeEvent("0123456789abcdef", other)]);
  await running.stop();
  expect((await harness.verify()).unrecordedKeys).not.toEqual([]);
});

test("a key change recorded in a file that retention deleted raises no alarm", async () => {
  const setDay = freezeClock();
  const harness = await AuditHarness.create();
  await harness.run(["a"]);
  rmSync(harness.keyFile);
  for (const day of [1, 2, 6]) {
    setDay(day);
    const running = await harness.start({ retentionDays: 2 });
    await logEvents(running, ["b"]);
    await running.stop();
  }
  expect(changesIn(harness)).toEqual([]);
  expect(new Set(keysIn(harness)).size).toBe(2);
  const verification = await harness.verify();
  expect([verification.findings, exitCodeOf(verification)]).toEqual([[], 0]);
});
