import { expect, test, vi } from "vitest";
import { AUDIT, DashboardGateway, type Dashboard, type PanelType } from "../harness/dashboard.ts";

const WAIT = { timeout: 15_000, interval: 30 };
const BOX = "[role=combobox]";
const MINUTE_MS = 60_000;

async function shows(dashboard: Dashboard, type: PanelType, messages: string[]): Promise<void> {
  await vi.waitFor(async () => expect(await dashboard.messages(type)).toEqual(messages), WAIT);
}

async function search(dashboard: Dashboard, text: string): Promise<void> {
  await dashboard.page.locator(BOX).fill(text);
  await dashboard.page.keyboard.press("Enter");
}

function parameters(dashboard: Dashboard): URLSearchParams {
  return new URL(dashboard.page.url()).searchParams;
}

test("a time range is selected: the last minutes, from and to, or in the histogram", async () => {
  const nowMs = Date.now();
  await using gateway = await DashboardGateway.start();
  await gateway.post([
    { message: "two hours ago", timeMs: nowMs - 120 * MINUTE_MS },
    { message: "half an hour ago", timeMs: nowMs - 30 * MINUTE_MS, severity: 17 },
    { message: "now", timeMs: nowMs },
  ]);
  await using dashboard = await gateway.open();
  const { page } = dashboard;
  await dashboard.showsLast("system_log", "now");
  await page.select(".time-range select", "60");
  await shows(dashboard, "system_log", ["half an hour ago", "now"]);
  await gateway.post([
    { message: "late", timeMs: nowMs - 90 * MINUTE_MS },
    { message: "in time", timeMs: nowMs + 1 },
  ]);
  await shows(dashboard, "system_log", ["half an hour ago", "now", "in time"]);
  expect(parameters(dashboard).get("last")).toBe("60");
  await dashboard.view.reload();
  await shows(dashboard, "system_log", ["half an hour ago", "now", "in time"]);

  await page.select(".time-range select", "");
  await vi.waitFor(
    async () => expect(await dashboard.messages("system_log")).toContain("two hours ago"),
    WAIT,
  );
  // From the first third of two hours to the last tenth: contains the record of half an hour ago.
  await page.waitForSelector(".histogram rect[data-level=ERROR]");
  const box = (await (await page.$(".histogram svg"))!.boundingBox())!;
  const [x, y] = [(part: number) => box.x + box.width * part, box.y + box.height / 2];
  await page.mouse.move(x(0.9), y);
  await page.mouse.down();
  await page.mouse.move(x(0.34), y, { steps: 3 });
  await page.waitForSelector(".histogram .brush");
  await page.mouse.up();
  await shows(dashboard, "system_log", ["half an hour ago"]);
  const [since, until] = ["since", "until"].map((name) =>
    Date.parse(parameters(dashboard).get(name)!),
  );
  expect(since! - (nowMs - 79 * MINUTE_MS)).toBeGreaterThan(-MINUTE_MS);
  expect(until! - (nowMs - 12 * MINUTE_MS)).toBeLessThan(MINUTE_MS);
  await gateway.post([{ message: "later" }]);
  await page.goBack();
  await dashboard.showsLast("system_log", "later");
  expect((await dashboard.messages("system_log")).at(-2)).toBe("in time");
  await gateway.post([{ message: "days ago", timeMs: nowMs - 3 * 24 * 60 * MINUTE_MS }]);
  const begins = (): Promise<string> => dashboard.text(".histogram-from");
  await vi.waitFor(async () => expect(await begins()).toMatch(/^\d+ [A-Z][a-z]+\b/), WAIT);

  await page.select(".time-range select", "custom");
  await page.waitForSelector(".custom-range");
  await page.select(".time-range select", "");
  expect(await page.$(".custom-range")).toBeNull();
  await page.select(".time-range select", "custom");
  const untilField = page.locator(".custom-range input[aria-label=To]");
  await untilField.fill(localText(nowMs - 100 * MINUTE_MS));
  await dashboard.click(".custom-range button");
  await shows(dashboard, "system_log", ["two hours ago", "days ago"]);
});

