/** The gateway's own log lines are rate-limited: a sender that can cause one can cause thousands. */

import { describe, expect, onTestFinished, test, vi } from "vitest";
import { hostLogger, lineLimiter } from "../src/gateway/host-log.ts";
import { LoggingManager } from "tailgate";
import { Listeners } from "../src/client/stream-events.ts";
import { Workspace } from "./harness/workspace.ts";
import { ask } from "./harness/http-server.ts";

const KIND_LINES_MAX = 10;
const LOGGER_LINES_MAX = 100;

/** Returns the text of a line without its time. */
function textOf(line: string): string {
  return line.slice("2025-10-13 09:27:24 - ".length);
}

function sink() {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(textOf(line));
  return { lines, write };
}

describe("similar lines", () => {
  test("are written up to a limit regardless of their variable parts; the rest is counted and summarized", () => {
    const { lines, write } = sink();
    const log = hostLogger("tailgate.intake", write);
    for (let index = 1; index <= 3000; index++) log.warning(`Two audit events have k${index}.`);
    expect(lines).toHaveLength(KIND_LINES_MAX);
    expect(lines[0]).toBe("tailgate.intake - WARNING - Two audit events have k1.");
    expect(lineLimiter(write).suppressed).toBe(2990);
    lineLimiter(write).flush();
    expect(lines.slice(KIND_LINES_MAX)).toEqual([
      expect.stringMatching(
        /^tailgate\.intake - WARNING - 2990 more lines of this kind in the last \d+ s; the last one: Two audit events have k3000\.$/,
      ),
    ]);
    lineLimiter(write).flush();
    expect(lines).toHaveLength(KIND_LINES_MAX + 1);
  });

  test("are grouped by level, logger and first words, so a flood hides no other line", () => {
    const { lines, write } = sink();
    const log = hostLogger("tailgate.http", write);
    for (let index = 0; index < 50; index++) log.error(`GET /api/logs/${index} failed.`, "why");
    log.error("The HTTP server has trouble.", new Error("once"));
    log.warning("GET /api/logs failed.");
    hostLogger("tailgate.other", write).error("GET /api/logs failed.");
    expect(lines.slice(KIND_LINES_MAX)).toEqual([
      "tailgate.http - ERROR - The HTTP server has trouble. once",
      "tailgate.http - WARNING - GET /api/logs failed.",
      "tailgate.other - ERROR - GET /api/logs failed.",
    ]);
  });

  test("are written again in the next minute, after a summary of the previous one", () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const { lines, write } = sink();
    const log = hostLogger("tailgate.http", write);
    for (let index = 0; index < 12; index++) log.info("A request was refused.");
    vi.advanceTimersByTime(60_000);
    expect(lines.slice(KIND_LINES_MAX)).toEqual([
      "tailgate.http - INFO - 2 more lines of this kind in the last 60 s; the last one: A request was refused.",
    ]);
    log.info("A request was refused.");
    expect(lines).toHaveLength(KIND_LINES_MAX + 2);
  });
});

test("a logger writes a bounded number of lines per minute, even if all differ", () => {
  const { lines, write } = sink();
  const log = hostLogger("tailgate.exporter.mine", write);
  const letters = (index: number): string =>
    String.fromCharCode(97 + (index % 26), 97 + (Math.floor(index / 26) % 26));
  for (let index = 0; index < 600; index++) log.warning(`${letters(index)} broke`);
  expect(lines).toHaveLength(LOGGER_LINES_MAX);
  lineLimiter(write).flush();
  expect(lines).toHaveLength(LOGGER_LINES_MAX + 1);
  expect(lines.at(-1)).toContain(" - WARNING - 500 more lines of this kind ");
});

test("3 000 events with one key and conflicts of 3 000 keys write a few lines; the rest is counted", async () => {
  const { lines, write } = sink();
  await using workspace = await Workspace.create();
  const logging = await LoggingManager.start({
    port: 0,
    logDir: workspace.path("logs"),
    journal: { engine: "memory" },
    exporters: {},
    registerGlobally: false,
    write,
  });
  const event = (eventType: string, key: string): void =>
    logging.logAuditEvent({ eventType }, { key });
  for (let index = 0; index < 3000; index++) event(`event ${index}`, "one");
  for (let index = 0; index < 3000; index++) event("first", `key ${index}`);
  for (let index = 0; index < 3000; index++) event("second", `key ${index}`);
  await logging.flush();
  const warnings = (): string[] => lines.filter((line) => line.includes("WARNING"));
  expect(warnings().length).toBe(KIND_LINES_MAX);
  const { body } = await ask(`${logging.url}/metrics`);
  expect(body).toContain(`\ntailgate_log_lines_suppressed_total ${5999 - KIND_LINES_MAX}\n`);
  await logging.stop();
  expect(warnings()).toHaveLength(KIND_LINES_MAX + 1);
  expect(warnings().at(-1)).toContain(`${5999 - KIND_LINES_MAX} more lines of this kind`);
});

test("a client listener that throws on every event is reported once a minute", () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const report = vi.spyOn(console, "error").mockImplementation(() => {});
  onTestFinished(() => {
    vi.useRealTimers();
    report.mockRestore();
  });
  const listeners = new Listeners();
  const broken = new Error("broken");
  listeners.add(() => {
    throw broken;
  });
  const event = { type: "caught_up", sequence: 1 } as const;
  for (let index = 0; index < 50; index++) listeners.emit([event]);
  expect(report.mock.calls).toEqual([["A listener of a log stream threw an exception.", broken]]);
  vi.advanceTimersByTime(60_000);
  listeners.emit([event]);
  expect(report.mock.calls[1]).toEqual([
    "A listener of a log stream threw an exception 50 times since the last report.",
    broken,
  ]);
});
