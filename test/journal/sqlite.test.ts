import { cp, open, readdir, readFile, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it, vi } from "vitest";
import { decompressBlock, checksum } from "../../src/journal/schema.ts";
import type { SqliteJournal } from "../../src/journal/sqlite.ts";
import { denseText } from "../harness/dense-text.ts";
import { allOf, batch, JournalDirectory, pagesOf, textsOf } from "./journal-directory.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const numbers = (count: number, first = 1): number[] =>
  Array.from({ length: count }, (_, index) => first + index);

/** Appends each body in a commit of its own. */
async function appendEach(journal: SqliteJournal, bodies: readonly string[]): Promise<void> {
  for (const body of bodies) await journal.append(batch(body));
}

/** Restarts the journal, so that nothing is in memory. */
async function restarted(
  directory: JournalDirectory,
  journal: SqliteJournal,
): Promise<SqliteJournal> {
  await directory.close(journal);
  return directory.open();
}

interface StoredRow {
  readonly first: number;
  readonly appended: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Returns the row of system logs that ends with that sequence, from a closed journal. */
function rowOf(file: string, last: number): StoredRow {
  using db = new DatabaseSync(file);
  const statement = db.prepare("SELECT first, appended, bytes FROM system_log WHERE last = ?");
  return statement.get(last) as unknown as StoredRow;
}

/** Replaces its bytes, as if they had been stored that way. */
function setRow(file: string, last: number, bytes: Uint8Array): void {
  const { first, appended } = rowOf(file, last);
  using db = new DatabaseSync(file);
  const crc = checksum(bytes, first, last, appended);
  db.prepare("UPDATE system_log SET bytes = ?, crc = ? WHERE last = ?").run(bytes, crc, last);
}

async function writeAt(path: string, position: number, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "r+");
  await file.write(bytes, 0, bytes.length, position);
  await file.close();
}

describe("the sqlite journal", () => {
  it("gives each record the next sequence and retains it across a restart", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    expect(journal).toMatchObject({
      newest: 0,
      durable: 0,
      oldest: 1,
      oldestRetained: 1,
      isPersistent: true,
    });
    await journal.append(batch("a", "audit b"));
    await journal.append(batch("c"));
    expect(journal).toMatchObject({ newest: 3, durable: 3, pendingBytes: 0, lastError: undefined });
    expect(await allOf(journal)).toEqual(["1 a", "2 audit b", "3 c"]);
    const { epoch, chain } = journal;
    const again = await restarted(directory, journal);
    expect(again).toMatchObject({ newest: 3, durable: 3, oldest: 4, epoch, chain });
    expect(again.oldestRetained).toBe(1);
    expect(again.readFrom(1)).toBe(undefined);
    expect(await allOf(again)).toEqual(["1 a", "2 audit b", "3 c"]);
    await again.append(batch("d"));
    expect(await allOf(again)).toEqual(["1 a", "2 audit b", "3 c", "4 d"]);
    expect(directory.alarms).toEqual([]);
  });

  it("can be read before it is durable", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    const safe = journal.append(batch("a"));
    expect(journal).toMatchObject({ newest: 1, durable: 0 });
    expect(journal.pendingBytes).toBeGreaterThan(0);
    expect(journal.readFrom(1)!.length).toBe(1);
    await safe;
    expect(journal).toMatchObject({ durable: 1, pendingBytes: 0 });
  });

  it("commits what accumulates during a commit with the next one, up to 1 MiB", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    const large = "x".repeat(300_000);
    const bodies = ["first", ...Array<string>(20).fill("small"), large, large, large, large];
    await Promise.all(bodies.map((body) => journal.append(batch(body))));
    await directory.close(journal);
    using db = new DatabaseSync(directory.file("journal.db"));
    const rows = db.prepare("SELECT first, last FROM system_log ORDER BY last").all();
    expect(rows.map(({ first, last }) => [first, last])).toEqual([
      [1, 1],
      [2, 22],
      [23, 23],
      [24, 24],
      [25, 25],
    ]);
  });

  it("compresses a large commit, and reopens a journal without compressed ones", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    const large = "large ".repeat(100_000);
    await appendEach(journal, ["a", large]);
    await directory.close(journal);
    const file = directory.file("journal.db");
    const { bytes } = rowOf(file, 2);
    expect(bytes.length).toBeLessThan(10_000);
    setRow(file, 2, decompressBlock(bytes));
    {
      using db = new DatabaseSync(file);
      db.exec("PRAGMA user_version = 1");
    }
    journal = await directory.open();
    await appendEach(journal, [large, "b"]);
    journal = await restarted(directory, journal);
    expect(await allOf(journal)).toEqual(["1 a", `2 ${large}`, `3 ${large}`, "4 b"]);
    await directory.close(journal);
    expect(rowOf(file, 2).bytes.length).toBeGreaterThan(1_000_000);
    expect(rowOf(file, 3).bytes.length).toBeLessThan(10_000);
    using db = new DatabaseSync(file);
    expect(db.prepare("PRAGMA user_version").get()).toEqual({ user_version: 3 });
  });

  it("appends audit events to the chain in order of sequence", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    await journal.append(batch("audit a", "b"));
    await journal.append(batch("audit c"));
    const hash = journal.readFrom(3)!.hash(0);
    expect(journal.chain).toEqual({ count: 2, seq: 3, head: hash });
    const again = await restarted(directory, journal);
    const { records } = await again.read({ from: 1, type: "audit_log" });
    expect(records!.hash(1)).toBe(hash);
    expect(Buffer.from(records!.auditLine(1)).toString()).toContain(`"seq":3,"hash":"${hash}"`);
    expect(again.chain).toEqual({ count: 2, seq: 3, head: hash });
  });

  it("writes what it blocked for", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    const large = "x".repeat(600_000);
    const appends = ["audit a", large, "audit b", large, "audit c"].map((body) =>
      journal.append(batch(body)),
    );
    journal.flushSync(10_000);
    // Only the thread has run so far: no one has been notified yet.
    expect(journal.durable).toBe(0);
    await Promise.all(appends);
    expect(journal).toMatchObject({ durable: 5, pendingBytes: 0 });
    expect(journal.chain.count).toBe(3);
    await journal.append(batch("audit d"));
    await directory.crash();
    const again = await directory.open();
    expect(again).toMatchObject({ newest: 6, chain: { count: 4, seq: 6 } });
  });
});

