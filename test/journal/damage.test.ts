/** Recovery of journals whose files were damaged after their process was killed. */

import {
  copyFile,
  cp,
  mkdir,
  open,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SqliteJournal } from "../../src/journal/sqlite.ts";
import { checkLog } from "../../src/journal/write-ahead-log.ts";
import { denseText } from "../harness/dense-text.ts";
import { allOf, batch, JournalDirectory } from "./journal-directory.ts";

const COMMITS = 30;

const LOG_HEADER_BYTES = 32;
const FRAME_BYTES = 24 + 4096;

const numbers = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

const bodyOf = (sequence: number): string =>
  sequence % 3 === 0 ? `audit ${sequence}` : `system ${sequence}`;

const textOf = (sequence: number): string => `${sequence} ${bodyOf(sequence)}`;

async function flip(path: string, byte: number): Promise<void> {
  await using file = await open(path, "r+");
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, byte);
  buffer[0]! ^= 0x10;
  await file.write(buffer, 0, 1, byte);
}

/** Flips a byte of the page in that frame of the log; negative numbers count from the end. */
async function flipInFrame(path: string, frame: number, byte = 2_000): Promise<void> {
  const frames = Math.floor(((await stat(path)).size - LOG_HEADER_BYTES) / FRAME_BYTES);
  const place = frame < 0 ? frames + frame : frame;
  await flip(path, LOG_HEADER_BYTES + place * FRAME_BYTES + byte);
}

/** The range in a text such as `4-9 damaged`. */
function rangeOf(text: string): [number, number] | undefined {
  const [, from, to] = /^(\d+)-(\d+) damaged/.exec(text) ?? [];
  return from === undefined ? undefined : [Number(from), Number(to)];
}

