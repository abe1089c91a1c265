import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import * as fc from "fast-check";
import { batchOf, exporterContract, testHost, type TestHost } from "tailgate/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import auditFile from "../../plugins/audit-file.ts";
import type { RecordBatch } from "../../src/encode/record-batch.ts";
import { SqliteJournal } from "../../src/journal/sqlite.ts";
import type { Batch, Exporter, LogRecord, Value } from "../../src/plugin.ts";
import { ExporterProcess } from "../support/exporter-process.ts";
import { FollowedExporter } from "../support/followed-exporter.ts";

const NEVER = new AbortController().signal;
const DAY_MS = 86_400_000;
/** Of today: older files would be deleted. */
const NOON_MS = Math.floor(Date.now() / DAY_MS) * DAY_MS + DAY_MS / 2;

const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };

interface Opened {
  readonly exporter: Exporter;
  readonly host: TestHost;
  /** The path of a file in the audit directory. */
  at(name: string): string;
}

async function openAudit(
  options: Readonly<Record<string, unknown>> = {},
  given?: TestHost,
): Promise<Opened> {
  const host = given ?? (await hostWithDirectory());
  const exporter = await auditFile.open(auditFile.options.parse(options), host);
  onTestFinished(() => exporter.close?.(NEVER));
  return { exporter, host, at: (name) => join(host.logDir, "audit", name) };
}

async function hostWithDirectory(): Promise<TestHost> {
  const host = await testHost("audit-file");
  onTestFinished(() => host.close());
  return host;
}

/** A file name for the UTC day of that moment. */
function nameOf(timeMs: number): string {
  return `audit_${new Date(timeMs).toISOString().slice(0, 10).replaceAll("-", "")}.jsonl`;
}

let nextSequence = 1;

function event(message: string, appendedAtMs = NOON_MS): Batch {
  return auditBatch([{ body: message }], appendedAtMs);
}

function auditBatch(records: readonly Partial<LogRecord>[], appendedAtMs = NOON_MS): Batch {
  const firstSequence = nextSequence;
  nextSequence += records.length;
  return batchOf(
    records.map((record) => ({ scope: AUDIT, ...record })),
    { firstSequence, appendedAtMs },
  );
}

function read(path: string): string {
  return readFileSync(path, "utf8");
}

function events(path: string): string[] {
  const lines = read(path).split("\n").slice(0, -1);
  return lines.map((line) => (JSON.parse(line) as { event: string }).event);
}

/** The line for one record. */
async function lineOf(record: Partial<LogRecord>): Promise<string> {
  const { exporter, at } = await openAudit();
  await exporter.write(auditBatch([record]), NEVER);
  return read(at(nameOf(NOON_MS)));
}

const HEAD =
  '{"timestamp":"2025-10-13T09:27:24.339163Z","level":"INFO","event":"hello","logger":"orchestrator.audit"';

describe("the contract of all exporters", () => {
  const cases = exporterContract(() => ({
    definition: auditFile,
    durable: true,
    connect: (host) =>
      Promise.resolve(() => {
        const directory = join(host.logDir, "audit");
        const files = readdirSync(directory).sort();
        return files.flatMap((name) => events(join(directory, name)));
      }),
  }));
  test.each(cases)("$name", (given) => given.run());
});