describe("reading", () => {
  it("returns the same from memory and from disk, from any record, in both directions", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    const bodies = numbers(40).map((n) => (n % 3 === 0 ? `audit ${n}` : `system ${n}`));
    await Promise.all(bodies.map((body) => journal.append(batch(body))));
    const expected = bodies.map((body, index) => `${index + 1} ${body}`);
    for (const where of ["memory", "disk"]) {
      if (where === "disk") journal = await restarted(directory, journal);
      for (const from of [1, 2, 7, 20, 39, 40]) {
        expect(await allOf(journal, { from })).toEqual(expected.slice(from - 1));
        expect(await allOf(journal, { from, order: "desc" })).toEqual(expected.slice(0, from));
        for (const type of ["system_log", "audit_log"] as const) {
          const isWanted = (text: string): boolean =>
            text.includes("audit") === (type === "audit_log");
          expect(await allOf(journal, { from, type })).toEqual(
            expected.slice(from - 1).filter(isWanted),
          );
          expect(await allOf(journal, { from, type, order: "desc" })).toEqual(
            expected.slice(0, from).filter(isWanted),
          );
        }
      }
    }
  });

  it("ends at the end of the journal", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    await appendEach(journal, ["a", "b"]);
    for (const where of ["memory", "disk"]) {
      if (where === "disk") journal = await restarted(directory, journal);
      for (const from of [0, 3, 10]) {
        expect(await journal.read({ from })).toMatchObject({ from, to: from - 1 });
      }
      const newest = await journal.read({ from: 10, order: "desc" });
      expect([newest.to, textsOf(newest).at(-1)]).toEqual([2, "2 b"]);
      expect(await journal.read({ from: 0, order: "desc" })).toMatchObject({ from: 0, to: -1 });
    }
  });

  it("returns pages of a few hundred records, with their append times", async () => {
    await using directory = await JournalDirectory.create();
    const midnight = Date.UTC(2025, 9, 14);
    vi.useFakeTimers({ toFake: ["Date"], now: midnight - 1000 });
    try {
      let journal = await directory.open();
      const body = "x".repeat(150_000);
      await appendEach(journal, ["a", "b", body, body, "c"]);
      vi.setSystemTime(midnight);
      await appendEach(journal, ["d", "e"]);
      journal = await restarted(directory, journal);
      const stretches = (pages: { from: number; to: number }[]): number[][] =>
        pages.map(({ from, to }) => [from, to]);
      const pages = await pagesOf(journal);
      expect(stretches(pages)).toEqual([
        [1, 4],
        [5, 7],
      ]);
      expect(stretches(await pagesOf(journal, { order: "desc" }))).toEqual([
        [3, 7],
        [1, 2],
      ]);
      const { records } = pages[1]!;
      expect(records!.appendedAtMs).toBe(midnight - 1000);
      expect([0, 1, 2].map((index) => records!.appendedAt(index))).toEqual([
        midnight - 1000,
        midnight,
        midnight,
      ]);
      expect(records!.from(1).appendedAtMs).toBe(midnight);
    } finally {
      vi.useRealTimers();
    }
  });

  it("returns one append time for all records of a commit, from memory and from disk", async () => {
    await using directory = await JournalDirectory.create();
    const midnight = Date.UTC(2025, 9, 14);
    vi.useFakeTimers({ toFake: ["Date"], now: midnight - 1000 });
    try {
      let journal = await directory.open();
      const first = journal.append(batch("a"));
      const second = journal.append(batch("b"));
      vi.setSystemTime(midnight);
      const third = journal.append(batch("c"));
      await Promise.all([first, second, third]);
      const times = async (): Promise<number[]> =>
        (await pagesOf(journal)).flatMap(({ records }) =>
          Array.from({ length: records!.length }, (_, index) => records!.appendedAt(index)),
        );
      const expected = [midnight - 1000, midnight - 1000, midnight - 1000];
      expect(await times()).toEqual(expected);
      journal = await restarted(directory, journal);
      expect(await times()).toEqual(expected);
    } finally {
      vi.useRealTimers();
    }
  });

  it("skips commits outside the time range", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    const start = Date.UTC(2025, 0, 1);
    const { batchOf } = await import("../../src/testing/batch.ts");
    for (const hour of numbers(20, 0)) {
      const timestamp = BigInt(start + hour * HOUR_MS) * 1_000_000n;
      const records = batchOf([{ body: `hour ${hour}`, timestamp }]);
      await journal.append(records as Parameters<typeof journal.append>[0]);
    }
    journal = await restarted(directory, journal);
    const sinceMs = start + 5 * HOUR_MS;
    const untilMs = start + 8 * HOUR_MS;
    const expected = ["6 hour 5", "7 hour 6", "8 hour 7"];
    for (const order of ["asc", "desc"] as const) {
      const pages = await pagesOf(journal, { sinceMs, untilMs, order });
      expect(pages.map(({ from, to }) => [from, to])).toEqual([[1, 20]]);
      expect(pages.flatMap(textsOf)).toEqual(expected);
    }
  });

  it("returns a record of 8 MiB", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    const body = "é".repeat(4 << 20);
    await appendEach(journal, ["a", body, "audit b"]);
    journal = await restarted(directory, journal);
    expect(await allOf(journal)).toEqual(["1 a", `2 ${body}`, "3 audit b"]);
  });
});

