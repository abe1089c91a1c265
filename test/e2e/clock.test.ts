/** Effects of a clock jump on stored records and on file names. */

import { describe, expect, test, vi } from "vitest";
import { runCli } from "../harness/program.ts";
import { nameOf, RestartedGateway } from "../harness/restarted-gateway.ts";

const AUDIT = "orchestrator.audit";

const TODAY = Math.floor(Date.now() / 86_400_000);

const JUMPED = / - tailgate\.clock - ERROR - The system clock jumped ahead by 365 days, to /;

interface Page {
  readonly records: readonly {
    readonly data: { readonly message: string; readonly action?: string };
  }[];
  readonly gaps: readonly unknown[];
}

interface Stats {
  readonly clock?: { readonly unconfirmed_seconds: number };
}

async function stored(gateway: RestartedGateway, type: string): Promise<string[]> {
  const { records, gaps } = await gateway.getJson<Page>(
    `/api/logs?type=${type}&order=asc&limit=1000`,
  );
  expect(gaps).toEqual([]);
  const messages = records.map(({ data }) => data.message);
  return messages.filter((message) => message !== "audit_checkpoint");
}

async function expectVerified(gateway: RestartedGateway): Promise<void> {
  const verified = await runCli(["audit", "verify", "--log-dir", gateway.path("")]);
  expect([await verified.ended, verified.stderr]).toEqual([0, ""]);
}

describe("a clock that jumps a year ahead", () => {
  test("for seconds deletes nothing, does not affect file names, and is reported", async () => {
    await using gateway = await RestartedGateway.create({ retentionDays: 30 });
    gateway.setDay(TODAY - 5);
    await gateway.start();
    for (const message of ["old 1", "old 2"]) {
      await gateway.send([message], AUDIT);
      await gateway.send([message]);
    }
    await gateway.end();
    gateway.setDay(TODAY);
    await gateway.start();
    await gateway.send(["before"], AUDIT);
    await gateway.send(["before"]);
    gateway.setDay(TODAY + 365);
    await gateway.untilStderr(JUMPED);
    for (const message of ["during 1", "during 2"]) {
      await gateway.send([message], AUDIT);
      await gateway.send([message]);
    }
    const { clock } = await gateway.getJson<Stats>("/api/stats");
    expect(clock!.unconfirmed_seconds / 86_400).toBeCloseTo(365, 1);
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).toMatch(/^tailgate_clock_unconfirmed_seconds 3153\d{4}/m);
    gateway.setDay(TODAY);
    await gateway.untilStderr(/ - tailgate\.clock - INFO - The system clock is correct again\.$/m);
    await gateway.send(["after"], AUDIT);
    await gateway.send(["after"]);
    const events = ["before", "clock_jump", "during 1", "during 2", "after"];
    const files = [
      [nameOf(TODAY - 5), ["old 1", "old 2"]],
      [nameOf(TODAY), events],
    ];
    await vi.waitFor(() => expect(gateway.auditFiles()).toEqual(files));
    expect(await stored(gateway, "audit_log")).toEqual(["old 1", "old 2", ...events]);
    const system = ["old 1", "old 2", "before", "during 1", "during 2", "after"];
    expect(await stored(gateway, "system_log")).toEqual(system);
    // A response is cached for a second.
    const later = (): Promise<Stats> => gateway.getJson("/api/stats");
    await vi.waitFor(async () => expect(await later()).not.toHaveProperty("clock"), 5_000);
    await gateway.end();
    expect(gateway.stderr.match(/tailgate\.clock - ERROR/g)).toHaveLength(1);
    await gateway.start();
    await gateway.end();
    expect(gateway.auditFiles()).toEqual(files);
    await expectVerified(gateway);
  });

  test.each(["sqlite", "memory"] as const)(
    "before a start deletes nothing with the engine %s",
    async (engine) => {
      await using gateway = await RestartedGateway.create({ retentionDays: 30 });
      await gateway.start(engine);
      await gateway.send(["before"], AUDIT);
      await gateway.end();
      gateway.setDay(TODAY + 365);
      await gateway.start(engine);
      await gateway.send(["during"], AUDIT);
      expect(gateway.stderr).toMatch(
        /ERROR - The system clock shows .*, 365 days after the newest/,
      );
      await gateway.end();
      // As with a real machine's wrong clock.
      gateway.touchAudit(TODAY + 365);
      await gateway.start(engine);
      await gateway.end();
      gateway.setDay(TODAY);
      gateway.touchAudit(TODAY);
      await gateway.start(engine);
      await gateway.send(["after"], AUDIT);
      await gateway.end();
      const events = ["before", "clock_jump", "during", "clock_jump", "after"];
      expect(gateway.audit()).toEqual(events);
      expect(gateway.auditFiles().at(-1)![0]).toBe(nameOf(TODAY));
    },
  );
});
