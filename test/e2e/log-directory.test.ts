/** What the gateway tells of its log directory. */

import { expect, test } from "vitest";
import { RestartedGateway } from "../support/restarted-gateway.ts";

async function metricsOf({ url }: RestartedGateway): Promise<(name: string) => number | undefined> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const values = new Map(text.split("\n").map((line) => line.split(" ") as [string, string]));
  return (name) => (values.has(name) ? Number(values.get(name)) : undefined);
}

test.each(["sqlite", "memory"] as const)(
  "/metrics tells of the journal and its disk with the engine %s",
  async (engine) => {
    await using gateway = await RestartedGateway.create();
    await gateway.start(engine);
    expect((await metricsOf(gateway))("tailgate_journal_oldest_sequence")).toBe(1);
    await gateway.send(["one", "two", "three"]);
    const first = await metricsOf(gateway);
    expect(first("tailgate_journal_oldest_sequence")).toBe(1);
    expect(first("tailgate_journal_bytes")).toBeGreaterThan(0);
    expect(first("tailgate_disk_free_bytes")).toBeGreaterThan(1e6);
    expect(first("process_open_fds")).toBeGreaterThan(10);
    expect(
      first('tailgate_records_dropped_total{component="intake",kind="intake",reason="overloaded"}'),
    ).toBe(0);
    await gateway.end();
    await gateway.start(engine);
    await gateway.send(["four"]);
    const second = await metricsOf(gateway);
    expect(second("tailgate_journal_oldest_sequence")).toBe(1);
    expect(second("tailgate_journal_newest_sequence")).toBe(engine === "sqlite" ? 4 : 1);
    await gateway.end();
  },
);
