/** Recovery of the audit files at the next start after a crash. */

import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import * as fc from "fast-check";
import { testHost } from "tailgate/testing";
import { describe, expect, test } from "vitest";
import auditFile from "../../../plugins/audit-file.ts";
import type { RecordBatch } from "../../harness/records.ts";
import { SqliteJournal } from "../../../src/journal/sqlite.ts";
import type { Batch, LogRecord } from "tailgate/plugin";
import { FollowedExporter } from "../../harness/followed-exporter.ts";
import {
  AUDIT,
  auditBatch,
  DAY_MS,
  events,
  nameOf,
  NOON_MS,
  read,
} from "../../harness/log-exporters.ts";

/**
 * What happens between two crashes: events, each a number of days after today, and how many
 * thousandths of the newest file remain.
 */
const life = fc.record({
  days: fc.array(fc.integer({ min: -3, max: 12 }), { maxLength: 4 }),
  left: fc.nat(1000),
});

describe("after a crash", () => {
  test("completes the files from the journal, for any clock and any partial write", async () => {
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

  test("retains a torn line that is not from the journal, on a line of its own", async () => {
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

  test("completes a torn first line", async () => {
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

  test("finds a line larger than one read", async () => {
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

const EVENTS = 6;

/** Other content that may appear anywhere in the files. */
const noise = fc.constantFrom(
  '{"timestamp":"2026-11-24T08:00:00.000000Z","level":"INFO","event":"in memory","logger":"a"}',
  '{"timestamp": "2026-11-24", "event": "of another program", "seq": 1}',
  "no JSON",
  "",
  "x".repeat(200_000),
);

/** Events that the journal does not have, or no longer has. */
const foreign = fc.integer({ min: EVENTS + 1, max: 100 }).map((seq) => sealedLine(seq));

function sealedLine(seq: number): string {
  return `{"event":"of a journal that was newer","seq":${seq},"hash":"${"0".repeat(64)}"}`;
}

test("finds the newest event that is in both the journal and the files, whatever else the files contain", async () => {
  const { append, at, open, end } = await journalled();
  const lines: string[] = [];
  for (let count = 1; count <= EVENTS; count++) {
    const batch = await append([{ body: `${count}` }], NOON_MS);
    lines.push(Buffer.from(batch.auditLine(0)).toString());
  }
  const names = [nameOf(NOON_MS - DAY_MS), nameOf(NOON_MS)] as const;
  await fc.assert(
    fc.asyncProperty(
      fc.nat(EVENTS),
      fc.array(fc.tuple(fc.nat(EVENTS), noise), { maxLength: 6 }),
      fc.array(foreign, { maxLength: 3 }),
      fc.nat(20),
      async (written, others, newer, split) => {
        const own = lines.slice(0, written);
        for (const [place, line] of others) own.splice(place, 0, line);
        const all = [...own, ...newer, ...others.map(([, line]) => line)].map(
          (line) => `${line}\n`,
        );
        writeFileSync(at(names[0]), all.slice(0, split).join(""));
        writeFileSync(at(names[1]), all.slice(split).join(""));
        const exporter = await open();
        expect(exporter.resumeAfter).toBe(written === 0 ? undefined : written);
        await exporter.close?.(new AbortController().signal);
      },
    ),
    { numRuns: 60 },
  );
  await end();
});

/** Retains a part of the newest file, and at least the oldest event. */
function cutNewest(paths: readonly string[], part: number): void {
  const newest = paths.at(-1)!;
  const safe = paths.length > 1 ? 0 : read(newest).indexOf("\n") + 1;
  truncateSync(newest, safe + Math.floor((part / 1000) * (statSync(newest).size - safe)));
}

const SYSTEM = { ...AUDIT, name: "orchestrator.server" };

/** The exporter on a journal that assigns events their seq and hash. */
async function journalled() {
  const host = await testHost("audit-file");
  const lane = { bytes: 1 << 30, ms: Number.MAX_SAFE_INTEGER };
  const retention = { system_log: lane, audit_log: lane };
  const alarm = (text: string): void => expect.fail(text);
  const journal = await SqliteJournal.open({ directory: host.logDir, retention, alarm });
  const directory = join(host.logDir, "audit");
  mkdirSync(directory, { recursive: true });
  const options = { retention_days: 36_500 };
  return {
    at: (name: string) => join(directory, name),
    open: () => auditFile.open(auditFile.options.parse(options), { ...host, journal }),
    follow: () => FollowedExporter.open({ definition: auditFile, options, host, journal }),
    append: async (records: readonly Partial<LogRecord>[], atMs: number): Promise<Batch> => {
      const batch = auditBatch(records) as RecordBatch;
      const durable = journal.append(batch);
      batch.appendedAtMs = atMs;
      await durable;
      return batch;
    },
    /** Files that are not empty, the oldest first. */
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
