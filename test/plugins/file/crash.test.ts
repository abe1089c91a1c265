/** Recovery of the files at the next start after a crash. */

import {
  copyFileSync,
  existsSync,
  readdirSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { batchOf, testHost } from "tailgate/testing";
import { describe, expect, test } from "vitest";
import file from "../../../plugins/file.ts";
import type { RecordBatch } from "../../harness/records.ts";
import { FollowedExporter } from "../../harness/followed-exporter.ts";
import { memoryJournal } from "../../harness/memory-journal.ts";
import {
  hostWithDirectory,
  readRotation,
  linesOf,
  messages,
  read,
} from "../../harness/log-exporters.ts";

const MANY_BACKUPS = 1000;

/** What a crash leaves of the data written since the position was saved. */
type Crash =
  /** The newest file is cut, in thousandths of what may be lost. */
  | { readonly cut: number }
  /** A rotation has renamed this many files, the oldest first. */
  | { readonly moved: number }
  /** It happens when the position is saved after this many saves. */
  | { readonly keepsMax: number };

const crash: fc.Arbitrary<Crash> = fc.oneof(
  fc.record({ cut: fc.nat(1000) }),
  fc.record({ moved: fc.nat(6) }),
  fc.record({ keepsMax: fc.nat(6) }),
);

describe("after a crash", () => {
  test("completes the files from the journal, whatever was written of the last lines", async () => {
    const bodies = fc.array(fc.nat(300), { minLength: 1, maxLength: 8 });
    const life = fc.record({ batches: fc.array(bodies, { maxLength: 6 }), crash });
    await fc.assert(
      fc.asyncProperty(
        fc.array(life, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 100, max: 3000 }),
        fc.constantFrom(MANY_BACKUPS, 2, 1, 0),
        async (lives, bytesMax, backups) => {
          const host = await testHost("file");
          const journal = memoryJournal(host);
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
          const text = readRotation(path, backups).join("");
          const all = written.join("");
          expect(text).toBe(backups === MANY_BACKUPS ? all : all.slice(-text.length || Infinity));
          expect(host.lines).toEqual([]);
          await host.close();
        },
      ),
      { numRuns: 30 },
    );
  });

  test.each([
    { level: "ERROR" },
    { filter: "level:ERROR" },
    { level: "WARNING", filter: "-level:=INFO" },
  ] as const)("skips lines that the exporter does not get: %o", async (selection) => {
    const host = { ...(await hostWithDirectory()), ...selection };
    const journal = memoryJournal(host);
    const options = { max_bytes: 400 };
    const path = join(host.logDir, "orchestrator.log");
    const levels = [17, 9, 17, 9, 9, 17];
    const batch = batchOf(levels.map((severityNumber) => ({ severityNumber, severityText: "" })));
    const first = await FollowedExporter.open({ definition: file, options, host, journal });
    await journal.append(batch as RecordBatch);
    await first.follow();
    await first.crash();
    expect(linesIn(path)).toBe(3);
    // The current level and filter do not change what the lines are.
    const later = { ...host, level: "DEBUG", filter: undefined } as const;
    const again = await FollowedExporter.open({ definition: file, options, host: later, journal });
    await again.follow();
    await again.close();
    expect(linesIn(path)).toBe(3);
    expect(host.lines).toEqual([]);
  });

  test.each([
    ["moved away", (path: string) => renameSync(path, `${path}-moved`), "no longer exists"],
    ["emptied", (path: string) => truncateSync(path), "no longer exists, or is shorter"],
    [
      "written to",
      (path: string) => writeFileSync(path, "mine\n".repeat(200)),
      "do not match the journal",
    ],
  ])("a file that was %s meanwhile is completed, and that is said", async (_how, change, why) => {
    const host = await hostWithDirectory();
    const journal = memoryJournal(host);
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

  test("completes a copy of the files like the files themselves", async () => {
    const host = await hostWithDirectory();
    const journal = memoryJournal(host);
    const path = join(host.logDir, "orchestrator.log");
    const options = { max_bytes: 400, backups: MANY_BACKUPS };
    const follow = { definition: file, options, host, journal };
    for (let life = 0; life < 6; life++) {
      const exporter = await FollowedExporter.open(follow);
      for (const record of [`${life}`, `${life}+`]) {
        await journal.append(batchOf([{ body: record }]) as RecordBatch);
        await exporter.follow();
      }
      if (life === 0) await exporter.close();
      else await exporter.crash();
      for (const name of readdirSync(host.logDir)) {
        const copied = join(host.logDir, name);
        copyFileSync(copied, `${copied}-copy`);
        renameSync(`${copied}-copy`, copied);
      }
    }
    const last = await FollowedExporter.open(follow);
    await last.follow();
    await last.close();
    const lines = readRotation(path, MANY_BACKUPS).join("").split("\n").slice(0, -1);
    const bodies = lines.map((line) => (JSON.parse(line) as { message: string }).message);
    expect(bodies).toEqual([0, 1, 2, 3, 4, 5].flatMap((life) => [`${life}`, `${life}+`]));
    expect(host.lines).toEqual([]);
  });

  test("finds the lines if it happened while the only file was being replaced", async () => {
    const host = await hostWithDirectory();
    const journal = memoryJournal(host);
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

/** Many are equal. */
function bodyOf(size: number): string {
  return size % 2 === 0 ? "same" : "x".repeat(size);
}

function linesIn(path: string): number {
  return readRotation(path, MANY_BACKUPS).join("").split("\n").length - 1;
}

/** Cuts off a part of what follows the saved position in the newest file. */
function cut(path: string, part: number, place: string | undefined): void {
  if (place === undefined) return;
  const { inode, offset } = JSON.parse(place) as { inode: number; offset: number };
  const { ino, size } = statSync(path);
  const safe = ino === inode ? offset : 0;
  truncateSync(path, safe + Math.floor((part / 1000) * (size - safe)));
}

/** Renames the oldest files as a rotation does. */
function move(path: string, count: number): void {
  let place = 0;
  while (existsSync(`${path}.${place + 1}`)) place++;
  for (let moved = 0; moved < count && place >= 0; moved++, place--) {
    renameSync(place === 0 ? path : `${path}.${place}`, `${path}.${place + 1}`);
  }
}