describe("epochs", () => {
  it("change in a copy of a closed journal: the original may have handed out the next sequences", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    await appendEach(journal, ["a", "b"]);
    const { epoch } = journal;
    await directory.close(journal);
    await using copy = await JournalDirectory.create();
    await cp(directory.path, copy.path, { recursive: true });
    journal = await directory.open();
    await appendEach(journal, ["original"]);
    expect(journal.epoch).toBe(epoch);
    const restored = await copy.open();
    await appendEach(restored, ["restored"]);
    expect(restored.newest).toBe(journal.newest);
    expect(restored.uidOf(3)).not.toBe(journal.uidOf(3));
    expect(restored.sharedUpTo(epoch, 3)).toBe(2);
    expect(copy.alarms).toEqual([]);
  });

  it("persist after a clean close, and change after a crash", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    await appendEach(journal, ["a", "b"]);
    const first = journal.epoch;
    journal = await restarted(directory, journal);
    expect(journal.epoch).toBe(first);
    await appendEach(journal, ["c"]);
    await directory.crash();
    journal = await directory.open();
    expect(journal.epoch).not.toBe(first);
    await appendEach(journal, ["d"]);
    expect(journal.sharedUpTo(first, 2)).toBe(2);
    expect(journal.sharedUpTo(first, 9)).toBe(3);
    expect(journal.sharedUpTo(journal.epoch, 4)).toBe(4);
    expect(journal.sharedUpTo(journal.epoch, 5)).toBe(4);
    expect(journal.sharedUpTo("another", 1)).toBe(undefined);
    expect(directory.alarms).toEqual([]);
  });

  it("are attributed to the records they accepted, however the process ended later", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    await appendEach(journal, ["a", "b"]);
    const named = [journal.uidOf(1), journal.uidOf(2)];
    expect(named).toEqual([`${journal.epoch}:1`, `${journal.epoch}:2`]);
    for (let end = 0; end < 2; end++) {
      await directory.crash();
      journal = await directory.open();
    }
    await appendEach(journal, ["c"]);
    journal = await restarted(directory, journal);
    expect([journal.uidOf(1), journal.uidOf(2)]).toEqual(named);
    expect(journal.uidOf(3)).toBe(`${journal.epoch}:3`);
    await using other = await JournalDirectory.create();
    const another = await other.open();
    await appendEach(another, ["a"]);
    expect(named).not.toContain(another.uidOf(1));
  });

  it("stay the same if the high-water mark covers all sequences", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    await appendEach(journal, ["a"]);
    const { epoch } = journal;
    journal = await restarted(directory, await restarted(directory, journal));
    expect(journal).toMatchObject({ epoch, newest: 1 });
  });
});

