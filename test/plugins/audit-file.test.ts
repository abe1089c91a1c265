import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { exporterContract } from "tailgate/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import auditFile from "../../plugins/audit-file.ts";
import { CompositeBatch } from "../../src/batch/composite.ts";
import { ExporterProcess } from "../harness/exporter-process.ts";
import {
  AUDIT,
  auditBatch,
  DAY_MS,
  event,
  events,
  hostWithDirectory,
  nameOf,
  NEVER,
  NOON_MS,
  openAudit,
  read,
} from "../harness/log-exporters.ts";

describe("the exporter contract", () => {
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

  test("is determined separately for each part of a composite batch", async () => {
    for (const isSync of [false, true]) {
      const { exporter, at } = await openAudit();
      const midnight = NOON_MS + DAY_MS / 2;
      const joined = new CompositeBatch([
        event("1", midnight - 2),
        event("2", midnight - 1),
        event("3", midnight),
        event("4", midnight - 1),
      ]);
      if (isSync) exporter.writeSync!(joined);
      else await exporter.write(joined, NEVER);
      expect(events(at(nameOf(midnight - 1)))).toEqual(["1", "2"]);
      expect(events(at(nameOf(midnight)))).toEqual(["3", "4"]);
    }
  });

  test("does not change when the clock goes back", async () => {
    const { exporter, at } = await openAudit();
    await exporter.write(event("1", NOON_MS), NEVER);
    await exporter.write(event("2", NOON_MS - DAY_MS), NEVER);
    await exporter.write(event("3", NOON_MS + DAY_MS), NEVER);
    expect(existsSync(at(nameOf(NOON_MS - DAY_MS)))).toBe(false);
    expect(events(at(nameOf(NOON_MS)))).toEqual(["1", "2"]);
    expect(events(at(nameOf(NOON_MS + DAY_MS)))).toEqual(["3"]);
  });

  test("is continued after a restart", async () => {
    const { exporter, host, at } = await openAudit();
    await exporter.write(event("1"), NEVER);
    const again = await openAudit({}, host);
    await again.exporter.write(event("2"), NEVER);
    expect(events(at(nameOf(NOON_MS)))).toEqual(["1", "2"]);
  });
});

describe("retention", () => {
  const now = Date.now();

  test("deletes older files at startup, whoever wrote them, and reports how many", async () => {
    const host = await hostWithDirectory("audit-file");
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
      / - tailgate\.audit-file - INFO - Deleted 2 audit files older than 30 days\.$/,
    );
  });

  test("deletes expired files at each new day", async () => {
    const { exporter, host } = await openAudit({ retention_days: 2 });
    for (const days of [1, 2, 3, 4]) {
      await exporter.write(event(`${days}`, now + days * DAY_MS), NEVER);
    }
    const left = [2, 3, 4].map((days) => nameOf(now + days * DAY_MS));
    expect(readdirSync(join(host.logDir, "audit"))).toEqual(left);
    expect(host.lines).toHaveLength(2);
    expect(host.lines[1]).toContain("Deleted 1 audit file older than 2 days.");
  });
});

describe("the files", () => {
  test("and their directory are accessible only to their owner", async () => {
    const { host, at } = await openAudit();
    expect((statSync(join(host.logDir, "audit")).mode & 0o777).toString(8)).toBe("700");
    expect((statSync(at(nameOf(Date.now()))).mode & 0o777).toString(8)).toBe("600");
  });

  test("are rejected if their directory is a link", async () => {
    const host = await hostWithDirectory("audit-file");
    const directory = join(host.logDir, "audit");
    symlinkSync("/tmp", directory);
    await expect(openAudit({}, host)).rejects.toMatchObject({
      code: "LOG_DIR_UNUSABLE",
      message: `The log directory ${directory} is a symbolic link. Choose another directory with --log-dir, or fix its ownership and permissions.`,
    });
  });

  test("are rejected if their directory is a file", async () => {
    const host = await hostWithDirectory("audit-file");
    writeFileSync(join(host.logDir, "audit"), "");
    await expect(openAudit({}, host)).rejects.toThrow(
      `The log directory ${join(host.logDir, "audit")} is not a directory.`,
    );
  });

  test("are rejected if a day's file is a link, and the event is written once it is gone", async () => {
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

  test("get a line break first if a crash left a torn last line", async () => {
    const { host, at } = await openAudit();
    const path = at(nameOf(NOON_MS));
    writeFileSync(path, '{"torn');
    const { exporter } = await openAudit({}, host);
    await exporter.write(event("1"), NEVER);
    expect(read(path)).toMatch(/^\{"torn\n\{"timestamp".*\}\n$/);
  });

  test("get every event once, however often its batch is written", async () => {
    const { exporter, at } = await openAudit();
    const batch = auditBatch([{ body: "1" }, { body: "2" }]);
    await exporter.write(batch, NEVER);
    await exporter.write(batch, NEVER);
    await exporter.write(batch.from(1), NEVER);
    expect(events(at(nameOf(NOON_MS)))).toEqual(["1", "2"]);
  });

  test("get the rest of the batch after a full disk", async () => {
    const host = await hostWithDirectory("audit-file");
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
