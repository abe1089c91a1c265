import axe, { type AxeResults } from "axe-core";
import { describe, expect, test, vi } from "vitest";
import { AUDIT, DashboardGateway, type Dashboard, type PanelType } from "../harness/dashboard.ts";

declare global {
  interface Window {
    readonly axe: typeof axe;
    /** Attributes that have referenced a missing element. */
    readonly dangling: Set<string>;
  }
}

/** Returns axe-core's serious findings with their locations. */
async function seriousIssues({ page }: Dashboard): Promise<string[]> {
  await page.evaluate(axe.source);
  const results: AxeResults = await page.evaluate(() => window.axe.run());
  return results.violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}

describe.for(["dark", "light"] as const)("axe-core finds no serious issue, %s", (scheme) => {
  test.for([1440, 480])("at %i px", async (width) => {
    await using gateway = await DashboardGateway.start();
    const ids = { instance_id: "worker-1", event_type: "step" };
    await gateway.post([
      ...[5, 9, 13, 17, 21].map((severity) => ({
        message: `severity ${severity}`,
        severity,
        attributes: { instance_id: "worker-1", "exception.stacktrace": "Error: no\n  at all" },
      })),
      { message: "first", logger: AUDIT, attributes: ids },
      { message: "second", logger: AUDIT, attributes: ids, severity: 17 },
    ]);
    await using dashboard = await gateway.open({ width, scheme });
    const { page } = dashboard;
    await dashboard.showsLast("system_log", "severity 21");
    expect(await seriousIssues(dashboard)).toEqual([]);
    if (width === 480) await dashboard.click("#tab-audit_log");
    await page.waitForSelector("[data-type=audit_log] .row");
    await dashboard.click("[data-type=audit_log] .row .column-time");
    await page.waitForSelector(".details");
    expect(await seriousIssues(dashboard)).toEqual([]);
    await dashboard.click(".related button");
    await page.waitForSelector(".correlation-bar");
    expect(await seriousIssues(dashboard)).toEqual([]);
  });
});

const REFERENCES = [
  "aria-activedescendant",
  "aria-controls",
  "aria-describedby",
  "aria-labelledby",
  "aria-owns",
  "for",
];

/** Observes every state of a page, however short, for references to missing elements. */
function watchReferences(names: readonly string[]): void {
  const dangling = new Set<string>();
  Object.assign(window, { dangling });
  const selector = names.map((name) => `[${name}]`).join();
  const look = (): void => {
    for (const element of document.querySelectorAll(selector)) {
      for (const name of names) {
        const ids = element.getAttribute(name)?.split(" ") ?? [];
        const isThere = (id: string): boolean => document.getElementById(id) !== null;
        if (!ids.every(isThere)) dangling.add(`${element.localName} ${name}=${ids.join(" ")}`);
      }
    }
  };
  const everything = { subtree: true, childList: true, attributes: true };
  new MutationObserver(look).observe(document, everything);
}

test.for([1440, 480])("every referenced id exists, at %i px", async (width) => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 300);
  const event = { message: "audited", logger: AUDIT, attributes: { instance_id: "a" } };
  await gateway.post([event, { message: "the last", severity: 17 }]);
  await using dashboard = await gateway.open({ width });
  const { page } = dashboard;
  await page.evaluateOnNewDocument(watchReferences, REFERENCES);
  await dashboard.view.reload();
  const LIST = "[data-type=system_log] .log-list";
  const active = (): Promise<string | null> =>
    page.$eval(LIST, (list) => {
      const id = list.getAttribute("aria-activedescendant");
      return id && document.getElementById(id)!.querySelector(".column-message")!.textContent;
    });
  const isActive = (message: string | null): Promise<void> =>
    vi.waitFor(async () => expect(await active()).toBe(message), { timeout: 15_000 });
  await dashboard.showsLast("system_log", "the last");

  // Scrolled out of view, and moved from regardless.
  await page.focus(LIST);
  await page.keyboard.press("ArrowUp");
  await isActive("the last");
  await page.$eval(LIST, (list) => (list.scrollTop -= 4000));
  await isActive(null);
  await page.keyboard.press("ArrowUp");
  await isActive("message 300");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".details");
  await page.keyboard.press("Escape");

  // Filtered out: keyboard navigation starts at the newest again.
  await page.type("[role=combobox]", "level:");
  for (const key of ["ArrowDown", "ArrowDown", "Enter"] as const) await page.keyboard.press(key);
  await page.locator("[role=combobox]").fill("level:ERROR");
  await page.keyboard.press("Enter");
  await vi.waitFor(async () => expect(await dashboard.messages("system_log")).toHaveLength(1));
  await isActive(null);
  await page.focus(LIST);
  await page.keyboard.press("ArrowUp");
  await isActive("the last");
  await dashboard.click("button ::-p-text(Facets)");
  await page.waitForSelector("#facets");
  await dashboard.click(".facets-head button");

  // A link to a record, and the correlated lines of an event: the row exists only once it has loaded.
  const expectNoneSoFar = async (): Promise<void> =>
    expect(await page.evaluate(() => [...window.dangling])).toEqual([]);
  await expectNoneSoFar();
  const goTo = async (address: string, type: PanelType): Promise<void> => {
    await dashboard.view.goto(gateway.url + address);
    await page.waitForSelector(`[data-type=${type}] [aria-selected=true]`);
    await page.waitForSelector(".details");
  };
  await goTo("/?record=3&panel=system", "system_log");
  await expectNoneSoFar();
  await goTo("/?record=301&panel=audit", "audit_log");
  await dashboard.click(".related button");
  await page.waitForSelector(".correlation-bar");
  await expectNoneSoFar();
});
