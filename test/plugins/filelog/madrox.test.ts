import { readFileSync } from "node:fs";
import { expect, test, vi } from "vitest";
import { TestFollower } from "./follower.ts";

interface Vector {
  readonly case: string;
  readonly orchestrator_log: string;
  readonly audit_jsonl: string;
  readonly ws: readonly string[];
}

interface Frame {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

const VECTORS = readFileSync(new URL("../../golden/vectors.jsonl", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line) as Vector);

/** Returns the frame that the original sent, as far as its file holds the same. */
function frameOf({ ws, audit_jsonl: audit }: Vector): Frame | undefined {
  const frame = ws[0] && (JSON.parse(ws[0]) as Frame);
  if (!frame) return undefined;
  const { timestamp, logger, message, action } = frame.data;
  // Python's name of a level without a name.
  const level = frame.data["level"] === "Level 25" ? "INFO" : frame.data["level"];
  // The program's file has whole seconds, and exceptions after the line.
  const time =
    audit === "" ? `${(timestamp as string).slice(0, 19)}.000000Z` : `${timestamp as string}Z`;
  const text = (message as string).split("\nTraceback")[0];
  return { type: frame.type, data: { timestamp: time, level, logger, message: text, action } };
}

/** Cases whose extras replaced what the original says itself, and one whose frame is no JSON: file and frame differ. */
const DIFFERENT = /^collide|reserved|nan|spoof/;

test("imports what the original has written, with its own times, each record once", async () => {
  const vectors = VECTORS.filter(
    ({ case: name, orchestrator_log: program, audit_jsonl: audit, ws }) =>
      typeof program === "string" &&
      typeof audit === "string" &&
      program + audit !== "" &&
      ws.length > 0 &&
      !(program + ws.join("")).includes('"$long"') &&
      !DIFFERENT.test(name),
  );
  const programs = vectors.filter(({ audit_jsonl: audit }) => audit === "");
  const audits = vectors.filter(({ audit_jsonl: audit }) => audit !== "");
  expect(programs.length).toBeGreaterThan(8);
  expect(audits.length).toBeGreaterThan(4);
  const follower = await TestFollower.create(["old/**"], {
    format: "madrox",
    time_zone: "UTC",
    force_flush_seconds: 0,
  });
  const { workspace } = follower;
  await workspace.write("old/orchestrator.log", programs.map((v) => v.orchestrator_log).join(""));
  await workspace.write(
    "old/audit/audit_20251013.jsonl",
    audits.map((v) => v.audit_jsonl).join(""),
  );
  await workspace.write("old/state/instances.json", "{}\n");
  const expected = [...audits, ...programs].map(frameOf);
  await follower.start();
  await vi.waitFor(() => expect(follower.host.intake.envelopes).toHaveLength(expected.length));
  const envelopes = follower.host.intake.envelopes.map(({ type, data }): Frame => {
    const { timestamp, level, logger, message } = data;
    const action = type === "audit_log" ? data.action : undefined;
    return { type, data: { timestamp, level, logger, message, action } };
  });
  const byType = (frames: readonly (Frame | undefined)[], type: string): unknown[] =>
    frames.filter((frame) => frame?.type === type);
  expect(byType(envelopes, "audit_log")).toEqual(byType(expected, "audit_log"));
  expect(byType(envelopes, "system_log")).toEqual(byType(expected, "system_log"));
  const marks = follower.host.intake.accepted.map(({ attributes }) => attributes.get("imported"));
  expect(new Set(marks)).toEqual(new Set(["madrox"]));

  await follower.stop();
  await follower.start();
  await follower.stop();
  expect(follower.host.intake.envelopes).toHaveLength(expected.length);
});

test("what extras have replaced in the audit file is an audit event nevertheless", async () => {
  const spoof = VECTORS.find(({ case: name }) => name === "audit_kwargs_spoof")!;
  const follower = await TestFollower.create(["old/**"], { format: "madrox" });
  await follower.workspace.write("old/audit/audit_20251013.jsonl", spoof.audit_jsonl);
  await follower.start();
  await vi.waitFor(() => expect(follower.host.intake.envelopes).toHaveLength(1));
  expect(follower.host.intake.envelopes[0]).toMatchObject({
    type: "audit_log",
    data: {
      level: "INFO",
      logger: "orchestrator.audit",
      message: "forged",
      action: "state_change",
      metadata: { instance_id: "i1", timestamp: "1999-01-01", logger: "evil", level: "DEBUG" },
    },
  });
});

test("imports what instances have logged, and leaves out what another file says better", async () => {
  const follower = await TestFollower.create(["old/**"], {
    format: "madrox",
    time_zone: "+02:00",
    force_flush_seconds: 0,
  });
  const directory = "old/instances/abc-123";
  await follower.workspace.write(
    `${directory}/instance.log`,
    `2025-10-13 09:27:24 - INFO - Instance created with role: coder, type: claude
2025-10-13 09:27:25 - INFO - Sending message (wait=True): Fix the test...
2025-10-13 09:27:26 - ERROR - Initialization failed: no tmux
Traceback (most recent call last):
  File "x.py", line 1, in <module>
RuntimeError: no tmux
`,
  );
  await follower.workspace.write(
    `${directory}/communication.jsonl`,
    `{"timestamp": "2025-10-13T09:27:24.1", "event_type": "unknown", "message": "Instance created with role: coder, type: claude"}
{"timestamp": "2025-10-13T09:27:25.2", "event_type": "message_sent", "message": "Sending message (wait=True): Fix the test...", "message_id": "m1", "direction": "outbound", "content": "Fix the test, please"}
`,
  );
  await follower.workspace.write(`${directory}/metadata.json`, '{"instance_name": "fixer"}');
  // Lines of Tailgate in a directory that it has taken over.
  await follower.workspace.write(
    "old/orchestrator.log",
    '{"timestamp":"2025-10-13T09:27:24.000000Z","level":"INFO","logger":"a","message":"own"}\n',
  );
  await follower.start();
  await vi.waitFor(() => expect(follower.host.intake.envelopes).toHaveLength(3));
  await follower.stop();
  const envelopes = follower.host.intake.envelopes.map(({ data }) => data);
  expect(envelopes.map(({ message }) => message.split("\n")[0]!).sort()).toEqual([
    "Initialization failed: no tmux",
    "Instance created with role: coder, type: claude",
    "Sending message (wait=True): Fix the test...",
  ]);
  expect(envelopes.find(({ level }) => level === "ERROR")).toMatchObject({
    timestamp: "2025-10-13T07:27:26.000000Z",
    logger: "instance.abc-123",
    message: expect.stringContaining("RuntimeError: no tmux") as string,
    instance_id: "abc-123",
    instance_name: "fixer",
  });
  expect(envelopes).toContainEqual(
    expect.objectContaining({ content: "Fix the test, please", event_type: "message_sent" }),
  );
});
