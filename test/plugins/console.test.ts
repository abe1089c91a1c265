import { execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import * as fc from "fast-check";
import { exporterContract } from "tailgate/testing";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import consoleExporter from "../../plugins/console.ts";
import type { Batch, LogRecord, Value } from "tailgate/plugin";
import { ExporterProcess, type ProcessOptions } from "../harness/exporter-process.ts";
import { temporaryDirectory } from "../harness/workspace.ts";

const STAMP = "2025-10-13 09:27:24";

type Given = Partial<LogRecord>;

async function directory(): Promise<string> {
  const cleanUps: (() => Promise<unknown> | void)[] = [];
  onTestFinished(async () => {
    for (const cleanUp of cleanUps) await cleanUp();
  });
  return temporaryDirectory(cleanUps);
}

async function start(
  options: Readonly<Record<string, unknown>> = {},
  given: Partial<ProcessOptions> = {},
): Promise<ExporterProcess> {
  const started = await ExporterProcess.start({
    plugin: "console",
    logDir: await directory(),
    options,
    stdio: ["ignore", "ignore", "pipe"],
    ...given,
  });
  onTestFinished(() => started.kill());
  return started;
}

/** Retries until it passes, for longer than the busiest machine needs. */
function eventually(assertion: () => void | Promise<void>): Promise<void> {
  return vi.waitFor(assertion, 20_000);
}

/** Collects a stream as text. */
function collected(stream: Readable): () => string {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString();
}

/** Returns what the console prints for the records. */
async function shown(
  records: readonly Given[],
  options: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const exporter = await start(options);
  const text = collected(exporter.child.stderr!);
  expect(await exporter.write(records)).toEqual({});
  await exporter.close();
  await eventually(() => expect(exporter.child.stderr!.readableEnded).toBe(true));
  return text();
}

function scope(name: string): LogRecord["scope"] {
  return { name, version: "", attributes: new Map() };
}

function thrown(attributes: Record<string, string>): Given {
  return { body: "failed", attributes: new Map(Object.entries(attributes)) };
}

/** More than any pipe holds, less than a batch holds. */
function manyRecords(): Given[] {
  const padding = "x".repeat(150);
  return Array.from({ length: 2000 }, (_, index) => ({ body: `record ${index} ${padding}` }));
}

function manyLines(): string {
  return manyRecords()
    .map(({ body }) => `${STAMP} - orchestrator.server - INFO - ${body as string}\n`)
    .join("");
}

describe("the exporter contract", () => {
  const cases = exporterContract(() => {
    const processes: ExporterProcess[] = [];
    let shownIn = "";
    return {
      // The exporter runs in its own process. Its standard error is a file, which captures
      // everything written.
      definition: {
        ...consoleExporter,
        open: async (_options, host) => {
          const { logDir } = host;
          shownIn = join(logDir, `stderr-${processes.length}`);
          const file = await open(shownIn, "a");
          const stdio: ProcessOptions["stdio"] = ["ignore", "ignore", file.fd];
          const exporter = await ExporterProcess.start({ plugin: "console", logDir, stdio });
          processes.push(exporter);
          await file.close();
          let closed: Promise<unknown> | undefined;
          return {
            write: (batch) => writeThere(exporter, batch),
            close: async () => void (await (closed ??= exporter.close())),
          };
        },
      },
      durable: false,
      connect: () => Promise.resolve(() => messagesIn(shownIn)),
      disconnect: () => processes.at(-1)?.kill(),
    };
  });
  test.each(cases)("$name", (given) => given.run());
});

function messagesIn(path: string): string[] {
  const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => line.split(" - ")[3]!);
}

async function writeThere(exporter: ExporterProcess, batch: Batch): Promise<void> {
  const records = Array.from({ length: batch.length }, (_, index) => batch.record(index));
  const { error } = await exporter.write(records, { firstSequence: batch.sequence(0) });
  if (error !== undefined) throw new Error(error);
}

