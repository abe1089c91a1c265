import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { testHost } from "tailgate/testing";
import { describe, expect, test } from "vitest";
import file from "../../../plugins/file.ts";
import {
  batches,
  readRotation,
  linesOf,
  messages,
  NEVER,
  openFile,
  read,
} from "../../harness/log-exporters.ts";

describe("rotation", () => {
  test("renames the file to .1 before a line that would exceed max_bytes", async () => {
    const [batch] = batches(["1", "2", "3", "4", "5", "6", "7"]);
    const lineBytes = linesOf(batch!)[0]!.length;
    const { exporter, host, path } = await openFile({ max_bytes: 2 * lineBytes, backups: 2 });
    await exporter.write(batch!, NEVER);
    expect(messages(`${path}.2`)).toEqual(["3", "4"]);
    expect(messages(`${path}.1`)).toEqual(["5", "6"]);
    expect(messages(path)).toEqual(["7"]);
    expect(readdirSync(host.logDir)).toHaveLength(3);
  });

  test("counts the bytes already in the file when it is opened", async () => {
    const [first, second] = batches(["1", "2"], ["3"]);
    const options = { max_bytes: 2 * linesOf(first!)[0]!.length };
    const { exporter, host, path } = await openFile(options);
    await exporter.write(first!, NEVER);
    const again = await openFile(options, host);
    await again.exporter.write(second!, NEVER);
    expect(messages(`${path}.1`)).toEqual(["1", "2"]);
    expect(messages(path)).toEqual(["3"]);
  });

  test("happens in the middle of a large batch, whatever the size of a write", async () => {
    const bodies = Array.from({ length: 2000 }, (_, index) => `${index} ${"x".repeat(200)}`);
    const [batch] = batches(bodies);
    const { exporter, path } = await openFile({ max_bytes: 400_000 });
    await exporter.write(batch!, NEVER);
    expect(readRotation(path, 5)).toEqual(expectedFiles(linesOf(batch!), 400_000));
  });

  test("gives a line larger than max_bytes its own file", async () => {
    const [batch] = batches(["1", "x".repeat(500), "3"]);
    const { exporter, path } = await openFile({ max_bytes: 300 });
    await exporter.write(batch!, NEVER);
    expect(readRotation(path, 5).map((text) => text.length)).toEqual(
      linesOf(batch!).map((line) => line.length),
    );
  });

  test("without backups starts a new file", async () => {
    const [batch] = batches(["1", "2", "3"]);
    const { exporter, host, path } = await openFile({
      max_bytes: 2 * linesOf(batch!)[0]!.length,
      backups: 0,
    });
    await exporter.write(batch!, NEVER);
    expect(messages(path)).toEqual(["3"]);
    expect(readdirSync(host.logDir)).toEqual(["orchestrator.log"]);
  });

  test("fills a gap left by an interrupted one, and deletes nothing", async () => {
    const [batch] = batches(["1", "2"]);
    const { exporter, path } = await openFile({ max_bytes: 10, backups: 3 });
    writeFileSync(`${path}.3`, "three");
    writeFileSync(`${path}.1`, "one");
    await exporter.write(batch!, NEVER);
    expect([3, 2].map((place) => read(`${path}.${place}`))).toEqual(["three", "one"]);
    expect(messages(`${path}.1`)).toEqual(["1"]);
    expect(messages(path)).toEqual(["2"]);
  });

  test("that fails is retried by the next write, with no line lost or duplicated", async () => {
    const [batch] = batches(["1", "2", "3"]);
    const { exporter, path } = await openFile({ max_bytes: 10, backups: 1 });
    mkdirSync(`${path}.1`);
    await expect(exporter.write(batch!, NEVER)).rejects.toThrow("EISDIR");
    expect(messages(path)).toEqual(["1"]);
    rmSync(`${path}.1`, { recursive: true });
    await exporter.write(batch!, NEVER);
    expect([`${path}.1`, path].map(messages)).toEqual([["2"], ["3"]]);
  });

  test("loses, duplicates and splits no line, for any sizes and restarts", async () => {
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
          const files = readRotation(join(host.logDir, options.path), backups);
          await host.close();
          expect(files.length).toBeGreaterThan(0);
          expect(files).toEqual(expectedFiles(written, bytesMax).slice(-1 - backups));
        },
      ),
      { numRuns: 60 },
    );
  });
});

/** The files that the lines fill, in order. */
function expectedFiles(lines: readonly string[], bytesMax: number): string[] {
  const files = [""];
  for (const line of lines) {
    const last = files.at(-1)!;
    if (last !== "" && last.length + line.length > bytesMax) files.push(line);
    else files[files.length - 1] = last + line;
  }
  return files;
}