describe("a line", () => {
  test.each(goldenCases())("has the fields of the original system: $case", async (golden) => {
    const line = await lineOf(golden.record);
    expect(Object.entries(JSON.parse(line) as object)).toEqual(Object.entries(golden.expected));
  });

  test("without action and metadata has the four fields alone", async () => {
    expect(await lineOf({})).toBe(`${HEAD}}\n`);
  });

  test("lets no metadata replace what the gateway says", async () => {
    const names = ["timestamp", "level", "event", "logger", "seq", "hash", "message", "event_type"];
    const attributes = new Map<string, Value>(names.map((name) => [name, `my ${name}`]));
    expect(await lineOf({ attributes })).toBe(
      `${HEAD},"event_type":"my event_type","extra_timestamp":"my timestamp",` +
        '"extra_level":"my level","extra_event":"my event","extra_logger":"my logger",' +
        '"extra_seq":"my seq","extra_hash":"my hash","message":"my message"}\n',
    );
  });

  test("has the last value where two would have the same name", async () => {
    const earlier = new Map<string, Value>([
      ["seq", 1],
      ["extra_seq", 2],
      ["other", 3],
    ]);
    const later = new Map<string, Value>([
      ["extra_seq", 1],
      ["other", 3],
      ["seq", 2],
    ]);
    expect(await lineOf({ attributes: earlier })).toBe(`${HEAD},"extra_seq":2,"other":3}\n`);
    expect(await lineOf({ attributes: later })).toBe(`${HEAD},"other":3,"extra_seq":2}\n`);
  });

  test("keeps the order and the very digits of the metadata", async () => {
    const attributes = new Map<string, Value>([
      ["10", 1e21],
      ["2", 0.1],
      [
        "details",
        new Map<string, Value>([
          ["9", [1, "}", "\\"]],
          ["1", 12_345_678_901_234_567_890n],
        ]),
      ],
      ["__proto__", null],
      ['"', 'a"b\\'],
      ["", true],
    ]);
    expect(await lineOf({ attributes })).toBe(
      `${HEAD},"10":1e+21,"2":0.1,"details":{"9":[1,"}","\\\\"],"1":"12345678901234567890"},` +
        '"__proto__":null,"\\"":"a\\"b\\\\","":true}\n',
    );
  });

  test("has what was sent, in its order, whatever that is", async () => {
    const { exporter, at } = await openAudit();
    const path = at(nameOf(NOON_MS));
    await exporter.write(event("first"), NEVER);
    const { value } = fc.letrec<{ value: Value }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.string({ unit: "binary" }),
        fc.integer(),
        fc.double({ min: -1e6, max: 1e6, noNaN: true }),
        fc.constantFrom(true, false, null),
        fc.array(tie("value"), { maxLength: 4 }),
        fc
          .array(fc.tuple(fc.string(), tie("value")), { maxLength: 4 })
          .map((pairs) => new Map(pairs)),
      ),
    }));
    const names = ["timestamp", "level", "event", "logger", "seq", "hash", "event_type", "message"];
    const key = fc.oneof(
      fc.constantFrom(...names, ...names.map((name) => `extra_${name}`), "10", "2", "\n", '"'),
      fc.string({ unit: "binary" }),
    );
    const attributes = fc.array(fc.tuple(key, value), { maxLength: 12 });
    const record = fc.record({ body: fc.string({ unit: "binary" }), attributes });
    await fc.assert(
      fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 5 }), async (given) => {
        const before = read(path).length;
        const records = given.map(({ body, attributes: pairs }) => ({
          body,
          attributes: new Map(pairs),
        }));
        await exporter.write(auditBatch(records), NEVER);
        expect(read(path).slice(before)).toBe(records.map(expectedLine).join(""));
      }),
      { numRuns: 300 },
    );
  });
});

const RESERVED = new Set(["timestamp", "level", "event", "logger", "seq", "hash"]);

/** The line as it follows from the record, by way of maps and texts. */
function expectedLine({
  body,
  attributes,
}: {
  body: string;
  attributes: Map<string, Value>;
}): string {
  const line = new Map<string, Value>([
    ["timestamp", "2025-10-13T09:27:24.339163Z"],
    ["level", "INFO"],
    ["event", body],
    ["logger", "orchestrator.audit"],
  ]);
  const eventType = attributes.get("event_type") ?? null;
  if (eventType !== null) {
    line.set("event_type", typeof eventType === "string" ? eventType : json(eventType));
  }
  for (const [key, value] of attributes) {
    if (key === "event_type") continue;
    const name = RESERVED.has(key) ? `extra_${key}` : key;
    line.delete(name);
    line.set(name, value);
  }
  return `${json(line)}\n`;
}

/** As JSON.stringify, but in the order of a map. */
function json(value: Value): string {
  if (Array.isArray(value)) return `[${value.map(json).join(",")}]`;
  if (!(value instanceof Map)) return JSON.stringify(value);
  const members = Array.from(value, ([key, inner]) => `${JSON.stringify(key)}:${json(inner)}`);
  return `{${members.join(",")}}`;
}

interface GoldenCase {
  readonly case: string;
  readonly record: Partial<LogRecord>;
  readonly expected: object;
}

/** What the original was given, as the record of it, and what it wrote. */
function goldenCases(): GoldenCase[] {
  const text = readFileSync(new URL("../golden/vectors.jsonl", import.meta.url), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { case: string; audit_jsonl: string; ws: string[] })
    .filter((golden) => golden.audit_jsonl !== "")
    .map((golden) => goldenCase(golden.case, golden.audit_jsonl, golden.ws[0]!));
}