describe("after a kill", () => {
  let killed: JournalDirectory;
  let epoch: string;
  let chain: SqliteJournal["chain"];

  /** An older log: that of the first ten commits. */
  const older = (): string => killed.file("older");

  beforeAll(async () => {
    killed = await JournalDirectory.create();
    let journal = await killed.open();
    for (const sequence of numbers(1, 10)) await journal.append(batch(bodyOf(sequence)));
    await copyFile(killed.file("journal.db-wal"), older());
    await killed.close(journal);
    journal = await killed.open();
    for (const sequence of numbers(11, COMMITS)) {
      journal.saveCursor("file", sequence - 1);
      await journal.append(batch(bodyOf(sequence)));
    }
    await journal.saveMemory("plugin", "place");
    ({ epoch, chain } = journal);
    await killed.kill();
  });

  afterAll(() => killed[Symbol.asyncDispose]());

  async function copy(): Promise<JournalDirectory> {
    const directory = await JournalDirectory.create();
    await cp(killed.path, directory.path, { recursive: true });
    return directory;
  }

  /**
   * Opens the journal and returns the ranges it lacks. Checks that everything else is unchanged.
   */
  async function lost(directory: JournalDirectory, journal: SqliteJournal): Promise<number[][]> {
    expect(journal.newest).toBeGreaterThanOrEqual(COMMITS);
    expect(journal.epoch).not.toBe(epoch);
    const { newest } = journal;
    await journal.append(batch("audit next"));
    expect(await allOf(journal, { from: newest + 1 })).toEqual([`${newest + 1} audit next`]);
    const texts = await allOf(journal);
    const ranges = texts.map(rangeOf).filter((range) => range !== undefined);
    const isLost = (sequence: number): boolean =>
      ranges.some(([from, to]) => from <= sequence && sequence <= to);
    expect(texts.filter((text) => rangeOf(text) === undefined)).toEqual([
      ...numbers(1, COMMITS)
        .filter((sequence) => !isLost(sequence))
        .map(textOf),
      `${newest + 1} audit next`,
    ]);
    for (const type of ["system_log", "audit_log"] as const) {
      const found = await allOf(journal, { type });
      expect(found).toEqual(
        texts.filter((text) => rangeOf(text) || text.includes("audit") === (type === "audit_log")),
      );
    }
    if (ranges.length > 0) expect(directory.alarms.join()).toMatch(/damaged|incomplete|gone/);
    return ranges;
  }

  it("loses and reports nothing if nothing is damaged", async () => {
    await using directory = await copy();
    const journal = await directory.open();
    expect(await lost(directory, journal)).toEqual([]);
    expect(directory.alarms).toEqual([]);
    expect(await readdir(directory.path)).not.toContainEqual(expect.stringContaining("damaged"));
  });

  it.each<[string, (log: string) => Promise<void>]>([
    ["a bit in the middle", (log) => flipInFrame(log, 40)],
    ["a bit in a frame's header", (log) => flipInFrame(log, 40, 9)],
    ["a bit in the first frame", (log) => flipInFrame(log, 0)],
    ["a bit in the last commit", (log) => flipInFrame(log, -8)],
    ["a bit in the header's magic number", (log) => flip(log, 3)],
    ["a bit in the header's salt", (log) => flip(log, 17)],
    ["a bit in the header's checksum", (log) => flip(log, 30)],
    ["an end that is missing", (log) => truncate(log, LOG_HEADER_BYTES + 40 * FRAME_BYTES)],
    ["an older one in its place", (log) => copyFile(older(), log)],
  ])("%s of the log leaves a gap to the last commit, and the log is kept", async (_, harm) => {
    await using directory = await copy();
    await harm(directory.file("journal.db-wal"));
    const harmed = await readFile(directory.file("journal.db-wal"));
    const journal = await directory.open();
    const { chain: continued } = journal;
    const [range, ...others] = await lost(directory, journal);
    expect([range![1], others]).toEqual([COMMITS, []]);
    expect(range![0]).toBeGreaterThan(10);
    expect(continued).toEqual(chain);
    expect(journal.chain).toMatchObject({ count: chain.count + 1, seq: COMMITS + 1 });
    expect(directory.alarms).toHaveLength(1);
    expect(directory.alarms[0]).toContain(`the records ${range![0]} to ${COMMITS}`);
    const kept = (await readdir(directory.path)).filter((name) => name.includes("-wal.damaged-"));
    expect(kept).toHaveLength(1);
    expect(directory.alarms[0]).toContain(kept[0]!);
    expect((await readFile(directory.file(kept[0]!))).equals(harmed)).toBe(true);
  });

  it.each<[string, (log: string) => Promise<void>]>([
    ["removed", (log) => rm(log)],
    ["emptied", (log) => truncate(log, 0)],
  ])("a log that was %s leaves a gap to the last commit", async (_, harm) => {
    await using directory = await copy();
    await harm(directory.file("journal.db-wal"));
    const journal = await directory.open();
    expect(await lost(directory, journal)).toEqual([[11, COMMITS]]);
    expect(journal.chain).toMatchObject({ count: chain.count + 1, seq: COMMITS + 1 });
    expect(directory.alarms).toHaveLength(1);
  });

  it("without its high-water mark, reads from the log what followed the damage", async () => {
    await using directory = await copy();
    await flipInFrame(directory.file("journal.db-wal"), 40);
    await writeFile(directory.file("journal.mark"), "garbage");
    const journal = await directory.open();
    const [range] = await lost(directory, journal);
    expect(range![1]).toBe(COMMITS);
  });

  /** Writes the audit file that a gateway would have beside the journal. */
  async function writeAuditFile(target: JournalDirectory): Promise<void> {
    await using directory = await copy();
    const whole = await directory.open();
    const { records } = await whole.read({ from: 1, type: "audit_log" });
    const lines = Array.from({ length: records!.length }, (_, index) =>
      Buffer.from(records!.auditLine(index)).toString(),
    );
    await directory.close(whole);
    await mkdir(target.file("audit"));
    await writeFile(target.file("audit/audit_20261130.jsonl"), `${lines.join("\n")}\n`);
  }

  it("continues the chain of the audit files if they are all that is left", async () => {
    await using directory = await JournalDirectory.create();
    await writeAuditFile(directory);
    const journal = await directory.open();
    expect(journal).toMatchObject({ chain, newest: chain!.seq });
    expect(directory.alarms.join()).toContain("The journal is gone");
  });

  it("without its high-water mark and its log, reads the newest sequence from the audit files", async () => {
    await using damaged = await copy();
    await writeAuditFile(damaged);
    await rm(damaged.file("journal.mark"));
    await rm(damaged.file("journal.db-wal"));
    const journal = await damaged.open();
    expect(journal.chain).toEqual(chain);
    expect(await lost(damaged, journal)).toEqual([[11, COMMITS]]);
  });

  it.each(["removed", "damaged"])("recreates a high-water mark that was %s", async (how) => {
    await using directory = await copy();
    if (how === "removed") await rm(directory.file("journal.mark"));
    else await flip(directory.file("journal.mark"), 100);
    expect(await lost(directory, await directory.open())).toEqual([]);
    expect(directory.alarms).toEqual([]);
    await directory.kill();
    await truncate(directory.file("journal.db-wal"), 0);
    const journal = await directory.open();
    expect(journal.newest).toBe(COMMITS + 1);
  });

  it("reports a database that was copied without its log and its mark", async () => {
    await using directory = await JournalDirectory.create();
    await copyFile(killed.file("journal.db"), directory.file("journal.db"));
    const journal = await directory.open();
    expect(journal.newest).toBe(10);
    expect(directory.alarms.join()).toContain("records after sequence 10 may be missing");
    await directory.close(journal);
    await directory.open();
    expect(directory.alarms).toHaveLength(1);
  });

  it("reports a missing database and continues the chain", async () => {
    await using directory = await copy();
    await rm(directory.file("journal.db"));
    await rm(directory.file("journal.db-wal"));
    const journal = await directory.open();
    expect(await lost(directory, journal)).toEqual([[1, COMMITS]]);
    expect(journal.chain).toMatchObject({ count: chain.count + 1 });
  });

  it.each([
    ["cursors", "UPDATE cursors SET sequence = 1000"],
    ["chain", "UPDATE chain SET head = replace(head, 'a', 'b')"],
    ["memories", "UPDATE memories SET text = 'elsewhere'"],
    ["meta", "UPDATE meta SET value = 1 WHERE name = 'clean'"],
    ["epochs", "UPDATE epochs SET epoch = 'another'"],
  ])("an entry of %s that is not as it was written is not believed", async (table, change) => {
    await using directory = await copy();
    {
      using db = new DatabaseSync(directory.file("journal.db"));
      expect(db.prepare(change).run().changes).toBeGreaterThan(0);
    }
    const journal = await directory.open();
    expect(directory.alarms.join()).toContain(`entries of ${table} failed their checksums`);
    expect(await lost(directory, journal)).toEqual([]);
    if (table === "cursors") expect(journal.cursor("file")).toBe(0);
    else expect(journal.cursor("file")).toBeGreaterThanOrEqual(10);
    expect(journal.memory("plugin")).toBe(table === "memories" ? undefined : "place");
    expect(journal.chain).toMatchObject({ count: chain.count + 1, seq: COMMITS + 1 });
  });

  it("reads a journal and a high-water mark without checksums and notes", async () => {
    await using directory = await copy();
    const mark = await readFile(directory.file("journal.mark"), "latin1");
    await writeFile(directory.file("journal.mark"), mark.split("\n")[0]!);
    {
      using db = new DatabaseSync(directory.file("journal.db"));
      const tables = db.prepare(
        "SELECT name FROM sqlite_schema WHERE sql LIKE '%crc INTEGER%-1)%'",
      );
      const names = tables.all().map(({ name }) => name as string);
      expect(names).toContain("cursors");
      for (const name of names) db.exec(`ALTER TABLE ${name} DROP COLUMN crc`);
    }
    const journal = await directory.open();
    expect(await lost(directory, journal)).toEqual([]);
    expect(directory.alarms).toEqual([]);
    expect(journal.memory("plugin")).toBe("place");
    expect(journal.chain).toMatchObject({ count: chain.count + 1, seq: COMMITS + 1 });
  });

  it("a log damaged before its first commit leaves only a gap, and the file is retained", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    await journal.append(batch("audit a", "b"));
    await directory.kill();
    await flipInFrame(directory.file("journal.db-wal"), 0);
    const again = await directory.open();
    expect(await allOf(again)).toEqual(["1-2 damaged"]);
    expect(again.chain).toEqual(journal.chain);
    expect(directory.alarms.join()).toMatch(/kept as .*journal\.db-wal\.damaged-/);
  });

  it("a commit missing from its table and its index becomes a gap", async () => {
    await using directory = await copy();
    {
      using db = new DatabaseSync(directory.file("journal.db"));
      db.exec("DELETE FROM system_log WHERE last = 20");
    }
    const journal = await directory.open();
    expect((await allOf(journal)).slice(18, 21)).toEqual([textOf(19), "20-20 damaged", textOf(21)]);
    expect(directory.alarms).toHaveLength(1);
  });

  it("a commit missing only from the index is found in the table", async () => {
    await using directory = await copy();
    {
      using db = new DatabaseSync(directory.file("journal.db"), { defensive: false });
      db.exec("DROP INDEX system_log_time");
      db.exec(
        "CREATE INDEX system_log_time ON system_log (last, time_min, time_max, first) WHERE last <> 20",
      );
      db.exec("PRAGMA writable_schema = ON");
      db.exec("UPDATE sqlite_schema SET sql = replace(sql, ' WHERE last <> 20', '')");
    }
    const journal = await directory.open();
    for (const order of ["asc", "desc"] as const) {
      expect(await allOf(journal, { order })).toEqual(numbers(1, COMMITS).map(textOf));
      expect(await allOf(journal, { order, type: "system_log" })).toContain(textOf(20));
    }
  });

  it("sets the journal aside if its schema is unreadable", async () => {
    await using directory = await copy();
    const file = directory.file("journal.db");
    {
      using db = new DatabaseSync(file, { defensive: false });
      db.exec("PRAGMA writable_schema = ON");
      db.exec(
        "UPDATE sqlite_schema SET sql = replace(sql, 'consumer', 'xonsumer') WHERE name = 'cursors'",
      );
    }
    const journal = await directory.open();
    expect(directory.alarms.join()).toContain("was put aside");
    expect(await lost(directory, journal)).toEqual([[1, COMMITS]]);
  });
});

