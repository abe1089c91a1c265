import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { batchOf, exporterContract, testHost, type TestHost } from "tailgate/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import file from "../../plugins/file.ts";
import type { RecordBatch } from "../../src/encode/record-batch.ts";
import type { Batch, Exporter, LogRecord } from "../../src/plugin.ts";
import { ExporterProcess } from "../support/exporter-process.ts";
import { FollowedExporter } from "../support/followed-exporter.ts";

const NEVER = new AbortController().signal;

interface Opened {
  readonly exporter: Exporter;
  readonly host: TestHost;
  /** Where the file is. */
  readonly path: string;
}

async function openFile(
  options: Readonly<Record<string, unknown>> = {},
  given?: TestHost,
): Promise<Opened> {
  const host = given ?? (await hostWithDirectory());
  const parsed = file.options.parse(options);
  const exporter = await file.open(parsed, host);
  onTestFinished(() => exporter.close?.(NEVER));
  return { exporter, host, path: join(host.logDir, parsed.path) };
}

async function hostWithDirectory(): Promise<TestHost> {
  const host = await testHost("file");
  onTestFinished(() => host.close());
  return host;
}

/** Batches with growing sequences. */
function batches(...given: string[][]): Batch[] {
  let firstSequence = 1;
  return given.map((bodies) => {
    const batch = batchOf(
      bodies.map((body) => ({ body })),
      { firstSequence },
    );
    firstSequence += bodies.length;
    return batch;
  });
}