describe("a record", () => {
  test("is printed as the line of the original system", async () => {
    // Multi-line records and custom levels are printed differently on purpose.
    const line = /^[\d-]{10}[\x20-\x7e]* - (INFO|WARNING|ERROR) - [\x20-\x7e]*\n$/;
    const usual = goldenCases().filter((golden) => line.test(golden.console_stderr));
    expect(usual.length).toBeGreaterThan(8);
    const text = await shown(usual.map(recordOfCase));
    expect(text).toBe(usual.map((golden) => golden.console_stderr).join(""));
  });

  test("is printed with its time in UTC, truncated to seconds", async () => {
    const timestamp = 1_760_347_644_999_999_999n;
    const text = await shown([{ timestamp }]);
    expect(text).toBe(`${STAMP} - orchestrator.server - INFO - hello\n`);
  });

  test("is printed with control characters, line separators and bidi controls escaped in message and logger", async () => {
    const text = await shown([
      { body: "a\nb\r\tc\0\x1b[31m\x7f\x9b\u2028\u2029\u061c\u200e\u202e\u2069 end" },
      { scope: scope("evil\n2025-10-13 09:27:24 - root\x1b[2J") },
    ]);
    expect(text).toBe(
      `${STAMP} - orchestrator.server - INFO - ` +
        String.raw`a\nb\r\tc\x00\x1b[31m\x7f\x9b\u2028\u2029\u061c\u200e\u202e\u2069 end` +
        `\n${STAMP} - ` +
        String.raw`evil\n2025-10-13 09:27:24 - root\x1b[2J - INFO - hello` +
        "\n",
    );
  });

  test("is printed with quotes, backslashes and all scripts unchanged", async () => {
    const body = 'say "hi" \\ back, naïve ✓ 日本語 🚀 עברית';
    expect(await shown([{ body }])).toBe(`${STAMP} - orchestrator.server - INFO - ${body}\n`);
  });

  test("is followed by its stack trace, indented so that no line can pass for a record", async () => {
    const stacktrace = `Traceback:\r\n  File "a.py"\n${STAMP} - root - CRITICAL - forged\n\tat com.Foo\x1b[1m\n\n`;
    const text = await shown([thrown({ "exception.stacktrace": stacktrace }), {}]);
    expect(text.split("\n")).toEqual([
      `${STAMP} - orchestrator.server - INFO - failed`,
      "    Traceback:",
      '      File "a.py"',
      `    ${STAMP} - root - CRITICAL - forged`,
      String.raw`        at com.Foo\x1b[1m`,
      `${STAMP} - orchestrator.server - INFO - hello`,
      "",
    ]);
  });

  test.each([
    [
      { "exception.type": "ValueError", "exception.message": "no\ngood" },
      ["ValueError: no", "good"],
    ],
    [{ "exception.type": "ValueError" }, ["ValueError"]],
    [{ "exception.message": "no good", "exception.stacktrace": "" }, ["no good"]],
  ])("is followed by type and message where it has no stack trace: %j", async (given, lines) => {
    const text = await shown([thrown(given)]);
    expect(text.split("\n").slice(1)).toEqual([...lines.map((line) => `    ${line}`), ""]);
  });

  test("has its attributes after the message, on the same line", async () => {
    const attributes = new Map<string, Value>([
      ["task_id", 42],
      ["path", "/a b"],
      ["note", "x\n\x1b[2J"],
      ["code.function.name", "run"],
      ["http", new Map([["status", 500]])],
      ["exception.type", "ValueError"],
      ["text", "t".repeat(5000)],
    ]);
    const many = Array.from({ length: 300 }, (_, index) => [`name${index}`, "some value"] as const);
    const text = await shown([{ attributes }, { attributes: new Map(many) }, {}]);
    const [line, exception, long, plain] = text.split("\n");
    expect(line).toBe(
      `${STAMP} - orchestrator.server - INFO - hello task_id=42 path="/a b" ` +
        String.raw`note="x\n\u001b[2J" http.status=500 ` +
        `text=${"t".repeat(200)}…`,
    );
    expect(exception).toBe("    ValueError");
    expect(long).toMatch(/ - hello name0="some value" name1="some value" .* …$/);
    expect(long!.length).toBeLessThan(1100);
    expect(plain).toBe(`${STAMP} - orchestrator.server - INFO - hello`);
  });

  test("is printed as one line and indented ones, without unsafe characters, for any content", async () => {
    const exporter = await start({ color: "never" });
    const text = collected(exporter.child.stderr!);
    const someText = fc.string({
      unit: fc.oneof(
        fc.constantFrom("\n", "\r", "\x1b", "\u202e", " "),
        fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
      ),
    });
    const record = fc.record({ body: someText, logger: someText, stacktrace: someText });
    let sequence = 1;
    await fc.assert(
      fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 20 }), async (given) => {
        const before = text().length;
        const records = given.map(({ body, logger, stacktrace }) => ({
          body,
          // Audit events do not reach the console.
          scope: scope(`x${logger}`),
          attributes: new Map([["exception.stacktrace", stacktrace]]),
        }));
        const last = `END ${sequence}`;
        await exporter.write([...records, { body: last }], { firstSequence: sequence });
        sequence += records.length + 1;
        await eventually(() => expect(text().endsWith(` - ${last}\n`)).toBe(true));
        const lines = text().slice(before).split("\n").slice(0, -1);
        const heads = lines.filter((line) => !line.startsWith("    "));
        expect(heads).toHaveLength(records.length + 1);
        for (const head of heads) expect(head).toMatch(/^2025-10-13 09:27:24 - .* - INFO - /);
        expect(lines.join("")).not.toMatch(/[\p{Cc}\u2028\u2029\p{Bidi_Control}]/u);
      }),
      { numRuns: 50 },
    );
  });
});

