import axe, { type AxeResults } from "axe-core";
import { describe, expect, test } from "vitest";
import { AUDIT, Rig, type Dashboard } from "./rig.ts";

declare global {
  interface Window {
    readonly axe: typeof axe;
  }
}

/** What axe-core finds of weight, with the places where it is. */
async function seriousIssues({ page }: Dashboard): Promise<string[]> {
  await page.evaluate(axe.source);
  const results: AxeResults = await page.evaluate(() => window.axe.run());
  return results.violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}

describe.for(["dark", "light"] as const)("axe-core finds no serious issue, %s", (scheme) => {
  test.for([1440, 480])("at %i px", async (width) => {
    await using rig = await Rig.start();
    const ids = { instance_id: "worker-1", event_type: "step" };
    await rig.post([
      ...[5, 9, 13, 17, 21].map((severity) => ({
        message: `severity ${severity}`,
        severity,
        attributes: { instance_id: "worker-1", "exception.stacktrace": "Error: no\n  at all" },
      })),
      { message: "first", logger: AUDIT, attributes: ids },
      { message: "second", logger: AUDIT, attributes: ids, severity: 17 },
    ]);
    await using dashboard = await rig.open({ width, scheme });
    const { page } = dashboard;
    await dashboard.showsLast("system_log", "severity 21");
    expect(await seriousIssues(dashboard)).toEqual([]);
    if (width === 480) await dashboard.click("#tab-audit_log");
    await page.waitForSelector("[data-lane=audit_log] .row");
    await dashboard.click("[data-lane=audit_log] .row .column-time");
    await page.waitForSelector(".details");
    expect(await seriousIssues(dashboard)).toEqual([]);
    await dashboard.click(".related button");
    await page.waitForSelector(".together-bar");
    expect(await seriousIssues(dashboard)).toEqual([]);
  });
});