/** What the file should get for the batch. */
function linesOf(batch: Batch): string[] {
  return Array.from({ length: batch.length }, (_, index) => `${textOf(batch.data(index))}\n`);
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

function read(path: string): string {
  return readFileSync(path, "utf8");
}

function messages(path: string): string[] {
  const lines = read(path).split("\n").slice(0, -1);
  return lines.map((line) => (JSON.parse(line) as { message: string }).message);
}

/** All that was kept, the oldest first. */
function kept(path: string, backups: number): string[] {
  const places = Array.from({ length: backups }, (_, index) => `${path}.${backups - index}`);
  return [...places, path].filter((place) => existsSync(place)).map(read);
}

describe("the contract of all exporters", () => {
  const cases = exporterContract(() => ({
    definition: file,
    durable: true,
    connect: (host) =>
      Promise.resolve(() => {
        return messages(join(host.logDir, "orchestrator.log"));
      }),
  }));
  test.each(cases)("$name", (given) => given.run());
});

describe("a line", () => {
  test("is the data of the envelope, byte for byte", async () => {
    const { exporter, path } = await openFile();
    const batch = batchOf([
      { body: 'say "hi"\n{"forged":1}\u2028 naïve 🚀' },
      {
        attributes: new Map<string, never>([
          ["10", 1 as never],
          ["2", 1.5 as never],
        ]),
      },
    ]);
    await exporter.write(batch, NEVER);
    expect(read(path)).toBe(linesOf(batch).join(""));
    expect(read(path).split("\n")).toHaveLength(3);
  });

  test("may be larger than all memory that is kept for lines", async () => {
    const { exporter, path } = await openFile();
    const [large, larger] = ["日".repeat(80_000), "日".repeat(110_000)];
    const given = [["before"], ["x".repeat(700_000)], [large, larger, "after"], ["later"]];
    for (const batch of batches(...given)) await exporter.write(batch, NEVER);
    expect(messages(path)).toEqual(given.flat());
  });

  test("is written once, however often its batch comes", async () => {
    const { exporter, path } = await openFile();
    const [first, second] = batches(["1", "2"], ["3"]);
    await exporter.write(first!, NEVER);
    await exporter.write(first!, NEVER);
    await exporter.write(second!, NEVER);
    await exporter.write(first!.from(1), NEVER);
    expect(messages(path)).toEqual(["1", "2", "3"]);
  });

  test("is missing nowhere where there are thousands in a batch", async () => {
    const { exporter, path } = await openFile();
    const bodies = Array.from({ length: 2000 }, (_, index) => `${index} ${"x".repeat(200)}`);
    const given = batches(bodies, bodies, bodies);
    for (const batch of given) await exporter.write(batch, NEVER);
    expect(read(path)).toBe(given.flatMap(linesOf).join(""));
  });
});

describe("rotation", () => {
  test("moves the file to .1 before a line that would exceed max_bytes", async () => {
    const [batch] = batches(["1", "2", "3", "4", "5", "6", "7"]);
    const lineBytes = linesOf(batch!)[0]!.length;
    const { exporter, host, path } = await openFile({ max_bytes: 2 * lineBytes, backups: 2 });
    await exporter.write(batch!, NEVER);
    expect(messages(`${path}.2`)).toEqual(["3", "4"]);
    expect(messages(`${path}.1`)).toEqual(["5", "6"]);
    expect(messages(path)).toEqual(["7"]);
    expect(readdirSync(host.logDir)).toHaveLength(3);
  });

  test("counts what the file had when it was opened", async () => {
    const [first, second] = batches(["1", "2"], ["3"]);
    const options = { max_bytes: 2 * linesOf(first!)[0]!.length };
    const { exporter, host, path } = await openFile(options);
    await exporter.write(first!, NEVER);
    const again = await openFile(options, host);
    await again.exporter.write(second!, NEVER);
    expect(messages(`${path}.1`)).toEqual(["1", "2"]);
    expect(messages(path)).toEqual(["3"]);
  });

  test("happens in the middle of a large batch, however much of it is being written", async () => {
    const bodies = Array.from({ length: 2000 }, (_, index) => `${index} ${"x".repeat(200)}`);
    const [batch] = batches(bodies);
    const { exporter, path } = await openFile({ max_bytes: 400_000 });
    await exporter.write(batch!, NEVER);
    expect(kept(path, 5)).toEqual(expectedFiles(linesOf(batch!), 400_000));
  });

  test("gives a line that is larger than max_bytes a file of its own", async () => {
    const [batch] = batches(["1", "x".repeat(500), "3"]);
    const { exporter, path } = await openFile({ max_bytes: 300 });
    await exporter.write(batch!, NEVER);
    expect(kept(path, 5).map((text) => text.length)).toEqual(
      linesOf(batch!).map((line) => line.length),
    );
  });

  test("without backups begins a new file", async () => {
    const [batch] = batches(["1", "2", "3"]);
    const { exporter, host, path } = await openFile({
      max_bytes: 2 * linesOf(batch!)[0]!.length,
      backups: 0,
    });
    await exporter.write(batch!, NEVER);
    expect(messages(path)).toEqual(["3"]);
    expect(readdirSync(host.logDir)).toEqual(["orchestrator.log"]);
  });

  test("fills a gap that an interrupted one has left, and pushes nothing out", async () => {
    const [batch] = batches(["1", "2"]);
    const { exporter, path } = await openFile({ max_bytes: 10, backups: 3 });
    writeFileSync(`${path}.3`, "three");
    writeFileSync(`${path}.1`, "one");
    await exporter.write(batch!, NEVER);
    expect([3, 2].map((place) => read(`${path}.${place}`))).toEqual(["three", "one"]);
    expect(messages(`${path}.1`)).toEqual(["1"]);
    expect(messages(path)).toEqual(["2"]);
  });

  test("that fails is begun again by the next write, without a line lost or doubled", async () => {
    const [batch] = batches(["1", "2", "3"]);
    const { exporter, path } = await openFile({ max_bytes: 10, backups: 1 });
    mkdirSync(`${path}.1`);
    await expect(exporter.write(batch!, NEVER)).rejects.toThrow("EISDIR");
    expect(messages(path)).toEqual(["1"]);
    rmSync(`${path}.1`, { recursive: true });
    await exporter.write(batch!, NEVER);
    expect([`${path}.1`, path].map(messages)).toEqual([["2"], ["3"]]);
  });

  test("loses, doubles and splits no line, whatever the sizes and the restarts", async () => {
    const batch = fc.array(fc.nat(400), { minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ batch, restart: fc.boolean() }), { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 1, max: 3000 }),
        fc.integer({ min: 0, max: 6 }),
        async (steps, bytesMax, backups) => {
          const host = await testHost("file");
          const options = file.options.parse({ max_bytes: bytesMax, backups });
          let exporter = await file.open(options, host);
          const written: string[] = [];
          const given = steps.map((step) => step.batch.map((length) => "x".repeat(length)));
          for (const [index, one] of batches(...given).entries()) {
            if (steps[index]!.restart) {
              await exporter.close?.(NEVER);
              exporter = await file.open(options, host);
            }
            await exporter.write(one, NEVER);
            written.push(...linesOf(one));
          }
          await exporter.close?.(NEVER);
          const files = kept(join(host.logDir, options.path), backups);
          await host.close();
          expect(files.length).toBeGreaterThan(0);
          expect(files).toEqual(expectedFiles(written, bytesMax).slice(-1 - backups));
        },
      ),
      { numRuns: 60 },
    );
  });
});

const MANY_BACKUPS = 1000;