function goldenCase(name: string, line: string, frame: string): GoldenCase {
  const { data } = JSON.parse(frame) as {
    data: {
      timestamp: string;
      level: string;
      logger: string;
      message: string;
      action?: string;
      metadata?: Record<string, Value>;
    };
  };
  const metadata = Object.entries(data.metadata ?? {}).map(([key, value]) => [key, plain(value)]);
  const action = data.action === undefined ? [] : [["event_type", data.action]];
  const timestamp = BigInt(Date.parse(`${data.timestamp.slice(0, 19)}Z`)) * 1_000_000n;
  const micros = BigInt(data.timestamp.slice(20));
  return {
    case: name,
    record: {
      timestamp: timestamp + micros * 1000n,
      severityText: data.level,
      body: data.message,
      scope: { ...AUDIT, name: data.logger },
      attributes: new Map([...action, ...metadata] as [string, Value][]),
    },
    expected: improved(JSON.parse(line) as Record<string, unknown>, data),
  };
}

/** The original lets a caller replace the timestamp, the level, the event and the logger. */
function improved(
  line: Record<string, unknown>,
  data: { timestamp: string; level: string; logger: string; message: string },
): object {
  const { timestamp, level, event: said, logger, ...rest } = line;
  const ours = {
    timestamp: `${data.timestamp}Z`,
    level: data.level,
    event: data.message,
    logger: data.logger,
  };
  const isSpoofed = level !== data.level || said !== data.message;
  const extras = {
    extra_level: level,
    extra_timestamp: timestamp,
    extra_logger: logger,
    extra_event: said,
  };
  return { ...ours, ...rest, ...(isSpoofed ? extras : {}) };
}

