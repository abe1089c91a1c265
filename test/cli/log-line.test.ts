import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { gapJson, gapLine, logLine } from "../../src/cli/log-line.ts";
import { printable } from "tailgate/plugin";
import type { AuditLog, JsonValue } from "tailgate";

const event: AuditLog = {
  timestamp: "2025-10-13T09:27:24.350163Z",
  level: "INFO",
  logger: "orchestrator.audit",
  message: "Instance spawned",
  action: "instance_spawn",
  metadata: {
    instance_id: "abc-123",
    details: { role: "worker", tags: ["a", "b"] },
    note: "two words",
  },
};

function auditLine(data: Partial<AuditLog>): string {
  return logLine({ type: "audit_log", data: { ...event, ...data } }, false);
}

describe("a line of tailgate tail", () => {
  test("equals the console's for a system log", () => {
    const data = {
      timestamp: "2025-10-13T09:27:24.339163Z",
      level: "WARNING",
      logger: "orchestrator.instance_manager",
      message: "High memory usage\ndetected",
      module: "",
      function: "",
      line: 0,
      "exception.stacktrace": "Error: x\n\tat y",
    } as const;
    expect(logLine({ type: "system_log", data }, false)).toBe(
      "2025-10-13 09:27:24 - orchestrator.instance_manager - WARNING - High memory usage\\ndetected\n" +
        "    Error: x\n        at y\n",
    );
  });

  test("includes the attributes of a system log", () => {
    const data = {
      timestamp: "2025-10-13T09:27:24.339163Z",
      level: "ERROR",
      logger: "a",
      message: "failed",
      module: "server",
      function: "run",
      line: 12,
      task_id: 42,
      path: "/a b",
      "http.status": 500,
      details: { role: "worker", tags: ["x"] },
    } as const;
    const fields = ' task_id=42 path="/a b" http.status=500 details.role=worker details.tags=["x"]';
    expect(logLine({ type: "system_log", data }, false)).toBe(
      `2025-10-13 09:27:24 - a - ERROR - failed${fields}\n`,
    );
    expect(logLine({ type: "system_log", data }, true)).toContain(
      ` - failed\x1b[2m${fields}\x1b[0m\n`,
    );
  });

  test("includes the action, the message and the fields of an audit event", () => {
    expect(auditLine({})).toBe(
      "2025-10-13 09:27:24 - orchestrator.audit - AUDIT instance_spawn Instance spawned " +
        'instance_id=abc-123 details.role=worker details.tags=["a","b"] note="two words"\n',
    );
  });

  test("shows the message once if action and message are equal", () => {
    const metadata = { instance_id: null, details: {} };
    expect(auditLine({ message: "instance_spawn", metadata })).toBe(
      "2025-10-13 09:27:24 - orchestrator.audit - AUDIT instance_spawn instance_id=null details={}\n",
    );
  });

  test("works without action and metadata", () => {
    const { action: _a, metadata: _m, ...plain } = event;
    expect(logLine({ type: "audit_log", data: plain }, true)).toBe(
      "2025-10-13 09:27:24 - orchestrator.audit - \x1b[36mAUDIT\x1b[0m Instance spawned\n",
    );
  });

  test("is one line without control characters for any event", () => {
    const values = fc.dictionary(
      fc.string({ unit: "binary" }),
      fc.jsonValue() as fc.Arbitrary<JsonValue>,
    );
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), values, (text, metadata) => {
        const line = auditLine({ message: text, action: text, logger: text, metadata });
        expect(line).toMatch(/^[^\p{Cc}\u2028\u2029\p{Bidi_Control}]*\n$/u);
        const place = { module: "", function: "", line: 0 };
        const data = { ...metadata, ...event, ...place, message: text, logger: text } as never;
        expect(logLine({ type: "system_log", data }, false)).toMatch(
          /^[^\p{Cc}\u2028\u2029\p{Bidi_Control}]{0,10000}\n$/u,
        );
      }),
    );
  });

  test("escapes control characters and leaves everything else unchanged", () => {
    expect(printable("a\tb\r\n\x1b[31m\x7f\x9b\u2028\u202e\u{1f600} é")).toBe(
      "a\\tb\\r\\n\\x1b[31m\\x7f\\x9b\\u2028\\u202e\u{1f600} é",
    );
  });
});

describe("the line of a gap", () => {
  test.each([
    [
      { from: 1, to: 5, type: "system_log", reason: "retention" },
      "missing: system logs 1 to 5 (deleted by the retention policy)",
    ],
    [
      { from: 7, to: 7, type: "audit_log", reason: "damaged" },
      "missing: audit event 7 (the journal is damaged there)",
    ],
    [
      { from: 2, to: 3, reason: "slow", text: "Too slow.\x1b" },
      "missing: records 2 to 3 (Too slow.\\x1b)",
    ],
    [
      { from: 2, to: 3, reason: "epoch" },
      "printed above, but no longer in the gateway's journal: records 2 to 3",
    ],
  ] as const)("%j", (gap, text) => {
    expect(gapLine(gap)).toBe(`--- ${text} ---\n`);
  });

  test("is the gap message of tailgate.v1 as JSON", () => {
    const gap = {
      from: 1,
      to: 5,
      reason: "retention",
      type: "system_log",
      lane: "system_log",
    } as const;
    expect(gapJson(gap)).toBe(
      '{"type":"gap","from":1,"to":5,"reason":"retention","record_type":"system_log","lane":"system_log"}',
    );
  });
});
