import { expect, test, vi } from "vitest";
import type { ViewOptions } from "./browser.ts";
import { AUDIT, DashboardGateway, type Dashboard } from "../harness/dashboard.ts";

const BOX = "[role=combobox]";
const WAIT = { timeout: 15_000, interval: 30 };

const RECORDS = [
  { message: "starts", severity: 9, logger: "orchestrator.server" },
  { message: "High memory usage detected", severity: 13, logger: "orchestrator.monitor" },
  { message: "connection refused", severity: 17, logger: "orchestrator.server.http" },
  {
    message: "spawned",
    logger: AUDIT,
    attributes: { event_type: "instance_spawn", instance_id: "abc-123" },
  },
  {
    message: "terminated",
    logger: AUDIT,
    attributes: { event_type: "instance_terminate", instance_id: "def-456" },
  },
];

async function shows(
  dashboard: Dashboard,
  type: "system_log" | "audit_log",
  messages: string[],
): Promise<void> {
  const check = async (): Promise<void> => expect(await dashboard.messages(type)).toEqual(messages);
  await vi.waitFor(check, WAIT);
}

async function search(dashboard: Dashboard, text: string): Promise<void> {
  const box = await dashboard.page.locator(BOX).waitHandle();
  await box.click({ count: 3 });
  await dashboard.page.keyboard.press("Backspace");
  await box.type(text);
  await dashboard.page.keyboard.press("Enter");
}

async function open(gateway: DashboardGateway, options?: ViewOptions): Promise<Dashboard> {
  await gateway.post(RECORDS);
  const dashboard = await gateway.open(options);
  await dashboard.showsLast("system_log", "connection refused");
  return dashboard;
}

test.each(["chrome", "firefox"] as const)(
  "in %s a filter applies to history and new records in both panels, and can be removed",
  async (browser) => {
    await using gateway = await DashboardGateway.start();
    await using dashboard = await open(gateway, { browser });
    await search(dashboard, "logger:orchestrator.server -starts");
    await shows(dashboard, "system_log", ["connection refused"]);
    await shows(dashboard, "audit_log", []);
    await vi.waitFor(async () => {
      const top = await dashboard.text("[data-type=system_log] .list-top");
      expect(top).toBe("No older records match");
    }, WAIT);
    await gateway.post(RECORDS);
    await shows(dashboard, "system_log", ["connection refused", "connection refused"]);
    await search(dashboard, "instance_id:abc-123");
    await shows(dashboard, "audit_log", ["spawned", "spawned"]);
    await dashboard.click("::-p-text(Clear filter)");
    await dashboard.showsLast("audit_log", "terminated");
    await dashboard.showsLast("system_log", "connection refused");
  },
);

test("an invalid filter is explained under the search box, and the list stays", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await open(gateway);
  await search(dashboard, "level:LOUD");
  await vi.waitFor(async () => {
    expect(await dashboard.text("#filter-problem")).toMatch(
      /^"level:LOUD": the level must be one of DEBUG, INFO, /,
    );
  }, WAIT);
  expect(await dashboard.page.$eval(BOX, (box) => box.getAttribute("aria-invalid"))).toBe("true");
  await dashboard.showsLast("system_log", "connection refused");
  await search(dashboard, '"not closed');
  await vi.waitFor(async () => {
    expect(await dashboard.text("#filter-problem")).toMatch(/a quote is not closed/);
  }, WAIT);
  await search(dashboard, "level:ERROR");
  await shows(dashboard, "system_log", ["connection refused"]);
  expect(await dashboard.text("#filter-problem")).toBe("");
});

