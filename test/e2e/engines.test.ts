/** Files that gateways with different journals have written, one after the other. */

import { copyFileSync } from "node:fs";
import { expect, test, vi } from "vitest";
import { runCli } from "../harness/program.ts";
import { nameOf, RestartedGateway } from "../harness/restarted-gateway.ts";

const AUDIT = "orchestrator.audit";

const TODAY = nameOf(Math.floor(Date.now() / 86_400_000));

async function send(gateway: RestartedGateway, messages: readonly string[]): Promise<void> {
  for (const message of messages) {
    await gateway.send([message]);
    // The position after the last commit is stored a second later; the kill comes first.
    await gateway.send([message], AUDIT);
  }
}

async function untilWritten(gateway: RestartedGateway, messages: readonly string[]): Promise<void> {
  await vi.waitFor(() => {
    expect(gateway.audit()).toEqual(messages);
    expect(gateway.system()).toEqual(messages);
  });
}

/** Returns the lines that `verify` reports, with its text. */
async function findings(gateway: RestartedGateway): Promise<string[]> {
  const { stderr } = await runCli(["audit", "verify", "--log-dir", gateway.path("")]);
  return stderr.split("\n").filter((line) => line.startsWith("  "));
}

test("no line is duplicated after sqlite, kill -9, memory, kill -9, sqlite", async () => {
  await using gateway = await RestartedGateway.create();
  await gateway.start();
  await send(gateway, ["1", "2", "3"]);
  await untilWritten(gateway, ["1", "2", "3"]);
  await gateway.kill();
  await gateway.start("memory");
  await send(gateway, ["in memory 1", "in memory 2"]);
  const all = ["1", "2", "3", "in memory 1", "in memory 2"];
  await untilWritten(gateway, all);
  await gateway.kill();
  for (const message of ["4", "5"]) {
    await gateway.start();
    await send(gateway, [message]);
    all.push(message);
    await untilWritten(gateway, all);
    await gateway.kill();
  }
  await gateway.start();
  await gateway.end();
  expect([gateway.audit(), gateway.system()]).toEqual([all, all]);
  expect(await findings(gateway)).toEqual([
    expect.stringMatching(
      new RegExp(
        `^  ${TODAY}:4: 2 lines from here on have no seq and no hash: written by a gateway whose`,
      ),
    ),
  ]);
});

test("no line is duplicated if the journal is an older copy", async () => {
  await using gateway = await RestartedGateway.create();
  await gateway.start();
  await send(gateway, ["1", "2"]);
  await untilWritten(gateway, ["1", "2"]);
  await gateway.kill();
  for (const name of ["journal.db", "journal.db-wal"]) {
    copyFileSync(gateway.path(name), gateway.path(`${name}.copy`));
  }
  await gateway.start();
  await send(gateway, ["3", "4"]);
  await untilWritten(gateway, ["1", "2", "3", "4"]);
  await gateway.kill();
  for (const name of ["journal.db", "journal.db-wal"]) {
    copyFileSync(gateway.path(`${name}.copy`), gateway.path(name));
  }
  await gateway.start();
  await gateway.send(["5"], AUDIT);
  await gateway.end();
  const all = ["1", "2", "3", "4"];
  expect([gateway.audit(), gateway.system()]).toEqual([[...all, "5"], all]);
});