/** What a crash leaves of what was written since the place was kept. */
type Crash =
  /** The newest file was written so far only, in thousandths of what may be missing. */
  | { readonly cut: number }
  /** A rotation has given so many files their next name, the oldest first. */
  | { readonly moved: number }
  /** It comes when the place is kept for the time after so many. */
  | { readonly keepsMax: number };

const crash: fc.Arbitrary<Crash> = fc.oneof(
  fc.record({ cut: fc.nat(1000) }),
  fc.record({ moved: fc.nat(6) }),
  fc.record({ keepsMax: fc.nat(6) }),
);

describe("after a crash", () => {
  test("the files are completed from the journal, whatever was written of the last lines", async () => {
    const bodies = fc.array(fc.nat(300), { minLength: 1, maxLength: 8 });
    const life = fc.record({ batches: fc.array(bodies, { maxLength: 6 }), crash });
    await fc.assert(
      fc.asyncProperty(
        fc.array(life, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 100, max: 3000 }),
        fc.constantFrom(MANY_BACKUPS, 2, 1, 0),
        async (lives, bytesMax, backups) => {
          const host = await testHost("file");
          const { journal } = host;
          const options = { max_bytes: bytesMax, backups };
          const path = join(host.logDir, "orchestrator.log");
          const follow = { definition: file, options, host, journal };
          const written: string[] = [];
          for (const { batches: given, crash: how } of lives) {
            const exporter = await FollowedExporter.open({ ...follow, ...how });
            for (const sizes of given) {
              const batch = batchOf(sizes.map((size) => ({ body: bodyOf(size) })));
              await journal.append(batch as RecordBatch);
              written.push(...linesOf(batch));
              await exporter.follow();
            }
            await exporter.crash();
            if ("cut" in how) cut(path, how.cut, journal.memory("file"));
            if ("moved" in how && backups === MANY_BACKUPS) move(path, how.moved);
          }
          const last = await FollowedExporter.open(follow);
          await last.follow();
          await last.close();
          const text = kept(path, backups).join("");
          const all = written.join("");
          expect(text).toBe(backups === MANY_BACKUPS ? all : all.slice(-text.length || Infinity));
          expect(host.lines).toEqual([]);
          await host.close();
        },
      ),
      { numRuns: 60 },
    );
  });

  test("lines below the level of the exporter are not looked for", async () => {
    const host = { ...(await hostWithDirectory()), level: "ERROR" } as const;
    const { journal } = host;
    const options = { max_bytes: 400 };
    const path = join(host.logDir, "orchestrator.log");
    const levels = [17, 9, 17, 9, 9, 17];
    const batch = batchOf(levels.map((severityNumber) => ({ severityNumber, severityText: "" })));
    const first = await FollowedExporter.open({ definition: file, options, host, journal });
    await journal.append(batch as RecordBatch);
    await first.follow();
    await first.crash();
    expect(linesIn(path)).toBe(3);
    // What the level is now does not change what the lines are.
    const again = await FollowedExporter.open({
      ...{ definition: file, options, host: { ...host, level: "DEBUG" }, journal },
    });
    await again.follow();
    await again.close();
    expect(linesIn(path)).toBe(3);
    expect(host.lines).toEqual([]);
  });

  test.each([
    ["moved away", (path: string) => renameSync(path, `${path}-moved`), "is not there any more"],
    ["emptied", (path: string) => truncateSync(path), "is not there any more, or has become"],
    [
      "written to",
      (path: string) => writeFileSync(path, "mine\n".repeat(200)),
      "not the journal's",
    ],
  ])("a file that was %s meanwhile is completed, and that is said", async (_how, change, why) => {
    const host = await hostWithDirectory();
    const { journal } = host;
    const path = join(host.logDir, "orchestrator.log");
    const first = await FollowedExporter.open({ definition: file, options: {}, host, journal });
    await journal.append(batchOf([{ body: "1" }]) as RecordBatch);
    await first.follow();
    await first.close();
    const second = await FollowedExporter.open({ definition: file, options: {}, host, journal });
    await journal.append(batchOf([{ body: "2" }]) as RecordBatch);
    await second.follow();
    await second.crash();
    change(path);
    const third = await FollowedExporter.open({ definition: file, options: {}, host, journal });
    await third.follow();
    await third.close();
    expect(read(path).split("\n").at(-2)).toContain('"message":"2"');
    expect(host.lines).toHaveLength(1);
    expect(host.lines[0]).toContain(why);
    expect(host.lines[0]).toContain("sequences 2 to 2");
  });

  test("that comes while the only file is begun anew its lines are found all the same", async () => {
    const host = await hostWithDirectory();
    const { journal } = host;
    const options = { max_bytes: 300, backups: 0 };
    const path = join(host.logDir, "orchestrator.log");
    for (let life = 1; life <= 5; life++) {
      const exporter = await FollowedExporter.open({ definition: file, options, host, journal });
      await journal.append(batchOf([{ body: `${life}` }, { body: `${life}+` }]) as RecordBatch);
      await exporter.follow();
      await exporter.crash();
    }
    expect(messages(path)).toEqual(["5", "5+"]);
  });
});