test("the last minutes advance with time, but not while the user reads", async () => {
  const nowMs = Date.now();
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("now", 1, 300);
  await gateway.post([
    { message: "four minutes ago", timeMs: nowMs - 4 * MINUTE_MS },
    { message: "two minutes ago", timeMs: nowMs - 2 * MINUTE_MS },
    { message: "one minute ago", timeMs: nowMs - MINUTE_MS },
  ]);
  await using dashboard = await gateway.open({}, "/?last=5&q=ago");
  const { page } = dashboard;
  const later = (minutes: number): Promise<void> =>
    page.evaluate((ms) => {
      const now = Date.now;
      Date.now = () => now() + ms;
    }, minutes * MINUTE_MS);
  const infos = (): Promise<string> =>
    dashboard.text(".level-toggles button:has([data-level=INFO]) .count");
  const counts = (count: string): Promise<void> =>
    vi.waitFor(async () => expect(await infos()).toBe(count), WAIT);
  await shows(dashboard, "system_log", ["four minutes ago", "two minutes ago", "one minute ago"]);
  await counts("3");
  expect(await dashboard.text("[data-type=system_log] .list-top")).toBe("Start of the time range");
  await later(2);
  await shows(dashboard, "system_log", ["two minutes ago", "one minute ago"]);
  await counts("2");
  await dashboard.click("[data-type=system_log] .row");
  await page.waitForSelector(".jump-to-latest");
  await later(1.5);
  await counts("1");
  expect(await dashboard.messages("system_log")).toEqual(["two minutes ago", "one minute ago"]);
  await dashboard.click("[data-type=system_log] .jump-to-latest");
  await shows(dashboard, "system_log", ["one minute ago"]);
});

test("the histogram leaves out outliers, shows their number, and keeps single records visible", async () => {
  const nowMs = Date.now();
  await using gateway = await DashboardGateway.start();
  await gateway.post([{ message: "single", timeMs: nowMs - 10 * MINUTE_MS, severity: 17 }]);
  await gateway.postNumbered("many", 1, 2000);
  await gateway.post([
    { message: "of 1970", timeMs: 1796 },
    { message: "of 2100", timeMs: Date.UTC(2100, 0, 1) },
  ]);
  await using dashboard = await gateway.open();
  const { page } = dashboard;
  await page.waitForSelector(".histogram rect[data-level=ERROR]");
  const extent = (): Promise<string> => dashboard.text(".histogram-extent");
  await vi.waitFor(
    async () => expect(await extent()).toBe("Whole journalNot shown: 1 earlier, 1 later"),
    WAIT,
  );
  expect(await dashboard.text(".histogram-from")).toMatch(/^\d\d:\d\d:\d\d$|^\d+ \w+,/);
  const heights = await page.$$eval(".histogram rect", (bars) =>
    bars.map((bar) => bar.getBoundingClientRect().height),
  );
  expect(Math.min(...heights)).toBeGreaterThan(1);
  expect(await dashboard.text(".level-toggles button:has([data-level=INFO]) .count")).toBe("2,002");
});

/** The browser has the time zone of the tests. */
function localText(ms: number): string {
  const shifted = new Date(ms - new Date(ms).getTimezoneOffset() * MINUTE_MS);
  return shifted.toISOString().slice(0, 19);
}