describe("the end of a log", () => {
  it("a torn commit is no damage: it was never acknowledged", async () => {
    await using directory = await JournalDirectory.create();
    const journal = await directory.open();
    await journal.append(batch("a"));
    const mark = await readFile(directory.file("journal.mark"));
    const log = directory.file("journal.db-wal");
    const { size } = await stat(log);
    await journal.append(batch(denseText(20_000)));
    await directory.kill();
    await truncate(log, size + FRAME_BYTES + 1000);
    await writeFile(directory.file("journal.mark"), mark);
    const again = await directory.open();
    expect([again.newest, directory.alarms]).toEqual([1, []]);
    expect(await readdir(directory.path)).not.toContainEqual(expect.stringContaining("damaged"));
  });
});

describe("a database truncated while the journal is open", () => {
  it("lacks the blocks of the missing pages and returns the others", async () => {
    await using directory = await JournalDirectory.create();
    const bodies = numbers(1, 5).map(() => denseText(100_000));
    let journal = await directory.open();
    for (const body of bodies) await journal.append(batch(body));
    await directory.close(journal);
    journal = await directory.open();
    const file = directory.file("journal.db");
    // SQLite reads such pages past its cache, and reports SQLITE_IOERR_SHORT_READ if they are
    // missing.
    await truncate(file, (await stat(file)).size - (5 << 12));
    const whole = bodies.slice(0, 4).map((body, index) => `${index + 1} ${body}`);
    expect(await allOf(journal)).toEqual([...whole, "5-5 damaged system_log"]);
    expect(directory.alarms).toHaveLength(1);
  });

  it("is set aside, and later commits succeed", async () => {
    await using directory = await JournalDirectory.create();
    let journal = await directory.open();
    for (const sequence of numbers(1, 5))
      await journal.append(batch(`audit ${sequence}`, denseText(100_000)));
    await directory.close(journal);
    journal = await directory.open();
    await truncate(directory.file("journal.db"), 8 << 12);
    await journal.append(batch("audit next"));
    expect(journal.lastError).toBe(undefined);
    expect(directory.alarms.join()).toContain("was put aside");
    expect(await allOf(journal)).toEqual(["1-10 damaged", "11 audit next"]);
  });
});