describe("cursors", () => {
  it("are stored by close, and by the next commit", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    expect(journal.cursor("file")).toBe(undefined);
    await appendEach(journal, ["a", "b"]);
    journal.saveCursor("file", 1);
    journal.saveCursor("webhook/audit", 2);
    expect(journal.cursor("file")).toBe(1);
    journal = await restarted(directory, journal);
    expect([journal.cursor("file"), journal.cursor("webhook/audit")]).toEqual([1, 2]);
    journal.saveCursor("file", 2);
    await appendEach(journal, ["c"]);
    await directory.crash();
    journal = await directory.open();
    expect(journal.cursor("file")).toBe(2);
  });

  it("are stored after a second if there is no commit", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    journal.saveCursor("file", 0);
    const commits = vi.spyOn(directory.worker, "postMessage");
    await vi.waitFor(() => expect(commits).toHaveBeenCalledTimes(1), { timeout: 5_000 });
    // What follows it becomes durable later.
    await journal.append(batch("a"));
    await directory.crash();
    expect((await directory.open()).cursor("file")).toBe(0);
  });
});

describe("retention", () => {
  it("deletes the oldest commits of a type by bytes, and leaves the other type alone", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open({ system_log: { bytes: 1 << 20 } });
    for (const n of numbers(40)) {
      await journal.append(batch(`${n} x${denseText(200_000)}`, `audit ${n}`));
    }
    journal = await restarted(directory, journal);
    const floor = await vi.waitFor(async () => {
      const [gap] = (await journal.read({ from: 1 })).gaps;
      expect(gap).toMatchObject({ from: 1, type: "system_log", reason: "retention" });
      return gap!.to + 1;
    });
    expect(floor).toBeGreaterThan(40);
    expect(floor).toBeLessThan(80);
    const texts = (await allOf(journal)).map((text) => text.slice(0, 20));
    expect(texts.filter((text) => text.includes("audit"))).toHaveLength(40);
    expect(texts.filter((text) => text.includes(" x")).length).toBe((80 - floor + 1) / 2);
    expect((await allOf(journal, { type: "audit_log" })).length).toBe(40);
    const [, page] = await pagesOf(journal, { type: "audit_log", from: 3 });
    expect(page).toBe(undefined);
  });

  it("reports the oldest remaining record of both types", async () => {
    await using directory = await JournalDirectory.create();
    const limits = { ms: 365 * DAY_MS, bytes: 1 << 20 };
    let journal = await directory.open({ system_log: limits, audit_log: limits });
    for (const n of numbers(20)) await journal.append(batch(`${n} x${denseText(200_000)}`));
    expect(journal.oldest).toBe(1);
    await vi.waitFor(() => expect(journal.oldestRetained).toBeGreaterThan(5));
    journal = await restarted(directory, journal);
    await vi.waitFor(async () => {
      const [gap] = (await journal.read({ from: 1, type: "system_log" })).gaps;
      expect([journal.oldest, journal.oldestRetained]).toEqual([21, gap!.to + 1]);
    });
  });

  it("deletes by age, at the next commit or within a minute, but retains the newest commit", async () => {
    await using directory = await JournalDirectory.create();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 3 * DAY_MS });
    let journal = await directory.open();
    try {
      await appendEach(journal, ["audit a", "b", "audit c", "d"]);
    } finally {
      vi.useRealTimers();
    }
    await directory.close(journal);
    journal = await directory.open({ system_log: { ms: DAY_MS, bytes: 1 << 20 } });
    const body = denseText(400_000);
    await appendEach(journal, [body]);
    await vi.waitFor(async () => {
      expect(await allOf(journal, { type: "system_log" })).toEqual([
        "1-4 retention system_log",
        `5 ${body}`,
      ]);
    });
    expect(await allOf(journal, { type: "audit_log" })).toEqual(["1 audit a", "3 audit c"]);
  });

  it("keeps the write-ahead log small under many small commits", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    let largest = 0;
    // Each of them takes about 20 KiB in the log.
    for (let n = 0; n < 600; n++) {
      await journal.append(batch("x", "audit y"));
      if (n % 50 !== 0) continue;
      largest = Math.max(largest, (await stat(directory.file("journal.db-wal"))).size);
    }
    expect(largest).toBeLessThan(5 << 20);
  });
});