/** Objects as maps. */
function plain(value: unknown): Value {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value as Value;
  return new Map(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

describe("the day", () => {
  test("is the UTC day of the append, not of the record", async () => {
    const { exporter, at } = await openAudit();
    const midnight = Date.UTC(2024, 1, 29);
    await exporter.write(event("last of the 28th", midnight - 1), NEVER);
    await exporter.write(event("first of the leap day", midnight), NEVER);
    await exporter.write(event("last of the leap day", midnight + DAY_MS - 1), NEVER);
    await exporter.write(event("March", midnight + DAY_MS), NEVER);
    expect(events(at("audit_20240228.jsonl"))).toEqual(["last of the 28th"]);
    expect(events(at("audit_20240229.jsonl"))).toEqual([
      "first of the leap day",
      "last of the leap day",
    ]);
    expect(events(at("audit_20240301.jsonl"))).toEqual(["March"]);
  });

  test("stays where it is when the clock goes back", async () => {
    const { exporter, at } = await openAudit();
    await exporter.write(event("1", NOON_MS), NEVER);
    await exporter.write(event("2", NOON_MS - DAY_MS), NEVER);
    await exporter.write(event("3", NOON_MS + DAY_MS), NEVER);
    expect(existsSync(at(nameOf(NOON_MS - DAY_MS)))).toBe(false);
    expect(events(at(nameOf(NOON_MS)))).toEqual(["1", "2"]);
    expect(events(at(nameOf(NOON_MS + DAY_MS)))).toEqual(["3"]);
  });

  test("is gone on with after a restart", async () => {
    const { exporter, host, at } = await openAudit();
    await exporter.write(event("1"), NEVER);
    const again = await openAudit({}, host);
    await again.exporter.write(event("2"), NEVER);
    expect(events(at(nameOf(NOON_MS)))).toEqual(["1", "2"]);
  });
});

describe("retention", () => {
  const now = Date.now();

  test("deletes at the start what is older, whoever wrote it, and reports how many", async () => {
    const host = await hostWithDirectory();
    const directory = join(host.logDir, "audit");
    mkdirSync(directory);
    const [oldest, old, kept] = [90, 31, 30].map((days) => nameOf(now - days * DAY_MS));
    const strangers = [
      "audit_20200230.jsonl",
      "audit_20201301.jsonl",
      "audit_20200101.jsonl.gz",
      "audit_2020101.jsonl",
      "xaudit_20200101.jsonl",
      "audit_20200101.log",
    ];
    for (const name of [oldest!, old!, kept!, ...strangers]) {
      writeFileSync(join(directory, name), "");
    }
    symlinkSync(join(directory, kept!), join(directory, "audit_20200102.jsonl"));
    mkdirSync(join(directory, "audit_20200103.jsonl"));
    await openAudit({}, host);
    const left = [kept!, nameOf(now), ...strangers, "audit_20200102.jsonl", "audit_20200103.jsonl"];
    expect(readdirSync(directory).sort()).toEqual(left.sort());
    expect(host.lines.join("\n")).toMatch(
      / - tailgate\.audit-file - INFO - Deleted 2 audit files of more than 30 days ago\.$/,
    );
  });

  test("deletes at each new day what has become too old", async () => {
    const { exporter, host } = await openAudit({ retention_days: 2 });
    for (const days of [1, 2, 3, 4]) {
      await exporter.write(event(`${days}`, now + days * DAY_MS), NEVER);
    }
    const left = [2, 3, 4].map((days) => nameOf(now + days * DAY_MS));
    expect(readdirSync(join(host.logDir, "audit"))).toEqual(left);
    expect(host.lines).toHaveLength(2);
    expect(host.lines[1]).toContain("Deleted 1 audit file of more than 2 days ago.");
  });
});

describe("the files", () => {
  test("and their directory are for their owner alone", async () => {
    const { host, at } = await openAudit();
    expect((statSync(join(host.logDir, "audit")).mode & 0o777).toString(8)).toBe("700");
    expect((statSync(at(nameOf(Date.now()))).mode & 0o777).toString(8)).toBe("600");
  });

  test("are refused where their directory is a link", async () => {
    const host = await hostWithDirectory();
    const directory = join(host.logDir, "audit");
    symlinkSync("/tmp", directory);
    await expect(openAudit({}, host)).rejects.toMatchObject({
      code: "LOG_DIR_UNUSABLE",
      message: `The log directory ${directory} is a symbolic link. Choose another directory with --log-dir, or mend its owner and permissions.`,
    });
  });

  test("are refused where their directory is a file", async () => {
    const host = await hostWithDirectory();
    writeFileSync(join(host.logDir, "audit"), "");
    await expect(openAudit({}, host)).rejects.toThrow(
      `The log directory ${join(host.logDir, "audit")} is not a directory.`,
    );
  });

  test("are refused where a day's file is a link, and the event is written once it is gone", async () => {
    const { exporter, at } = await openAudit();
    const path = at(nameOf(NOON_MS + DAY_MS));
    symlinkSync("/dev/null", path);
    const batch = event("1", NOON_MS + DAY_MS);
    await expect(exporter.write(batch, NEVER)).rejects.toThrow(
      `The log file ${path} is a symbolic link.`,
    );
    rmSync(path);
    await exporter.write(batch, NEVER);
    expect(events(path)).toEqual(["1"]);
  });

  test("get a line break first when a crash has torn the last line", async () => {
    const { host, at } = await openAudit();
    const path = at(nameOf(NOON_MS));
    writeFileSync(path, '{"torn');
    const { exporter } = await openAudit({}, host);
    await exporter.write(event("1"), NEVER);
    expect(read(path)).toMatch(/^\{"torn\n\{"timestamp".*\}\n$/);
  });

  test("get every event once, however often its batch comes", async () => {
    const { exporter, at } = await openAudit();
    const batch = auditBatch([{ body: "1" }, { body: "2" }]);
    await exporter.write(batch, NEVER);
    await exporter.write(batch, NEVER);
    await exporter.write(batch.from(1), NEVER);
    expect(events(at(nameOf(NOON_MS)))).toEqual(["1", "2"]);
  });

  test("go on with the rest of a batch after a full disk", async () => {
    const host = await hostWithDirectory();
    const through = ["prlimit", "--fsize=50000:unlimited"];
    const exporter = await ExporterProcess.start({
      plugin: "audit-file",
      logDir: host.logDir,
      through,
    });
    onTestFinished(() => exporter.kill());
    const bodies = Array.from({ length: 1000 }, (_, index) => `${index}`);
    const records = bodies.map((body) => ({ body, scope: AUDIT }));
    expect((await exporter.write(records)).error).toBe("EFBIG: file too large, write");
    execFileSync("prlimit", [`--pid=${exporter.child.pid}`, "--fsize=unlimited"]);
    expect(await exporter.write(records)).toEqual({});
    const directory = join(host.logDir, "audit");
    const files = readdirSync(directory).sort();
    expect(files.flatMap((name) => events(join(directory, name)))).toEqual(bodies);
  });
});

/** What happens between two crashes: events, each so many days after today, and how many thousandths of the newest file are left. */
const life = fc.record({
  days: fc.array(fc.integer({ min: -3, max: 12 }), { maxLength: 4 }),
  left: fc.nat(1000),
});

describe("after a crash", () => {
  test("the files are completed from the journal, whatever the clock says and was written", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(life, { minLength: 1, maxLength: 5 }), async (lives) => {
        const { follow, append, files, end } = await journalled();
        const expected = new Map<string, string[]>();
        let day = -Infinity;
        let count = 0;
        for (const { days, left } of [{ days: [-4], left: 1000 }, ...lives]) {
          const exporter = await follow();
          for (const offset of days) {
            day = Math.max(day, offset);
            const name = nameOf(NOON_MS + day * DAY_MS);
            const body = `${++count}`;
            expected.set(name, [...(expected.get(name) ?? []), body]);
            await append([{ body }, { scope: SYSTEM }], NOON_MS + offset * DAY_MS);
            await exporter.follow();
          }
          await exporter.crash();
          cutNewest(files(), left);
        }
        const last = await follow();
        await last.follow();
        await last.close();
        const written = files().map((path) => [basename(path), events(path)] as const);
        expect(new Map(written)).toEqual(expected);
        await end();
      }),
      { numRuns: 15 },
    );
  });

  test("what is torn and is not the journal's stays, on a line of its own", async () => {
    const { follow, append, files, end } = await journalled();
    const first = await follow();
    await append([{ body: "1" }], NOON_MS);
    await first.follow();
    await first.crash();
    appendFileSync(files()[0]!, '{"not":"ours');
    const again = await follow();
    await append([{ body: "2" }], NOON_MS);
    await again.follow();
    await again.close();
    expect(read(files()[0]!)).toMatch(/^.*"seq":1,.*\n\{"not":"ours\n.*"seq":2,.*\n$/);
    await end();
  });

  test("a first line that is torn is completed", async () => {
    const { follow, append, at, end } = await journalled();
    const first = await follow();
    const batch = await append([{ body: "1" }, { body: "2" }], NOON_MS);
    await first.crash();
    const path = at(nameOf(NOON_MS));
    writeFileSync(path, batch.auditLine(0).subarray(0, 50));
    const again = await follow();
    await again.follow();
    await again.close();
    expect(events(path)).toEqual(["1", "2"]);
    await end();
  });

  test("a line larger than what is read at once is found", async () => {
    const { follow, append, files, end } = await journalled();
    const bodies = ["1", "x".repeat(300_000), "y".repeat(200_000)];
    for (const body of bodies) {
      const exporter = await follow();
      await append([{ body }], NOON_MS);
      await exporter.follow();
      await exporter.crash();
      if (body !== "1") truncateSync(files()[0]!, statSync(files()[0]!).size - 1);
    }
    const last = await follow();
    await last.follow();
    await last.close();
    expect(events(files()[0]!)).toEqual(bodies);
    await end();
  });
});

/** Leaves a part of the newest file, and in any case the oldest event. */
function cutNewest(paths: readonly string[], part: number): void {
  const newest = paths.at(-1)!;
  const safe = paths.length > 1 ? 0 : read(newest).indexOf("\n") + 1;
  truncateSync(newest, safe + Math.floor((part / 1000) * (statSync(newest).size - safe)));
}

const SYSTEM = { ...AUDIT, name: "orchestrator.server" };

/** The exporter behind a journal that gives events their seq and hash. */
async function journalled() {
  const host = await testHost("audit-file");
  const lane = { bytes: 1 << 30, ms: Number.MAX_SAFE_INTEGER };
  const retention = { system_log: lane, audit_log: lane };
  const alarm = (text: string): void => expect.fail(text);
  const journal = await SqliteJournal.open({ directory: host.logDir, retention, alarm });
  const directory = join(host.logDir, "audit");
  const options = { retention_days: 36_500 };
  return {
    at: (name: string) => join(directory, name),
    follow: () => FollowedExporter.open({ definition: auditFile, options, host, journal }),
    append: async (records: readonly Partial<LogRecord>[], atMs: number): Promise<Batch> => {
      const batch = auditBatch(records) as RecordBatch;
      const durable = journal.append(batch);
      batch.appendedAtMs = atMs;
      await durable;
      return batch;
    },
    /** Those with something in them, the oldest first. */
    files: (): string[] => {
      const paths = readdirSync(directory).map((name) => join(directory, name));
      return paths.filter((path) => statSync(path).size > 0).sort();
    },
    end: async (): Promise<void> => {
      await journal.close();
      await host.close();
    },
  };
}