describe("scanning the log", () => {
  it("finds every flipped bit after which SQLite would drop more than the last commit", async () => {
    await using directory = await JournalDirectory.create();
    const path = directory.file("database");
    using db = new DatabaseSync(path);
    db.exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
    db.exec("CREATE TABLE records (last INTEGER PRIMARY KEY, bytes BLOB)");
    const insert = db.prepare("INSERT INTO records VALUES (?, ?)");
    for (const last of numbers(1, COMMITS))
      insert.run(last, Buffer.alloc((last * 997) % 9000, last));
    const whole = await readFile(`${path}-wal`);
    expect(checkLog(`${path}-wal`)).toMatchObject({ isDamaged: false, hasFramesAfterBad: false });
    await fc.assert(
      fc.asyncProperty(fc.nat(8 * whole.length - 1), async (bit) => {
        const copy = directory.file("copy");
        const bytes = Buffer.from(whole);
        bytes[bit >> 3]! ^= 1 << (bit & 7);
        await writeFile(`${copy}-wal`, bytes);
        const check = checkLog(`${copy}-wal`)!;
        await copyFile(path, copy);
        const found = lastIn(copy);
        if (found < COMMITS - 1) {
          expect(check).toMatchObject({ isDamaged: true, newest: COMMITS });
        } else expect(check.newest === 0 || check.newest === COMMITS).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  function lastIn(path: string): number {
    try {
      using db = new DatabaseSync(path);
      return db.prepare("SELECT max(last) AS last FROM records").get()!["last"] as number;
    } catch {
      return 0;
    }
  }
});