test("facets and levels count matches in the journal, and a click replaces one value with another", async () => {
  await using gateway = await DashboardGateway.start();
  // More than the page loads.
  await gateway.postNumbered("many", 1, 1500);
  await gateway.post([
    { message: "one", logger: "orchestrator.server" },
    { message: "two", logger: "orchestrator.server" },
    {
      message: "three",
      logger: "orchestrator.monitor",
      attributes: { instance_id: "a b" },
      service: "planner",
    },
    { message: "spawned", logger: AUDIT, attributes: { event_type: "instance_spawn" } },
  ]);
  await using dashboard = await gateway.open();
  const { page } = dashboard;
  await dashboard.showsLast("system_log", "three");
  await dashboard.click("::-p-text(Facets)");
  const values = (facet: string): Promise<string[]> =>
    page.$$eval(`[data-facet=${facet}] li`, (found) => found.map((one) => one.textContent ?? ""));
  await vi.waitFor(async () => {
    expect(await values("logger")).toEqual([
      "orchestrator.server1,502",
      `${AUDIT}1`,
      "orchestrator.monitor1",
    ]);
    expect(await values("action")).toEqual(["instance_spawn1"]);
    expect(await values("instance_id")).toEqual(["a b1"]);
    expect(await values("service")).toEqual(["planner1"]);
  }, WAIT);
  expect(await dashboard.text(".facets .hint")).toBe("Counted in the whole journal");
  const infos = (): Promise<string> =>
    dashboard.text(".level-toggles button:has([data-level=INFO]) .count");
  expect(await infos()).toBe("1,504");
  expect(await dashboard.text(".histogram-extent")).toBe("Whole journal");
  await gateway.post([{ message: "one more" }, { message: "loud", severity: 17 }]);
  await vi.waitFor(async () => expect(await infos()).toBe("1,505"), WAIT);
  await dashboard.click("[data-facet=instance_id] button");
  await shows(dashboard, "system_log", ["three"]);
  expect(parameters(dashboard).get("q")).toBe('instance_id:"a b"');
  await vi.waitFor(async () => expect(await infos()).toBe("1"), WAIT);
  await dashboard.click("[data-facet=instance_id] button[aria-pressed=true]");
  await dashboard.showsLast("system_log", "loud");
  await dashboard.click("[data-facet=service] button");
  await shows(dashboard, "system_log", ["three"]);
  expect(parameters(dashboard).get("q")).toBe("service:planner");
  await dashboard.click("[data-facet=service] button[aria-pressed=true]");
  await dashboard.click("[data-facet=logger] button::-p-text(orchestrator.monitor)");
  await shows(dashboard, "system_log", ["three"]);
  await dashboard.click("[data-facet=logger] button::-p-text(orchestrator.monitor)");
  await dashboard.click("[data-facet=logger] button::-p-text(orchestrator.server)");
  await dashboard.showsLast("system_log", "loud");
  await shows(dashboard, "audit_log", []);
});

test("search terms are highlighted, and the context of a match is shown without the filter", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("before", 1, 700);
  await gateway.post([{ message: "Connection (refused) by <b>" }]);
  await gateway.postNumbered("after", 1, 700);
  await using dashboard = await gateway.open();
  const { page } = dashboard;
  await dashboard.showsLast("system_log", "after 700");
  await search(dashboard, 'connection "(refused)"');
  await shows(dashboard, "system_log", ["Connection (refused) by <b>"]);
  const marks = await page.$$eval(".row mark", (all) => all.map((mark) => mark.textContent));
  expect(marks).toEqual(["Connection", "(refused)"]);
  await dashboard.click("[data-type=system_log] .row");
  await dashboard.click("::-p-text(Show in context)");
  await vi.waitFor(async () => {
    const messages = await dashboard.messages("system_log");
    const index = messages.indexOf("Connection (refused) by <b>");
    expect(messages[index - 1]).toBe("before 700");
    expect(messages[index + 1]).toBe("after 1");
  }, WAIT);
  expect(await page.$$("mark")).toEqual([]);
  expect(parameters(dashboard).get("q")).toBeNull();
  await page.goBack();
  await shows(dashboard, "system_log", ["Connection (refused) by <b>"]);
});

test("a view is saved under a name, opened after a reload, and deleted", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([{ message: "one" }, { message: "two", severity: 17 }]);
  await using dashboard = await gateway.open({}, "/?q=-one&hide=DEBUG");
  const { page } = dashboard;
  await shows(dashboard, "system_log", ["two"]);
  await dashboard.click(".overview ::-p-text(Views)");
  await page.locator("dialog input").fill("Without one");
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog li");
  await dashboard.view.goto(gateway.url);
  await shows(dashboard, "system_log", ["one", "two"]);
  await dashboard.click(".overview ::-p-text(Views)");
  await dashboard.click("dialog ::-p-text(Without one)");
  await shows(dashboard, "system_log", ["two"]);
  expect(await page.$("dialog")).toBeNull();
  expect(parameters(dashboard).get("hide")).toBe("DEBUG");
  await dashboard.click(".overview ::-p-text(Views)");
  await dashboard.click("dialog [aria-label='Delete Without one']");
  await vi.waitFor(async () => expect(await page.$("dialog li")).toBeNull(), WAIT);
});