describe("the directory", () => {
  it("has one writer", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    await expect(directory.open()).rejects.toMatchObject({
      code: "LOG_DIR_IN_USE",
      message: expect.stringContaining(directory.path) as string,
    });
    await journal.append(batch("a"));
    await directory.close(journal);
    expect((await directory.open()).newest).toBe(1);
  });

  it("is released when the journal is closed, even if the old one is still used", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    await journal.append(batch("a"));
    const { epoch } = journal;
    await directory.close(journal);
    const late = (): Promise<unknown>[] => [
      journal.append(batch("late")),
      journal.saveMemory("plugin", "late"),
    ];
    for (const asked of late()) await expect(asked).rejects.toMatchObject({ code: "STOPPED" });
    const again = await directory.open();
    await directory.close(again);
    await expect(again.read({ from: 1 })).rejects.toMatchObject({ code: "STOPPED" });
    expect(await directory.open()).toMatchObject({ newest: 1, epoch });
  });

  it("has files that only their owner can access", async () => {
    await using directory = await JournalDirectory.create();
    await (await directory.open()).append(batch("a"));
    const names = (await readdir(directory.path)).sort();
    expect(names).toEqual([
      "journal.db",
      "journal.db-wal",
      "journal.lock",
      "journal.mark",
      "journal.reserve",
    ]);
    for (const name of names) {
      expect((await stat(directory.file(name))).mode & 0o777).toBe(0o600);
    }
  });

  it.each(["journal.db", "journal.db-wal", "journal.lock"])(
    "is rejected if %s is a link",
    async (name) => {
      await using directory = await JournalDirectory.create();
      await writeFile(directory.file("other"), "");
      await symlink(directory.file("other"), directory.file(name));
      await expect(directory.open()).rejects.toMatchObject({ code: "JOURNAL_UNUSABLE" });
      expect(await readFile(directory.file("other"), "utf8")).toBe("");
    },
  );

  it("is rejected if its journal has a newer format, and left unchanged", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    await journal.append(batch("a"));
    await directory.close(journal);
    const file = directory.file("journal.db");
    {
      using db = new DatabaseSync(file);
      db.exec("PRAGMA user_version = 4");
    }
    const before = await readFile(file);
    await expect(directory.open()).rejects.toMatchObject({
      code: "JOURNAL_UNUSABLE",
      message: expect.stringContaining("format 4") as string,
    });
    expect((await readFile(file)).equals(before)).toBe(true);
    expect(await readdir(directory.path)).not.toContain(expect.stringContaining("damaged"));
  });
});