interface GoldenCase {
  /** In seconds since 1970. */
  created: number;
  input: { logger: string; level: string; msg: string };
  console_stderr: string;
}

function goldenCases(): GoldenCase[] {
  const text = readFileSync(new URL("../golden/vectors.jsonl", import.meta.url), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as GoldenCase);
}

function recordOfCase({ created, input }: GoldenCase): Given {
  return {
    timestamp: BigInt(Math.floor(created)) * 1_000_000_000n,
    severityText: input.level,
    body: input.msg,
    scope: scope(input.logger),
  };
}

describe("colors", () => {
  const levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
  const records = levels.map((severityText) => ({ severityText }));

  test("apply only to the level", async () => {
    const text = await shown(records, { color: "always" });
    const codes = ["2", "32", "33", "31", "1;37;41"];
    const expected = levels.map(
      (level, rank) =>
        `${STAMP} - orchestrator.server - \x1b[${codes[rank]}m${level}\x1b[0m - hello\n`,
    );
    expect(text).toBe(expected.join(""));
  });

  test("attributes are dim", async () => {
    const given = [{ attributes: new Map([["a", "b"]]) }, { attributes: new Map([["c", -1]]) }];
    const text = await shown(given, { color: "always" });
    expect(text.match(/hello.*/g)).toEqual(["hello\x1b[2m a=b\x1b[0m", "hello\x1b[2m c=-1\x1b[0m"]);
  });

  test("are off if the output is not a terminal", async () => {
    expect(await shown(records)).not.toContain("\x1b");
  });

  test.each([
    ["are used on a terminal", {}, {}, true],
    ["are not used on a terminal where NO_COLOR is set", {}, { NO_COLOR: "1" }, false],
    ["are not used on a terminal where they are not wanted", { color: "never" }, {}, false],
  ])("%s", async (_name, options, env, isColored) => {
    const { exporter, screen } = await startOnTerminal(options, env);
    await exporter.write([{ severityText: "ERROR" }]);
    await eventually(() => expect(screen()).toContain("hello"));
    expect(screen().includes("\x1b[31mERROR\x1b[0m")).toBe(isColored);
  });
});

describe("a terminal stopped by Ctrl-S", () => {
  test("blocks only the write, which resumes after Ctrl-Q", async () => {
    const { exporter, screen, type } = await startOnTerminal({ color: "never" }, {});
    await exporter.write([{ body: "first" }]);
    await eventually(() => expect(screen()).toContain("first"));
    type("\x13");
    const records = manyRecords();
    const result = await exporter.write(records, { firstSequence: 2, timeoutMs: 200 });
    expect(result.error).toBe("The operation was aborted due to timeout");
    type("\x11");
    expect(await exporter.write(records, { firstSequence: 2 })).toEqual({});
    const expected = manyLines().replaceAll("\n", "\r\n");
    await eventually(() => expect(screen().endsWith(expected)).toBe(true));
  });
});