/** Many are the same. */
function bodyOf(size: number): string {
  return size % 2 === 0 ? "same" : "x".repeat(size);
}

function linesIn(path: string): number {
  return kept(path, MANY_BACKUPS).join("").split("\n").length - 1;
}

/** Leaves a part of what lies behind the kept place in the newest file. */
function cut(path: string, part: number, place: string | undefined): void {
  if (place === undefined) return;
  const { inode, offset } = JSON.parse(place) as { inode: number; offset: number };
  const { ino, size } = statSync(path);
  const safe = ino === inode ? offset : 0;
  truncateSync(path, safe + Math.floor((part / 1000) * (size - safe)));
}

/** Gives the oldest files the names that a rotation gives them. */
function move(path: string, count: number): void {
  let place = 0;
  while (existsSync(`${path}.${place + 1}`)) place++;
  for (let moved = 0; moved < count && place >= 0; moved++, place--) {
    renameSync(place === 0 ? path : `${path}.${place}`, `${path}.${place + 1}`);
  }
}

/** The files that the lines fill one after the other. */
function expectedFiles(lines: readonly string[], bytesMax: number): string[] {
  const files = [""];
  for (const line of lines) {
    const last = files.at(-1)!;
    if (last !== "" && last.length + line.length > bytesMax) files.push(line);
    else files[files.length - 1] = last + line;
  }
  return files;
}

describe("the file", () => {
  test("is readable by its owner alone", async () => {
    const { path } = await openFile();
    expect((statSync(path).mode & 0o777).toString(8)).toBe("600");
  });

  test("may have another name, but no path", async () => {
    const { host } = await openFile({ path: "tail-1.jsonl" });
    expect(readdirSync(host.logDir)).toEqual(["tail-1.jsonl"]);
    for (const path of ["", "../up.log", "/etc/passwd", "a/b", "x".repeat(65), "a b"]) {
      expect(file.options.safeParse({ path }).success).toBe(false);
    }
  });

  test("gets a line break first when a crash has torn its last line", async () => {
    const host = await hostWithDirectory();
    const path = join(host.logDir, "orchestrator.log");
    writeFileSync(path, '{"whole":1}\n{"torn');
    const { exporter } = await openFile({}, host);
    const [batch] = batches(["1", "2"]);
    await exporter.write(batch!, NEVER);
    expect(read(path)).toBe(`{"whole":1}\n{"torn\n${linesOf(batch!).join("")}`);
  });

  test.each([
    ["a symbolic link", (path: string) => symlinkSync("/dev/null", path), "is a symbolic link"],
    ["a dangling link", (path: string) => symlinkSync("elsewhere", path), "is a symbolic link"],
    ["a directory", (path: string) => mkdirSync(path), "is a directory"],
    ["a FIFO", (path: string) => execFileSync("mkfifo", [path]), "is not a regular file"],
  ])("is refused where there is %s", async (_name, put, reason) => {
    const host = await hostWithDirectory();
    const path = join(host.logDir, "orchestrator.log");
    put(path);
    await expect(openFile({}, host)).rejects.toMatchObject({
      code: "LOG_DIR_UNUSABLE",
      message: `The log file ${path} ${reason}. Choose another directory with --log-dir, or mend its owner and permissions.`,
    });
    expect(existsSync(join(host.logDir, "elsewhere"))).toBe(false);
  });

  test("is made anew when somebody has moved or deleted it", async () => {
    const { exporter, path } = await openFile();
    const [first, second, third] = batches(["1"], ["2"], ["3"]);
    await exporter.write(first!, NEVER);
    renameSync(path, `${path}.moved`);
    await exporter.write(second!, NEVER);
    rmSync(path);
    await exporter.write(third!, NEVER);
    expect(messages(`${path}.moved`)).toEqual(["1"]);
    expect(messages(path)).toEqual(["3"]);
  });

  test("is made anew with its directory when that was deleted", async () => {
    const { exporter, host, path } = await openFile();
    rmSync(host.logDir, { recursive: true });
    await exporter.write(batches(["1"])[0]!, NEVER);
    expect(messages(path)).toEqual(["1"]);
    expect((statSync(host.logDir).mode & 0o777).toString(8)).toBe("700");
  });

  test("is refused while its directory has become a link, and goes on afterwards", async () => {
    const { exporter, host, path } = await openFile();
    const elsewhere = `${host.logDir}-elsewhere`;
    renameSync(host.logDir, elsewhere);
    onTestFinished(() => rmSync(elsewhere, { recursive: true, force: true }));
    symlinkSync(elsewhere, host.logDir);
    rmSync(join(elsewhere, "orchestrator.log"));
    const [batch] = batches(["1"]);
    await expect(exporter.write(batch!, NEVER)).rejects.toThrow(
      `The log directory ${host.logDir} is a symbolic link.`,
    );
    rmSync(host.logDir);
    await exporter.write(batch!, NEVER);
    expect(messages(path)).toEqual(["1"]);
    expect(readdirSync(elsewhere)).toEqual([]);
  });

  test("that somebody has emptied is filled from its beginning", async () => {
    const { exporter, path } = await openFile({ max_bytes: 400 });
    const [first, second] = batches(["1", "2"], ["3", "4"]);
    await exporter.write(first!, NEVER);
    truncateSync(path);
    await exporter.write(second!, NEVER);
    expect(messages(path)).toEqual(["3", "4"]);
  });

  test("that somebody has left within a line gets a line break first", async () => {
    const { exporter, path } = await openFile();
    const [first, second] = batches(["1"], ["2"]);
    await exporter.write(first!, NEVER);
    appendFileSync(path, "not a line");
    await exporter.write(second!, NEVER);
    expect(read(path)).toBe(`${linesOf(first!).join("")}not a line\n${linesOf(second!).join("")}`);
  });
});