test("explains in words and colors what is typed, and marks what cannot become a filter", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await open(gateway);
  const { page } = dashboard;
  const box = await page.locator(BOX).waitHandle();
  const pieces = (selector: string): Promise<string[]> =>
    page.$$eval(`.search-colors ${selector}`, (found) => found.map((one) => one.textContent ?? ""));
  await box.type("level:ERROR OR (memory -usage");
  expect(await dashboard.text("#filter-words")).toBe(
    '"(": the group that starts there is not closed. Close it with ), or quote the text to search for a parenthesis.',
  );
  expect(await pieces(".wrong")).toEqual([]);
  expect(await dashboard.text("#filter-problem")).toBe("");
  await page.keyboard.press("Enter");
  await vi.waitFor(async () => expect(await pieces(".wrong")).toEqual(["("]), WAIT);
  expect(await dashboard.text("#filter-problem")).toMatch(/^"\(": the group that starts there/);
  await box.type(")");
  expect(await dashboard.text("#filter-words")).toBe(
    'Records where the level is ERROR or above or (the text does not contain "usage" and the text contains "memory").',
  );
  expect(await pieces("[data-token=name]")).toEqual(["level:"]);
  expect(await pieces("[data-token=or]")).toEqual(["OR"]);
  expect((await pieces("span")).join("")).toBe("level:ERROR OR (memory -usage)");
  await page.keyboard.press("Enter");
  await shows(dashboard, "system_log", ["connection refused"]);
  // A level that is hidden is hidden of both alternatives.
  await dashboard.click(".level-toggles button:has([data-level=ERROR])");
  await shows(dashboard, "system_log", []);
  await search(dashboard, "level:LOUD OR x");
  expect(await pieces(".wrong")).toEqual(["level:", "LOUD"]);
});

test("hints at what may be meant otherwise", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await open(gateway);
  await search(dashboard, "refused or -level:INFO");
  await shows(dashboard, "system_log", []);
  expect(await dashboard.text(".filter-hints")).toContain("Write OR in capitals");
  expect(await dashboard.text(".filter-hints")).toContain("only DEBUG is left");
  await search(dashboard, "refused OR -level:=INFO");
  await shows(dashboard, "system_log", ["High memory usage detected", "connection refused"]);
  expect(await dashboard.text(".filter-hints")).toBe("");
});

test("completes known fields and values by keyboard alone", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await open(gateway);
  const { page } = dashboard;
  await dashboard.showsLast("audit_log", "terminated");
  const options = (): Promise<string[]> =>
    page.$$eval("[role=option]", (found) => found.map((option) => option.textContent ?? ""));
  const box = await page.locator(BOX).waitHandle();
  await box.type("inst");
  expect(await options()).toEqual(["instance_id:"]);
  await page.keyboard.press("ArrowDown");
  const active = await box.evaluate((element) => element.getAttribute("aria-activedescendant"));
  expect(await page.$eval(`#${active}`, (option) => option.textContent)).toBe("instance_id:");
  await page.keyboard.press("Tab");
  await vi.waitFor(async () => expect(await options()).toEqual(["abc-123", "def-456"]), WAIT);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  expect(await box.evaluate((element) => (element as HTMLInputElement).value)).toBe(
    "instance_id:def-456 ",
  );
  expect(await box.evaluate((element) => element.getAttribute("aria-expanded"))).toBe("false");
  await page.keyboard.press("Enter");
  await shows(dashboard, "audit_log", ["terminated"]);
  await box.type(" logger:orchestrator.s");
  // No loaded record has them any more; the gateway knows how many stored ones do.
  const counted = (): Promise<string[]> =>
    page.$$eval("[role=option]", (found) =>
      found.map((option) => `${option.textContent} ${(option as HTMLElement).dataset["records"]}`),
    );
  await vi.waitFor(async () => {
    expect(await counted()).toEqual(["orchestrator.server 1", "orchestrator.server.http 1"]);
  }, WAIT);
  await page.keyboard.press("Escape");
  expect(await options()).toEqual([]);
});

test("a level is toggled, and shows how many of its records are loaded", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await open(gateway);
  const toggle = (level: string): string => `.level-toggles button:has([data-level=${level}])`;
  await vi.waitFor(async () => {
    expect(await dashboard.text(toggle("INFO"))).toBe("INFO 3");
    expect(await dashboard.text(toggle("ERROR"))).toBe("ERROR 1");
  }, WAIT);
  await dashboard.click(toggle("WARNING"));
  await dashboard.click(toggle("INFO"));
  await shows(dashboard, "system_log", ["connection refused"]);
  await gateway.post(RECORDS);
  await shows(dashboard, "system_log", ["connection refused", "connection refused"]);
  await shows(dashboard, "audit_log", []);
  expect(await dashboard.text(toggle("INFO"))).toBe("INFO off");
  const { page } = dashboard;
  expect(await page.$eval(toggle("INFO"), (one) => one.getAttribute("aria-pressed"))).toBe("false");
  await dashboard.click(toggle("INFO"));
  await dashboard.showsLast("audit_log", "terminated");
});
