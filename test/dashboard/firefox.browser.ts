import { expect, test, vi } from "vitest";
import type { ViewOptions } from "./browser.ts";
import { AUDIT, DashboardGateway } from "../harness/dashboard.ts";

/** The main flows in the other browser engine; browser errors, such as policy violations, fail a test. */
const FIREFOX = { browser: "firefox" } satisfies ViewOptions;

const TYPE = "system_log";
const LIST = `[data-type=${TYPE}] .log-list`;
const PILL = `[data-type=${TYPE}] .jump-to-latest`;

test("the page loads under its policy, and both panels show live records", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("before", 1, 30);
  await using dashboard = await gateway.open(FIREFOX);
  expect(await dashboard.page.evaluate(() => navigator.userAgent)).toContain("Firefox");
  await dashboard.showsLast(TYPE, "before 30");
  await gateway.post([
    { message: "<script>document.title = 'owned'</script>" },
    { message: "spawned", logger: AUDIT, attributes: { event_type: "instance_spawn" } },
  ]);
  await dashboard.showsLast(TYPE, "<script>document.title = 'owned'</script>");
  await dashboard.showsLast("audit_log", "spawned");
  expect(await dashboard.page.title()).toBe("Tailgate");
});

test("an inline script does not run", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await gateway.open(FIREFOX);
  await dashboard.page.waitForSelector(LIST);
  const hasRun = await dashboard.page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "globalThis.hasRun = true";
    document.body.append(script);
    return "hasRun" in globalThis;
  });
  expect(hasRun).toBe(false);
  dashboard.ignoreComplaint(/Content-Security-Policy/);
});

test("the newest stay in view; scrolling away stops and counts; the button jumps back", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 150);
  await using dashboard = await gateway.open(FIREFOX);
  await dashboard.showsLast(TYPE, "message 150");
  await gateway.postNumbered("message", 151, 2000);
  await dashboard.showsLast(TYPE, "message 2000");
  await dashboard.wheel(TYPE, -400);
  await dashboard.page.waitForSelector(PILL);
  const before = await dashboard.settledMessages(TYPE);
  await gateway.postNumbered("message", 2001, 4500);
  await vi.waitFor(async () => expect(await dashboard.text(PILL)).toContain("2,500 new"), 10_000);
  expect(await dashboard.messages(TYPE)).toEqual(before);
  await dashboard.click(PILL);
  await dashboard.showsLast(TYPE, "message 4500");
  await gateway.postNumbered("message", 4501, 4501);
  await dashboard.showsLast(TYPE, "message 4501");
});

test("a click opens the details of a record, and Escape closes them", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([{ message: "two\nlines", severity: 17, attributes: { attempt: 3 } }]);
  await using dashboard = await gateway.open(FIREFOX);
  const { page } = dashboard;
  await dashboard.showsLast(TYPE, "two\\nlines");
  await dashboard.click("[data-sequence='1']");
  expect(await dashboard.text(".details-message")).toBe("two\nlines");
  expect(JSON.parse(await dashboard.text(".details pre:last-of-type"))).toMatchObject({
    type: TYPE,
    data: { level: "ERROR", attempt: 3 },
  });
  await page.focus(".details-body");
  await page.keyboard.press("Escape");
  expect(await page.$(".details")).toBeNull();
});

test("a filter shows matching history and new records", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([{ message: "loud 1", severity: 17 }]);
  await gateway.postNumbered("quiet", 1, 600);
  await using dashboard = await gateway.open(FIREFOX);
  await dashboard.showsLast(TYPE, "quiet 600");
  await dashboard.page.type("[type=search]", "loud ");
  await dashboard.page.keyboard.press("Enter");
  await dashboard.showsLast(TYPE, "loud 1");
  await gateway.post([{ message: "quiet" }, { message: "loud 2" }]);
  await dashboard.showsLast(TYPE, "loud 2");
  expect(await dashboard.messages(TYPE)).toEqual(["loud 1", "loud 2"]);
});

test("arrow keys move the divider", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await gateway.open(FIREFOX);
  const { page } = dashboard;
  const width = (): Promise<number> =>
    page.$eval(`[data-type=${TYPE}]`, (panel) => panel.getBoundingClientRect().width);
  await page.waitForSelector(".divider");
  const before = await width();
  await page.focus(".divider");
  await page.keyboard.press("ArrowLeft");
  expect(await width()).toBeLessThan(before - 20);
  await page.keyboard.press("ArrowRight");
  expect(await width()).toBeCloseTo(before, 0);
});

test("on a narrow page the panels are tabs", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([{ message: "from the system" }, { message: "from audit", logger: AUDIT }]);
  await using dashboard = await gateway.open({ ...FIREFOX, width: 480 });
  await dashboard.showsLast(TYPE, "from the system");
  expect(await dashboard.page.$("[data-type=audit_log]")).toBeNull();
  await dashboard.page.focus("[role=tab][aria-selected=true]");
  await dashboard.page.keyboard.press("ArrowRight");
  await dashboard.showsLast("audit_log", "from audit");
  await dashboard.click("[role=tab]:first-child");
  await dashboard.showsLast(TYPE, "from the system");
});

test("the page resumes by itself after a gateway restart, and shows each record once", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 5);
  await using dashboard = await gateway.open(FIREFOX);
  await dashboard.showsLast(TYPE, "message 5");
  await gateway.restart();
  await gateway.postNumbered("message", 6, 9);
  await dashboard.showsLast(TYPE, "message 9");
  expect(await dashboard.messages(TYPE)).toEqual(
    Array.from({ length: 9 }, (_, at) => `message ${at + 1}`),
  );
  const infos = ".level-toggles button:has([data-level=INFO]) .count";
  await vi.waitFor(async () => expect(await dashboard.text(infos)).toBe("9"), 10_000);
  // While there was no connection.
  dashboard.ignoreComplaint(/can.t establish a connection|was interrupted|NetworkError/);
});