describe("a write that fails", () => {
  test("at once when its time is over, and loses nothing", async () => {
    const { exporter, path } = await openFile();
    const [batch] = batches(["1", "2"]);
    const reason = new Error("too late");
    await expect(exporter.write(batch!, AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(read(path)).toBe("");
    await exporter.write(batch!, NEVER);
    expect(messages(path)).toEqual(["1", "2"]);
  });

  test("in the middle of a line leaves whole lines, and the retry writes what is missing", async () => {
    const { exporter, path, limit } = await startLimited(100_100);
    const bodies = numbered(2000);
    const { error, isPermanent } = await exporter.write(bodies);
    expect(error).toBe("EFBIG: file too large, write");
    expect(isPermanent).toBe(false);
    expect(read(path).length).toBeGreaterThan(99_000);
    expect(messages(path)).toEqual(names(2000).slice(0, messages(path).length));
    limit("unlimited");
    expect(await exporter.write(bodies)).toEqual({});
    expect(messages(path)).toEqual(names(2000));
  });

  test("more than once goes on where it stopped each time", async () => {
    const { exporter, path, limit } = await startLimited(400_000);
    const bodies = numbered(5000);
    await exporter.write(bodies);
    const before = messages(path).length;
    limit("600000");
    await exporter.write(bodies);
    expect(messages(path).length).toBeGreaterThan(before);
    expect(messages(path).length).toBeLessThan(5000);
    limit("unlimited");
    expect(await exporter.write(bodies)).toEqual({});
    expect(messages(path)).toEqual(names(5000));
  });

  test("in the line break behind a torn line glues nothing to it", async () => {
    const host = await hostWithDirectory();
    const path = join(host.logDir, "orchestrator.log");
    writeFileSync(path, '{"torn');
    const { exporter, limit } = await startLimited(6, host);
    expect((await exporter.write(numbered(1))).error).toBe("EFBIG: file too large, write");
    expect(read(path)).toBe('{"torn');
    limit("unlimited");
    await exporter.write(numbered(1));
    expect(read(path)).toMatch(/^\{"torn\n\{"timestamp".*\n$/);
  });
});

function numbered(count: number): Partial<LogRecord>[] {
  return names(count).map((body) => ({ body }));
}

function names(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${index}`);
}

/** In a process whose files cannot become larger than `bytesMax`: the next byte is an error, as on a full disk. */
async function startLimited(
  bytesMax: number,
  given?: TestHost,
): Promise<{ exporter: ExporterProcess; path: string; limit: (bytesMax: string) => void }> {
  const { logDir } = given ?? (await hostWithDirectory());
  const through = ["prlimit", `--fsize=${bytesMax}:unlimited`];
  const exporter = await ExporterProcess.start({ plugin: "file", logDir, through });
  onTestFinished(() => exporter.kill());
  const limit = (bytes: string): void =>
    void execFileSync("prlimit", [`--pid=${exporter.child.pid}`, `--fsize=${bytes}:unlimited`]);
  return { exporter, path: join(logDir, "orchestrator.log"), limit };
}
