/** Runs what docs/operations/upgrading.md shows: an upgrade in place, and a downgrade that is refused. */

import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { follow, GatewayProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { Program, runCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/operations/upgrading.md");

const PORTS = ["--otlp-port", "0"];

function formatOf(database: string): number {
  using db = new DatabaseSync(database);
  return db.prepare("PRAGMA user_version").get()!["user_version"] as number;
}

test("the journal of an older version is upgraded in place", async () => {
  await using gateway = await GatewayProcess.start("", PORTS);
  await postMessages(gateway.url, ["old"]);
  await gateway.stop();
  const database = `${gateway.logDir}/journal.db`;
  {
    // The first format had neither compressed blocks nor checksums of small tables.
    using db = new DatabaseSync(database);
    const tables = db.prepare("SELECT name FROM sqlite_schema WHERE sql LIKE '%crc INTEGER%-1)%'");
    for (const { name } of tables.all()) db.exec(`ALTER TABLE ${String(name)} DROP COLUMN crc`);
    db.exec("PRAGMA user_version = 1");
  }
  await gateway.restart();
  const records = await (await fetch(`${gateway.url}/api/logs`)).text();
  expect(records).toContain('"message":"old"');
  await gateway.stop();
  expect(formatOf(database)).toBe(3);
});

test("the journal of a newer version is refused and left alone", async () => {
  await using gateway = await GatewayProcess.start("", PORTS);
  await postMessages(gateway.url, ["kept"]);
  await gateway.stop();
  const database = `${gateway.logDir}/journal.db`;
  {
    using db = new DatabaseSync(database);
    db.exec("PRAGMA user_version = 4");
  }
  const args = ["run", "--port", "0", ...PORTS, "--log-dir", gateway.logDir];
  const refused = await runCli(args);
  expect(await refused.ended).toBe(69);
  expect(refused.stderr).toContain("JOURNAL_UNUSABLE");
  const [shown] = page.listings;
  expect(refused.stderr).toContain(shown!.trim());
  expect(formatOf(database)).toBe(4);
});

test("clients resume after the restart, and the commands of the page work", async () => {
  await using gateway = await GatewayProcess.start("exporters: { websocket: {}, file: {} }", PORTS);
  const log = follow({ url: gateway.url });
  await log.is("live");
  await postMessages(gateway.url, ["before"]);
  await gateway.stop();
  await gateway.restart();
  await postMessages(gateway.url, ["after"]);
  await log.at(2);
  expect(log.messages).toEqual(["before", "after"]);
  const done = page.example("upgrade-done").replace("http://127.0.0.1:8001", gateway.url);
  const shown = await Program.run("bash", ["-c", done], { cwd: "/" });
  expect(shown).toMatch(
    /^tailgate_journal_damage 0\ntailgate_ready 1\ntailgate_build_info\{version="[\d.]+"\} 1\n$/,
  );
  await using workspace = await Workspace.create({ "tailgate.yaml": "exporters: { file: {} }" });
  for (const command of page.example("upgrade-check").trim().split("\n")) {
    const checked = await runCli(command.replace("npx tailgate ", "").split(" "), {
      cwd: workspace.directory,
    });
    expect([await checked.ended, checked.stderr]).toEqual([0, ""]);
  }
});