describe("damage", () => {
  async function filled(directory: JournalDirectory): Promise<SqliteJournal> {
    const journal = await directory.open();
    await appendEach(journal, ["a", "audit b", denseText(50_000), "audit d", "e"]);
    journal.saveCursor("file", 4);
    return journal;
  }

  async function asideFiles(directory: JournalDirectory): Promise<string[]> {
    const names = await readdir(directory.path);
    return names.filter((name) => /^journal\.db\.damaged-\w+$/.test(name));
  }

  it.each([
    ["garbage", (file: string) => writeFile(file, "garbage ".repeat(2000))],
    ["a file that was cut", (file: string) => truncate(file, 9000)],
    ["a head that was overwritten", (file: string) => writeAt(file, 0, Buffer.alloc(100, 0xff))],
  ])("%s is put aside, and the numbers go on", async (_, harm) => {
    await using directory = await JournalDirectory.create();
    const before = await filled(directory);
    const { epoch } = before;
    await directory.close(before);
    const file = directory.file("journal.db");
    await harm(file);
    const harmed = await readFile(file);
    const again = await directory.open();
    const [aside] = await asideFiles(directory);
    expect((await readFile(directory.file(aside!))).equals(harmed)).toBe(true);
    expect(directory.alarms.join()).toContain(aside!);
    expect(again.newest).toBe(5);
    expect(again.epoch).not.toBe(epoch);
    await again.append(batch("audit f"));
    expect(await allOf(again)).toEqual(["1-5 damaged", "6 audit f"]);
  });

  it("that leaves the tables readable leaves the chain, the epochs and the cursors", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await filled(directory);
    const { chain, epoch } = journal;
    await directory.close(journal);
    const file = directory.file("journal.db");
    await harmPageOf(file, "meta");
    const again = await directory.open();
    expect(await asideFiles(directory)).toHaveLength(1);
    expect(again).toMatchObject({ newest: 5, chain });
    expect(again.sharedUpTo(epoch, 4)).toBe(4);
    expect(again.cursor("file")).toBe(4);
    await again.append(batch("audit f"));
    expect(again.chain).toMatchObject({ count: 3, seq: 6 });
  });

  it("that removes the journal is reported, and its sequences are not reused", async () => {
    await using directory = await JournalDirectory.create();
    await directory.close(await filled(directory));
    await truncate(directory.file("journal.db"), 0);
    const again = await directory.open();
    expect(again.newest).toBe(5);
    expect(directory.alarms).toEqual([
      "The journal is gone. A new one continues at sequence 6; the hash chain of audit events continues after event 4.",
    ]);
  });

  it("to one row is reported as a gap and affects nothing else", async () => {
    await using directory = await JournalDirectory.create();
    await directory.close(await filled(directory));
    const file = directory.file("journal.db");
    const place = (await readFile(file)).indexOf(rowOf(file, 3).bytes.subarray(0, 1000));
    await writeAt(file, place + 500, Buffer.from("harm"));
    const journal = await directory.open();
    const expected = ["1 a", "2 audit b", "3-3 damaged system_log", "4 audit d", "5 e"];
    expect(await allOf(journal)).toEqual(expected);
    expect(await allOf(journal, { order: "desc" })).toEqual(expected);
    expect(await allOf(journal, { type: "audit_log" })).toEqual(["2 audit b", "4 audit d"]);
    expect(directory.alarms).toEqual([
      "The journal is damaged: of its records 3 to 3 some are lost.",
    ]);
    await journal.append(batch("f"));
    expect(await asideFiles(directory)).toEqual([]);
  });

  it("to a row's page chain is reported as a gap and affects nothing else", async () => {
    await using directory = await JournalDirectory.create();
    await directory.close(await filled(directory));
    const file = directory.file("journal.db");
    const bytes = await readFile(file);
    const row = rowOf(file, 3).bytes;
    // At least one of these two ranges does not cross the end of a page.
    const offset = [8000, 8200]
      .map((start) => bytes.indexOf(row.subarray(start, start + 100)))
      .find((index) => index >= 0);
    // The first four bytes of an overflow page hold the number of the next one.
    const page = Math.floor(offset! / 4096) * 4096;
    await writeAt(file, page, Buffer.from([0x7f, 0xff, 0xff, 0xff]));
    const journal = await directory.open();
    expect(await allOf(journal)).toEqual([
      "1 a",
      "2 audit b",
      "3-3 damaged system_log",
      "4 audit d",
      "5 e",
    ]);
  });

  it.each([
    ["the end is missing of", (packed: Buffer) => packed.subarray(0, -100)],
    ["there is more in than it says of", (packed: Buffer) => withSize(packed, -1)],
    ["there is less in than it says of", (packed: Buffer) => withSize(packed, 1)],
  ])("of which nothing is seen before it is unpacked is a gap, too: %s it", async (_, harm) => {
    await using directory = await JournalDirectory.create();
    await directory.close(await filled(directory));
    const file = directory.file("journal.db");
    const { bytes } = rowOf(file, 3);
    setRow(file, 3, harm(Buffer.from(bytes)));
    const journal = await directory.open();
    expect((await allOf(journal))[2]).toEqual("3-3 damaged system_log");
    expect(directory.alarms).toHaveLength(1);
  });

  /** Compressed data that claims a different uncompressed size. */
  function withSize(packed: Buffer, more: number): Buffer {
    packed.writeUInt32LE(packed.readUInt32LE(4) + more, 4);
    return packed;
  }

  it("found by a commit sets the journal aside without losing anything of the commit", async () => {
    await using directory = await JournalDirectory.create();
    const before = await filled(directory);
    const { chain } = before;
    await directory.close(before);
    const file = directory.file("journal.db");
    await harmPageOf(file, "audit_log_time");
    const journal = await directory.open();
    expect(await asideFiles(directory)).toEqual([]);
    const { epoch } = journal;
    await journal.append(batch("audit f", "g"));
    expect(await asideFiles(directory)).toHaveLength(1);
    expect(directory.alarms).toHaveLength(1);
    expect(journal.epoch).not.toBe(epoch);
    expect(journal.chain).toMatchObject({ count: chain.count + 1, seq: 6 });
    const again = await restarted(directory, journal);
    expect(await allOf(again)).toEqual(["1-5 damaged", "6 audit f", "7 g"]);
  });

  /** Overwrites the root page of a table or an index. */
  async function harmPageOf(file: string, name: string): Promise<void> {
    const copy = `${file}.copy`;
    await writeFile(copy, await readFile(file));
    let page: number;
    {
      using db = new DatabaseSync(copy);
      const row = db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = ?").get(name);
      page = row!["rootpage"] as number;
    }
    await writeAt(file, (page - 1) * 4096, Buffer.alloc(4096, 0xee));
  }
});

