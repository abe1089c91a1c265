import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { expect, test, vi } from "vitest";
import filelog from "../../plugins/filelog.ts";
import { TestFollower } from "./filelog/follower.ts";

const POLL = { interval: 5, timeout: 10_000 };

test("reads JSON, logfmt and text, and says which file they are from", async () => {
  const follower = await TestFollower.create(["*.log"], {
    start_at: "beginning",
    include_file_path: true,
    message_keys: ["what", "msg"],
    time_zone: "UTC",
    exclude: [],
  });
  follower.append(
    "shop.log",
    `{"time":"2025-10-13T09:27:24Z","level":"warn","logger":"shop.cart","what":"empty","items":0}
time=2025-10-13T09:27:25Z level=error msg="no stock" sku=7
2025-10-13 09:27:26,339 - shop.pay - CRITICAL - declined\r

plain
`,
  );
  await follower.start();
  await vi.waitFor(() => expect(follower.bodies).toHaveLength(4), POLL);
  const [json, logfmt, text, plain] = follower.host.intake.envelopes.map(({ data }) => data);
  const from = { "log.file.name": "shop.log", "log.file.path": follower.path("shop.log") };
  expect(json).toMatchObject({
    timestamp: "2025-10-13T09:27:24.000000Z",
    level: "WARNING",
    logger: "shop.cart",
    message: "empty",
    items: 0,
    ...from,
  });
  expect(logfmt).toMatchObject({ level: "ERROR", logger: "shop", message: "no stock", sku: "7" });
  expect(text).toMatchObject({
    timestamp: "2025-10-13T09:27:26.339000Z",
    level: "CRITICAL",
    logger: "shop.pay",
    message: "declined",
  });
  expect(plain).toMatchObject({ level: "INFO", logger: "shop", message: "plain" });
  const ids = follower.host.intake.accepted.map(({ attributes }) =>
    attributes.get("log.record.uid"),
  );
  expect(new Set(ids).size).toBe(4);
});

test("starts at the end, but reads files that appear later from their beginning", async () => {
  const follower = await TestFollower.create(["*.log", "links/*"], {
    logger: "app",
    exclude: [],
  });
  mkdirSync(follower.path("links"));
  follower.append("old.log", "before\nhalf");
  await follower.start();
  follower.append("old.log", " a line\n");
  follower.append("new.log", "first\n");
  follower.append("target", "behind a link\n");
  symlinkSync(follower.path("target"), follower.path("links/link"));
  await vi.waitFor(() => expect(follower.bodies).toHaveLength(3), POLL);
  expect(follower.bodies.toSorted()).toEqual(["behind a link", "first", "half a line"]);

  // The same file under another name, and a deleted one that comes again.
  symlinkSync(follower.path("target"), follower.path("links/other"));
  rmSync(follower.path("new.log"));
  follower.append("new.log", "second\n");
  follower.append("target", "once\n");
  await vi.waitFor(() => expect(follower.bodies).toHaveLength(5), POLL);
  await follower.stop();
  expect(follower.bodies.slice(3).toSorted()).toEqual(["once", "second"]);
});

test("joins the lines of a record, and cuts off what is too long", async () => {
  const follower = await TestFollower.create(["app.log"], {
    start_at: "beginning",
    multiline: "time",
    force_flush_seconds: 0,
    max_log_bytes: 1024,
  });
  const trace = "2025-10-13 09:27:24 ERROR failed\nTraceback:\n  File x\nValueError: y\n";
  follower.append("app.log", `${trace}2025-10-13 09:27:25 INFO ${"x".repeat(2000)}\n`);
  await follower.start();
  await vi.waitFor(() => expect(follower.bodies).toHaveLength(2), POLL);
  expect(follower.bodies[0]).toBe("failed\nTraceback:\n  File x\nValueError: y");
  expect(follower.bodies[1]).toMatch(/^x{900,} \[truncated: 1001 more bytes\]$/);
  expect(follower.metric("lines")).toBe(5);
  expect(follower.metric("truncated_bytes")).toBe(1001);
  expect(follower.metric("open_files")).toBe(1);
  expect(follower.metric("lag_bytes")).toBe(0);
});

test("a pattern tells where records start, and one that cannot be used is rejected", async () => {
  const pattern = { line_start_pattern: String.raw`\[\d+\] `, start_at: "beginning" };
  const follower = await TestFollower.create(["app.log"], { ...pattern, force_flush_seconds: 0 });
  follower.append("app.log", "[1] one\n[x] more\n\n  and more\n[22] two\n");
  await follower.start();
  await vi.waitFor(() => expect(follower.bodies).toHaveLength(2), POLL);
  expect(follower.bodies).toEqual(["[1] one\n[x] more\n\n  and more", "[22] two"]);
  const given = { include: ["x"], line_start_pattern: "(?=x)" };
  const options = filelog.options.parse(given);
  await expect(filelog.plan!(options)).rejects.toThrow(/^line_start_pattern: the pattern cannot/);
  const both = filelog.options.safeParse({ ...given, multiline: "time" });
  expect(both.error?.issues[0]?.path).toEqual(["line_start_pattern"]);
});

test("waits while the gateway is overloaded, and loses nothing", async () => {
  const follower = await TestFollower.create(["app.log"], { start_at: "beginning" });
  follower.append("app.log", "one\ntwo\n");
  follower.host.intake.rejectWith("OVERLOADED");
  await follower.start();
  await vi.waitFor(() => expect(follower.metric("lag_bytes")).toBe(8), POLL);
  follower.host.intake.rejectWith("JOURNAL_FULL");
  await vi.waitFor(() => expect(follower.host.lines.join()).toContain("cannot be stored: "), POLL);
  expect(follower.bodies).toEqual([]);
  follower.host.intake.rejectWith(undefined);
  await vi.waitFor(() => expect(follower.bodies).toEqual(["one", "two"]), POLL);
});

test("names a file that it cannot follow, and follows the others", async () => {
  const follower = await TestFollower.create(["*.log"], { start_at: "beginning" });
  const own = `${follower.host.logDir}/orchestrator.log`;
  writeFileSync(own, "a loop\n");
  symlinkSync(own, follower.path("own.log"));
  writeFileSync(follower.path("good.log"), "good\n");
  mkdirSync(follower.path("directory.log"));
  await follower.start();
  await vi.waitFor(() => expect(follower.bodies).toEqual(["good"]), POLL);
  expect(follower.host.lines.join("\n")).toMatch(
    /Cannot follow \S+own\.log: .*in the log directory, where this gateway writes its own files/,
  );
});
