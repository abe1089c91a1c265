import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { batchOf, exporterContract, type TestHost } from "tailgate/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import file from "../../plugins/file.ts";
import { CompositeBatch } from "../../src/batch/composite.ts";
import type { LogRecord } from "tailgate/plugin";
import { ExporterProcess } from "../harness/exporter-process.ts";
import {
  batches,
  hostWithDirectory,
  linesOf,
  messages,
  NEVER,
  openFile,
  read,
} from "../harness/log-exporters.ts";

describe("the exporter contract", () => {
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

  test("may be larger than the whole line buffer", async () => {
    const { exporter, path } = await openFile();
    const [large, larger] = ["日".repeat(80_000), "日".repeat(110_000)];
    const given = [["before"], ["x".repeat(700_000)], [large, larger, "after"], ["later"]];
    for (const batch of batches(...given)) await exporter.write(batch, NEVER);
    expect(messages(path)).toEqual(given.flat());
  });

  test("is written once, however often its batch is written", async () => {
    const { exporter, path } = await openFile();
    const [first, second] = batches(["1", "2"], ["3"]);
    await exporter.write(first!, NEVER);
    await exporter.write(first!, NEVER);
    await exporter.write(second!, NEVER);
    await exporter.write(first!.from(1), NEVER);
    expect(messages(path)).toEqual(["1", "2", "3"]);
  });

  test("is written for every record of a batch of thousands", async () => {
    const { exporter, path } = await openFile();
    const bodies = Array.from({ length: 2000 }, (_, index) => `${index} ${"x".repeat(200)}`);
    const given = batches(bodies, bodies, bodies);
    for (const batch of given) await exporter.write(batch, NEVER);
    expect(read(path)).toBe(given.flatMap(linesOf).join(""));
  });

  test("is the same for a composite batch with filtered records", async () => {
    const { exporter, path } = await openFile();
    // The size of a frame header depends on its length (RFC 6455, 5.2).
    const sizes = [1, 65_000, 66_000, 2];
    const given = batches(
      sizes.map((size) => "x".repeat(size)),
      sizes.map((size) => "y".repeat(size)),
      ["1", "2", "3"],
    );
    const joined = new CompositeBatch(given).select((index) => ![2, 5, 9].includes(index));
    await exporter.write(joined, NEVER);
    const lines = given.flatMap(linesOf).filter((_, index) => ![2, 5, 9].includes(index));
    expect(read(path)).toBe(lines.join(""));
  });
});

describe("the file", () => {
  test("is readable only by its owner", async () => {
    const { path } = await openFile();
    expect((statSync(path).mode & 0o777).toString(8)).toBe("600");
  });

  test("may have another name, but not a path", async () => {
    const { host } = await openFile({ path: "tail-1.jsonl" });
    expect(readdirSync(host.logDir)).toEqual(["tail-1.jsonl"]);
    for (const path of ["", "../up.log", "/etc/passwd", "a/b", "x".repeat(65), "a b"]) {
      expect(file.options.safeParse({ path }).success).toBe(false);
    }
  });

  test("gets a line break first if a crash left a torn last line", async () => {
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
      message: `The log file ${path} ${reason}. Choose another directory with --log-dir, or fix its ownership and permissions.`,
    });
    expect(existsSync(join(host.logDir, "elsewhere"))).toBe(false);
  });

  test("is recreated when it was moved or deleted", async () => {
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

  test("is recreated with its directory when that was deleted", async () => {
    const { exporter, host, path } = await openFile();
    rmSync(host.logDir, { recursive: true });
    await exporter.write(batches(["1"])[0]!, NEVER);
    expect(messages(path)).toEqual(["1"]);
    expect((statSync(host.logDir).mode & 0o777).toString(8)).toBe("700");
  });

  test("is rejected while its directory is a link, and resumes afterwards", async () => {
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

  test("is filled from its beginning after it was truncated to zero", async () => {
    const { exporter, path } = await openFile({ max_bytes: 400 });
    const [first, second] = batches(["1", "2"], ["3", "4"]);
    await exporter.write(first!, NEVER);
    truncateSync(path);
    await exporter.write(second!, NEVER);
    expect(messages(path)).toEqual(["3", "4"]);
  });

  test("gets a line break first after it was truncated within a line", async () => {
    const { exporter, path } = await openFile();
    const [first, second] = batches(["1"], ["2"]);
    await exporter.write(first!, NEVER);
    appendFileSync(path, "not a line");
    await exporter.write(second!, NEVER);
    expect(read(path)).toBe(`${linesOf(first!).join("")}not a line\n${linesOf(second!).join("")}`);
  });
});

describe("a failing write", () => {
  test("fails as soon as it times out, and loses nothing", async () => {
    const { exporter, path } = await openFile();
    const [batch] = batches(["1", "2"]);
    const reason = new Error("too late");
    await expect(exporter.write(batch!, AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(read(path)).toBe("");
    await exporter.write(batch!, NEVER);
    expect(messages(path)).toEqual(["1", "2"]);
  });

  test("in the middle of a line leaves whole lines, and the retry writes the rest", async () => {
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

  test("that is repeated resumes where it stopped each time", async () => {
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

  test("in the line break after a torn line joins nothing to it", async () => {
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

/**
 * Runs in a process whose files are limited to `bytesMax`: the next byte is an error, as on a full
 * disk.
 */
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