async function startOnTerminal(
  options: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string>>,
): Promise<{ exporter: ExporterProcess; screen: () => string; type: (keys: string) => void }> {
  const stdio: ProcessOptions["stdio"] = ["pipe", "pipe", "ignore"];
  const exporter = await start(options, { stdio, env, onTerminal: true });
  return {
    exporter,
    screen: collected(exporter.child.stdout!),
    type: (keys) => void exporter.child.stdin!.write(keys),
  };
}

describe("a pipe without a reader", () => {
  test.each([
    ["standard error as a socket pair", () => startOnSocketPair("stderr")],
    ["standard output as a socket pair", () => startOnSocketPair("stdout")],
    ["standard error as a FIFO", startOnFifo],
  ])(
    "%s: does not block the event loop, and the retry resumes where it stopped",
    async (_name, begin) => {
      const { exporter, read } = await begin();
      const result = await exporter.write(manyRecords(), { timeoutMs: 300 });
      expect(result).toEqual({
        error: "The operation was aborted due to timeout",
        isPermanent: false,
      });
      const writing = exporter.write(manyRecords());
      await exporter.answer();
      const text = read();
      expect(await writing).toEqual({});
      await eventually(() => expect(text().length).toBeGreaterThanOrEqual(manyLines().length));
      expect(text()).toBe(manyLines());
    },
  );

  test("lets the process exit", async () => {
    const { exporter } = await startOnSocketPair("stderr");
    const writing = exporter.write(manyRecords());
    await exporter.answer();
    expect(await exporter.close()).toBe(0);
    await expect(writing).rejects.toThrow("The exporter's process has ended: 0.");
  });
});

describe("standard streams", () => {
  test("stdout is used if configured", async () => {
    const exporter = await start({ stream: "stdout" }, { stdio: ["ignore", "pipe", "ignore"] });
    const text = collected(exporter.child.stdout!);
    await exporter.write([{}]);
    await eventually(() => expect(text()).toBe(`${STAMP} - orchestrator.server - INFO - hello\n`));
  });

  test("a file that stderr is redirected to is appended to", async () => {
    const path = join(await directory(), "stderr.txt");
    const file = await open(path, "a");
    await file.write("before\n");
    const exporter = await start({}, { stdio: ["ignore", "ignore", file.fd] });
    await exporter.write([{}]);
    await file.close();
    expect(readFileSync(path, "utf8")).toBe(
      `before\n${STAMP} - orchestrator.server - INFO - hello\n`,
    );
  });

  test("a pipe whose reader is gone rejects batches permanently", async () => {
    const exporter = await start();
    exporter.child.stderr!.destroy();
    await eventually(async () => {
      const result = await exporter.write([{}]);
      expect(result).toEqual({
        error: "The console is no longer being read (EPIPE: broken pipe, write).",
        isPermanent: true,
      });
    });
  });

  test("a batch that was already written is not printed again", async () => {
    const exporter = await start();
    const text = collected(exporter.child.stderr!);
    await exporter.write([{ body: "one" }, { body: "two" }]);
    await exporter.write([{ body: "one" }, { body: "two" }, { body: "three" }]);
    await exporter.write([{ body: "three" }, { body: "four" }, { body: "five" }], {
      firstSequence: 3,
      isJoined: true,
    });
    await eventually(() => expect(text()).toContain("five"));
    expect(text().match(/\w+$/gm)).toEqual(["one", "two", "three", "four", "five"]);
  });
});

interface Unread {
  readonly exporter: ExporterProcess;
  /** Starts reading; the returned function gives what has arrived. */
  readonly read: () => () => string;
}

async function startOnSocketPair(stream: "stdout" | "stderr"): Promise<Unread> {
  const exporter = await start({ stream }, { stdio: ["ignore", "pipe", "pipe"] });
  return { exporter, read: () => collected(exporter.child[stream]!) };
}

async function startOnFifo(): Promise<Unread> {
  const path = join(await directory(), "fifo");
  execFileSync("mkfifo", [path]);
  // Open both ends, so that neither blocks.
  const fifo = await open(path, "r+");
  onTestFinished(() => fifo.close());
  const exporter = await start({}, { stdio: ["ignore", "ignore", fifo.fd] });
  const read = (): (() => string) => {
    const reader = spawn("cat", [path]);
    onTestFinished(() => void reader.kill());
    return collected(reader.stdout);
  };
  return { exporter, read };
}
