/** The key that signs is lost, replaced or restored: the operator is told, the trail records it, and it goes on to hold. */

import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseCheckpointLine, signedText } from "../../src/audit/checkpoint.ts";
import { keyChangeEvent } from "../../src/audit/trail-events.ts";
import { PublicKey } from "../../src/audit/public-keys.ts";
import { AuditStage, exitCodeOf, logEvents, standingClock } from "../harness/audit-trail.ts";

const KEY = "keys/audit-key.pem";

/** The changes that the trail's events record, the oldest first. */
function changesIn(stage: AuditStage): { previous_key: string; key: string }[] {
  const events = [...stage.files().values()]
    .flat()
    .map((line) => JSON.parse(line) as { event_type: string; details: never });
  return events
    .filter(({ event_type: type }) => type === "audit_key_changed")
    .map(({ details }) => details);
}

function keysIn(stage: AuditStage): string[] {
  return stage.checkpoints().map((line) => parseCheckpointLine(line)!.key);
}

function told(stage: AuditStage): string[] {
  return stage.lines.filter((line) =>
    /ERROR - The audit trail is now signed with the key/.test(line),
  );
}

test("a trail holds over keys that were lost, and one that was restored", async () => {
  const stage = await AuditStage.create();
  await stage.run(["a", "b"]);
  const first = readFileSync(stage.keyFile, "utf8");
  for (const message of ["c", "d"]) {
    rmSync(stage.keyFile);
    await stage.run([message]);
  }
  await stage.workspace.write(KEY, first);
  await stage.run(["e"]);
  const ids = [...new Set(keysIn(stage))];
  expect(ids).toHaveLength(3);
  expect(keysIn(stage).at(-1)).toBe(ids[0]);
  expect(changesIn(stage)).toMatchObject([
    { previous_key: ids[0], key: ids[1] },
    { previous_key: ids[1], key: ids[2] },
    { previous_key: ids[2], key: ids[0] },
  ]);
  expect(told(stage)).toHaveLength(3);
  // Each checkpoint goes on where the one of the former key was: none of the day is signed a second time.
  const sequences = stage.checkpoints().map((line) => parseCheckpointLine(line)!.seq);
  expect(sequences).toEqual(sequences.toSorted((one, other) => one - other));
  expect(new Set(sequences).size).toBe(sequences.length);
  const verification = await stage.verify();
  expect([exitCodeOf(verification), verification.findings]).toEqual([0, []]);
  expect(verification.chain.proven!.lines).toBe(verification.chain.lines);
});

test.each([
  ["the newest checkpoint", "journal.db"],
  ["the journal", "audit/checkpoints.jsonl"],
])("all keys are gone, and %s remembers the former one", async (_, lost) => {
  const stage = await AuditStage.create();
  await stage.run(["a"]);
  const [former] = keysIn(stage);
  rmSync(stage.workspace.path("keys"), { recursive: true });
  for (const name of readdirSync(join(stage.logDir, "."))) {
    if (lost === "journal.db" && name.startsWith("journal.")) rmSync(join(stage.logDir, name));
  }
  if (lost !== "journal.db") rmSync(join(stage.logDir, lost));
  await stage.run(["b"]);
  expect(told(stage)).toEqual([expect.stringContaining(`instead of ${former}`)]);
  expect(changesIn(stage)).toMatchObject([{ previous_key: former }]);
});

test("a checkpoint of a key that no event announced is found", async () => {
  const stage = await AuditStage.create();
  await stage.run(["a"]);
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const other = new PublicKey(publicKey);
  await stage.workspace.write(`keys/audit-key.${other.id}.pub.pem`, other.pem);
  const lines = stage.checkpoints();
  const { signature: _, ...claim } = parseCheckpointLine(lines.at(-1)!)!;
  const text = signedText({ ...claim, key: other.id });
  const signature = sign(
    null,
    Buffer.from(text),
    createPrivateKey(privateKey.export({ type: "pkcs8", format: "pem" })),
  );
  const signed = `${text},"signature":"${signature.toString("base64")}"}`;
  stage.write("checkpoints.jsonl", [...lines, signed, ""].join("\n"));
  const { findings, unrecordedKeys } = await stage.verify();
  expect(findings).toEqual([]);
  expect(unrecordedKeys).toMatchObject([
    {
      position: `checkpoints.jsonl:${lines.length + 1}`,
      text: expect.stringMatching(/no audit_key_changed event in the trail records the change/),
    },
  ]);
  // An event that somebody logs says it of other keys.
  const running = await stage.start();
  await running.gateway.intake.records([keyChangeEvent("0123456789abcdef", other)]);
  await running.stop();
  expect((await stage.verify()).unrecordedKeys).not.toEqual([]);
});

test("a change that was recorded in a file which retention deleted is no reason for an alarm", async () => {
  const setDay = standingClock();
  const stage = await AuditStage.create();
  await stage.run(["a"]);
  rmSync(stage.keyFile);
  for (const day of [1, 2, 6]) {
    setDay(day);
    const running = await stage.start({ retentionDays: 2 });
    await logEvents(running, ["b"]);
    await running.stop();
  }
  expect(changesIn(stage)).toEqual([]);
  expect(new Set(keysIn(stage)).size).toBe(2);
  const verification = await stage.verify();
  expect([verification.findings, exitCodeOf(verification)]).toEqual([[], 0]);
});