describe("a thread that crashes", () => {
  it("is restarted with the next commit, and reported", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    await journal.append(batch("audit a"));
    await directory.worker.terminate();
    await journal.append(batch("audit b"));
    expect(journal).toMatchObject({ durable: 2, lastError: undefined, chain: { count: 2 } });
    expect(directory.alarms).toEqual([
      "The journal's thread was restarted: the journal's thread has ended.",
    ]);
    const again = await restarted(directory, journal);
    expect(await allOf(again)).toEqual(["1 audit a", "2 audit b"]);
  });

  it("leaves every commit in progress either stored, or rejected and reported as a gap", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    await journal.append(batch("audit a"));
    const large = "x".repeat(2_000_000);
    const appends = ["audit b", large, "audit c"].map((body) => journal.append(batch(body)));
    const ending = directory.worker.terminate();
    const outcomes = await Promise.allSettled(appends);
    await ending;
    const expected = ["1 audit a"];
    for (const [index, { status }] of outcomes.entries()) {
      const sequence = index + 2;
      const body = ["audit b", large, "audit c"][index];
      expected.push(
        status === "fulfilled" ? `${sequence} ${body}` : `${sequence}-${sequence} not_stored`,
      );
    }
    expect(await allOf(journal)).toEqual(expected);
    expect(await allOf(await restarted(directory, journal))).toEqual(expected);
  });
});
