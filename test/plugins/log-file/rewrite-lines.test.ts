import { appendFile, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { batchOf, testHost } from "tailgate/testing";
import { expect, onTestFinished, test } from "vitest";
import { rewriteLines, type FilePosition } from "../../../plugins/log-file/file-position.ts";
import { MemoryJournal } from "../../../src/journal/memory.ts";
import type { RecordBatch } from "../../harness/records.ts";
import type { Level } from "tailgate/plugin";

interface Written {
  readonly path: string;
  readonly journal: MemoryJournal;
  /** The lines at the level and above; the first is at position 0. */
  readonly lines: readonly string[];
  /** The position after that many of these lines. */
  position(lines: number): FilePosition;
}

/** A file with the records of a journal: ten records, alternately INFO and ERROR. */
async function written(level: Level = "DEBUG"): Promise<Written> {
  const { logDir, close } = await testHost("file");
  onTestFinished(close);
  const journal = new MemoryJournal();
  const batch = batchOf(
    Array.from({ length: 10 }, (_, index) => ({
      body: "x".repeat(index * 50),
      severityNumber: index % 2 === 0 ? 9 : 17,
      severityText: "",
    })),
  );
  await journal.append(batch as RecordBatch);
  const wanted = [...Array(10).keys()].filter((index) => level === "DEBUG" || index % 2 === 1);
  const lines = wanted.map((index) => `${Buffer.from(batch.data(index)).toString()}\n`);
  const path = join(logDir, "orchestrator.log");
  await writeFile(path, lines.join(""));
  const { dev: device, ino: inode } = await stat(path);
  const position = (count: number): FilePosition => ({
    ...{ device, inode, level, isEnd: false },
    offset: lines.slice(0, count).join("").length,
    sequence: count === 0 ? 0 : wanted[count - 1]! + 1,
  });
  return { path, journal, lines, position };
}

/** Zeros the range, as a disk does for pages that were never written. */
async function lose(path: string, from: FilePosition, to: FilePosition): Promise<void> {
  const bytes = await readFile(path);
  await writeFile(path, bytes.fill(0, from.offset, to.offset));
}

test.each(["DEBUG", "ERROR"] as const)(
  "restores the lines between two positions, and leaves the rest unchanged: %s",
  async (level) => {
    const { path, journal, lines, position } = await written(level);
    await appendFile(path, "behind\n");
    await lose(path, position(1), position(4));
    expect(await readFile(path, "utf8")).toContain("\0");
    expect(await rewriteLines(path, position(1), position(4), journal)).toBe(true);
    expect(await readFile(path, "utf8")).toBe(`${lines.join("")}behind\n`);
  },
);

test("restores from the beginning of a file", async () => {
  const { path, journal, lines, position } = await written();
  await lose(path, position(0), position(10));
  expect(await rewriteLines(path, position(0), position(10), journal)).toBe(true);
  expect(await readFile(path, "utf8")).toBe(lines.join(""));
});

test("changes nothing if the file is another one, is shorter, or has other lines there", async () => {
  const { path, journal, lines, position } = await written();
  const unchanged = async (from: FilePosition, to: FilePosition): Promise<void> => {
    const before = await readFile(path, "utf8");
    expect(await rewriteLines(path, from, to, journal)).toBe(false);
    expect(await readFile(path, "utf8")).toBe(before);
  };
  await unchanged({ ...position(1), inode: 1 }, position(4));
  await unchanged({ ...position(1), inode: 1 }, { ...position(4), inode: 1 });
  await unchanged(position(1), { ...position(4), offset: position(4).offset + 1 });
  await writeFile(path, lines.slice(0, 3).join(""));
  await unchanged(position(1), position(4));
});
