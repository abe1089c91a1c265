import { expect, test, vi } from "vitest";
import { AUDIT, DashboardGateway, type Dashboard } from "../harness/dashboard.ts";

const WAIT = { timeout: 15_000, interval: 30 };
const BOX = "[role=combobox]";

function searchPart(dashboard: Dashboard): string {
  return new URL(dashboard.page.url()).search;
}

/** The title of the details pane; undefined if it is closed. */
async function shownRecord(dashboard: Dashboard): Promise<string | undefined> {
  const pane = await dashboard.page.$(".details-message");
  return (await pane?.evaluate((element) => element.textContent ?? "")) ?? undefined;
}

async function showsRecord(dashboard: Dashboard, message: string | undefined): Promise<void> {
  await vi.waitFor(async () => expect(await shownRecord(dashboard)).toBe(message), WAIT);
}

test("the URL holds filter, levels and record: reload, back and forward restore them", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([
    { message: "one" },
    { message: "two", severity: 13 },
    { message: "three", severity: 17, logger: "other" },
  ]);
  await using dashboard = await gateway.open();
  const { page } = dashboard;
  await dashboard.showsLast("system_log", "three");
  await page.locator(BOX).fill("-one");
  await page.keyboard.press("Enter");
  await dashboard.showsLast("system_log", "three");
  await dashboard.click(".level-toggles button:has([data-level=ERROR])");
  await dashboard.showsLast("system_log", "two");
  await dashboard.click("[data-type=system_log] .row");
  await showsRecord(dashboard, "two");
  expect(searchPart(dashboard)).toBe("?q=-one&hide=ERROR&record=2&panel=system");

  await dashboard.view.reload();
  await showsRecord(dashboard, "two");
  await dashboard.showsLast("system_log", "two");
  expect(await page.$eval(BOX, (box) => (box as HTMLInputElement).value)).toBe("-one");

  await page.goBack();
  await showsRecord(dashboard, undefined);
  await page.goBack();
  await dashboard.showsLast("system_log", "three");
  await page.goBack();
  await vi.waitFor(
    async () => expect(await dashboard.messages("system_log")).toEqual(["one", "two", "three"]),
    WAIT,
  );
  expect(searchPart(dashboard)).toBe("");
  await page.goForward();
  await page.goForward();
  await vi.waitFor(
    async () => expect(await dashboard.messages("system_log")).toEqual(["two"]),
    WAIT,
  );
});

test("a URL with an invalid filter shows the error and all records", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([{ message: "one" }]);
  await using dashboard = await gateway.open({}, "/?q=level:LOUD");
  await dashboard.showsLast("system_log", "one");
  expect(await dashboard.text("#filter-problem")).toMatch(/level:LOUD.*the level must be one of/);
});

test("everything works by keyboard, and each key of the help does what it says", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([{ message: "an event", logger: AUDIT }]);
  await gateway.postNumbered("message", 1, 300);
  await using dashboard = await gateway.open();
  const { page } = dashboard;
  const pressed = new Set<string>();
  const pressKey = async (key: string): Promise<void> => {
    pressed.add(key === "Escape" ? "Esc" : key);
    await page.keyboard.press(key as "a");
  };
  const press = async (keys: string): Promise<void> => {
    for (const key of keys) await pressKey(key);
  };
  await dashboard.showsLast("system_log", "message 300");
  await press("kkj");
  await pressKey("Enter");
  await showsRecord(dashboard, "message 300");
  await press("k");
  await pressKey("Enter");
  await showsRecord(dashboard, "message 299");
  await pressKey("Escape");
  await showsRecord(dashboard, undefined);
  await press("g");
  await vi.waitFor(
    async () => expect(await dashboard.messages("system_log")).not.toContain("message 300"),
    WAIT,
  );
  await press("G");
  await dashboard.showsLast("system_log", "message 300");

  await press("p");
  await gateway.postNumbered("message", 301, 302);
  await dashboard.page.waitForSelector("::-p-text(2 new records)");
  await press("p");
  await dashboard.showsLast("system_log", "message 302");
  await dashboard.wheel("system_log", -400);
  await page.waitForSelector("[data-type=system_log] .jump-to-latest");
  await press("f");
  await page.waitForSelector("[data-type=system_log] .jump-to-latest", { hidden: true });

  await press("]k");
  await pressKey("Enter");
  await showsRecord(dashboard, "an event");
  expect(searchPart(dashboard)).toContain("panel=audit");
  await press("[k");
  await pressKey("Enter");
  await showsRecord(dashboard, "message 302");
  expect(searchPart(dashboard)).toContain("panel=system");

  await press("?");
  await page.waitForSelector("dialog[open]");
  const keys = await page.$$eval("dialog kbd", (all) => all.map((key) => key.textContent));
  await pressKey("Escape");
  await vi.waitFor(async () => expect(await page.$("dialog")).toBeNull(), WAIT);
  await showsRecord(dashboard, "message 302");

  await press("/");
  expect([...pressed].toSorted()).toEqual(keys.toSorted());
  await page.keyboard.type("fjp");
  expect(await page.$eval(BOX, (box) => (box as HTMLInputElement).value)).toBe("fjp");
});

test("a long press on a record opens it while following", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 2000);
  await using dashboard = await gateway.open();
  await dashboard.showsLast("system_log", "message 2000");
  const { page } = dashboard;
  // The histogram and the counts take space above the list when they appear.
  await page.waitForSelector(".histogram rect[data-level]");
  await dashboard.settledMessages("system_log");
  // Measured in one step, because an element shows another record once older ones are loaded.
  const [x, y] = await page.$eval("[data-sequence='1999']", (row) => {
    const { left, top, width, height } = row.getBoundingClientRect();
    return [left + width / 2, top + height / 2] as const;
  });
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.waitForSelector(".jump-to-latest");
  await page.mouse.up();
  await showsRecord(dashboard, "message 1999");
});
