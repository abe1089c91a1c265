/** The content of the files after the gateway was killed at any time and restarted. */

import { writeFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { runCli } from "../harness/program.ts";
import { nameOf, RestartedGateway } from "../harness/restarted-gateway.ts";
import { Sender } from "../harness/sender.ts";

const AUDIT = "orchestrator.audit";

const TODAY = Math.floor(Date.now() / 86_400_000);

const ROUNDS = 20;

async function expectProven(gateway: RestartedGateway): Promise<void> {
  const verified = await runCli(["audit", "verify", "--log-dir", gateway.path("")]);
  expect([await verified.ended, verified.stderr]).toEqual([0, ""]);
}

describe("after kill -9", () => {
  test(
    "at any time the files contain every acknowledged line, complete and once",
    { timeout: 120_000 },
    async () => {
      await using gateway = await RestartedGateway.create();
      const system = new Sender(gateway, "orchestrator.server");
      const audit = new Sender(gateway, AUDIT);
      for (let round = 0; round < ROUNDS; round++) {
        await gateway.start();
        await Promise.all([system.run(), audit.run(), gateway.killWithin(400)]);
        expect(gateway.stderr).not.toContain("WARNING");
      }
      await gateway.start();
      // Stopping has a timeout within which a busy machine may not write everything the last kills left.
      const behind = (): string[] => [
        ...system.missingIn(gateway.system()),
        ...audit.missingIn(gateway.audit()),
      ];
      await vi.waitFor(() => expect(behind()).toEqual([]), { timeout: 60_000, interval: 250 });
      await gateway.end();
      const written = [
        [system, gateway.system()],
        [audit, gateway.audit()],
      ] as const;
      for (const [sender, lines] of written) {
        expect(sender.missingIn(lines)).toEqual([]);
        expect(lines).toEqual(sender.inOrder(lines));
      }
      await expectProven(gateway);
      expect(gateway.stderr).not.toContain("WARNING");
    },
  );
});

describe("the audit files", () => {
  test(
    "keep their order and their names however the clock jumps between kills",
    { timeout: 60_000 },
    async () => {
      await using gateway = await RestartedGateway.create();
      const expected: string[] = [];
      const days = [0, 1, -3, 10, 9, 11].map((day) => TODAY + day);
      for (const day of days) {
        gateway.setDay(day);
        await gateway.start();
        await gateway.send([`start of ${day - TODAY}`], AUDIT);
        gateway.setDay(day - 2);
        await gateway.send([`back from ${day - TODAY}`], AUDIT);
        expected.push(`start of ${day - TODAY}`, `back from ${day - TODAY}`);
        await gateway.kill();
      }
      await gateway.start();
      await gateway.end();
      expect(gateway.audit()).toEqual(expected);
      const names = gateway.auditFiles().map(([name]) => name);
      expect(names).toEqual([0, 1, 10, 11].map((day) => nameOf(TODAY + day)));
      await expectProven(gateway);
    },
  );

  test("store an event that was not written before midnight under its own day", async () => {
    await using gateway = await RestartedGateway.create();
    gateway.setDay(TODAY);
    await gateway.start();
    await gateway.send(["1"], AUDIT);
    await vi.waitFor(() => expect(gateway.audit()).toEqual(["1"]));
    const unblock = gateway.blockAudit(TODAY);
    await gateway.send(["2"], AUDIT);
    await gateway.kill();
    unblock();
    gateway.setDay(TODAY + 1);
    await gateway.start();
    await gateway.send(["3"], AUDIT);
    await gateway.end();
    expect(gateway.auditFiles()).toEqual([
      [nameOf(TODAY), ["1", "2"]],
      [nameOf(TODAY + 1), ["3"]],
    ]);
    await expectProven(gateway);
  });

  test("accept the events of a new journal, which continues their sequences and their chain", async () => {
    await using gateway = await RestartedGateway.create();
    gateway.setDay(TODAY);
    await gateway.start();
    for (const message of ["1", "2", "3"]) await gateway.send([message], AUDIT);
    await gateway.end();
    gateway.deleteJournal();
    await gateway.start();
    const unblock = gateway.blockAudit(TODAY);
    await gateway.send(["4"], AUDIT);
    await gateway.send(["further", "than", "the", "events", "of", "the", "former", "journal"]);
    await gateway.kill();
    unblock();
    await gateway.start();
    await gateway.send(["5"], AUDIT);
    await gateway.end();
    expect(gateway.audit()).toEqual(["1", "2", "3", "journal_damaged", "4", "5"]);
    await expectProven(gateway);
  });
});

describe("if the journal", () => {
  test("was deleted, the files continue with the new one", async () => {
    await using gateway = await RestartedGateway.create();
    await gateway.start();
    await gateway.send(["1", "2"]);
    await vi.waitFor(() => expect(gateway.system()).toEqual(["1", "2"]));
    await gateway.kill();
    gateway.deleteJournal();
    await gateway.start();
    await gateway.send(["3"]);
    await gateway.kill();
    await gateway.start();
    await gateway.end();
    expect(gateway.system()).toEqual(["1", "2", "3"]);
  });

  test("is damaged and was moved aside, the files continue with the new one", async () => {
    await using gateway = await RestartedGateway.create();
    await gateway.start();
    await gateway.send(["1"]);
    await gateway.send(["a"], AUDIT);
    await gateway.end();
    writeFileSync(gateway.path("journal.db"), "not a database".repeat(1000));
    await gateway.start();
    expect(gateway.stderr).toContain("was put aside");
    await gateway.send(["2"]);
    await gateway.send(["b"], AUDIT);
    await gateway.kill();
    await gateway.start();
    await gateway.end();
    expect([gateway.system(), gateway.audit()]).toEqual([
      ["1", "2"],
      ["a", "b"],
    ]);
  });
});
