import { describe, expect, test, vi } from "vitest";
import { DashboardGateway, type Dashboard } from "../harness/dashboard.ts";

const TYPE = "system_log";
const PILL = "[data-type=system_log] .jump-to-latest";

/** Returns this many messages up to that one. */
function numbered(last: number, length: number): string[] {
  return Array.from({ length }, (_, at) => `message ${last + 1 - length + at}`);
}

async function pillSays(dashboard: Dashboard, text: string): Promise<void> {
  await vi.waitFor(async () => expect(await dashboard.text(PILL)).toContain(text), 10_000);
}

describe("while following the newest records", () => {
  test("they stay in view, however many arrive", async () => {
    await using gateway = await DashboardGateway.start();
    await using dashboard = await gateway.open();
    await gateway.postNumbered("message", 1, 100);
    await dashboard.showsLast(TYPE, "message 100");
    await gateway.postNumbered("message", 101, 12_000);
    await dashboard.showsLast(TYPE, "message 12000");
    expect(await dashboard.page.$(PILL)).toBeNull();
  });

  test("scrolling away stops the list and shows the number of new records", async () => {
    await using gateway = await DashboardGateway.start();
    await gateway.postNumbered("message", 1, 150);
    await using dashboard = await gateway.open();
    await dashboard.showsLast(TYPE, "message 150");
    await dashboard.wheel(TYPE, -400);
    await dashboard.page.waitForSelector(PILL);
    const before = await dashboard.settledMessages(TYPE);
    await gateway.postNumbered("message", 151, 12_000);
    await pillSays(dashboard, "11,850 new");
    expect(await dashboard.messages(TYPE)).toEqual(before);
    await dashboard.click(PILL);
    await dashboard.showsLast(TYPE, "message 12000");
    await gateway.postNumbered("message", 12_001, 12_001);
    await dashboard.showsLast(TYPE, "message 12001");
  });

  test("scrolling to the end follows again", async () => {
    await using gateway = await DashboardGateway.start();
    await gateway.postNumbered("message", 1, 150);
    await using dashboard = await gateway.open();
    await dashboard.showsLast(TYPE, "message 150");
    await dashboard.wheel(TYPE, -400);
    await dashboard.page.waitForSelector(PILL);
    await gateway.postNumbered("message", 151, 155);
    await pillSays(dashboard, "5 new");
    await dashboard.wheel(TYPE, 1000);
    await dashboard.showsLast(TYPE, "message 155");
    expect(await dashboard.page.$(PILL)).toBeNull();
  });
});

test("a pause loses nothing: records received meanwhile are read in order, however many", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 50);
  await using dashboard = await gateway.open();
  await dashboard.showsLast(TYPE, "message 50");
  await dashboard.click(".actions [aria-pressed]");
  await gateway.postNumbered("message", 51, 25_000);
  await pillSays(dashboard, "24,950 new records");
  await dashboard.showsLast(TYPE, "message 50");
  await dashboard.click(".actions [aria-pressed]");
  await dashboard.showsLast(TYPE, "message 25000");
  const seen = await dashboard.readUpTo(TYPE, "message 24000");
  expect(seen).toEqual(numbered(25_000, seen.length));
  // Continue to the records beyond the page's capacity, which come from the journal.
  await dashboard.page.$eval(`[data-type=${TYPE}] .log-list`, (list) => (list.scrollTop = 0));
  const last = Number((await dashboard.settledMessages(TYPE)).at(-1)!.replace("message ", ""));
  const older = await dashboard.readUpTo(TYPE, `message ${last - 700}`);
  expect(older).toEqual(numbered(last, older.length));
});

test("scrolling back loads older records to the start of the journal without shifting rows", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 3000);
  await using dashboard = await gateway.open();
  await dashboard.showsLast(TYPE, "message 3000");
  const seen = await dashboard.readUpTo(TYPE, "message 1");
  expect(seen).toEqual(Array.from({ length: 3000 }, (_, at) => `message ${at + 1}`));
  await vi.waitFor(async () =>
    expect(await dashboard.text(".list-top")).toBe("Start of the journal"),
  );
});

test("Clear empties the list for new records, and the previous ones can be shown again", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 5);
  await using dashboard = await gateway.open();
  await dashboard.showsLast(TYPE, "message 5");
  await dashboard.page.locator(".actions ::-p-text(Clear)").click();
  await vi.waitFor(async () => expect(await dashboard.messages(TYPE)).toEqual([]));
  await gateway.postNumbered("message", 6, 6);
  await dashboard.showsLast(TYPE, "message 6");
  expect(await dashboard.messages(TYPE)).toEqual(["message 6"]);
  await dashboard.page.locator("::-p-text(Show earlier records)").click();
  await vi.waitFor(async () => expect(await dashboard.messages(TYPE)).toHaveLength(6));
});

test("a filter shows matching history and new records, and an invalid one is explained", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("quiet", 1, 1000);
  await gateway.post([{ message: "loud 1", severity: 17 }]);
  await gateway.postNumbered("quiet", 1001, 1500);
  await using dashboard = await gateway.open();
  await dashboard.showsLast(TYPE, "quiet 1500");
  await dashboard.page.type("[type=search]", "level:ERROR");
  await dashboard.page.keyboard.press("Enter");
  await dashboard.showsLast(TYPE, "loud 1");
  await gateway.post([{ message: "quiet" }, { message: "loud 2", severity: 17 }]);
  await dashboard.showsLast(TYPE, "loud 2");
  expect(await dashboard.messages(TYPE)).toEqual(["loud 1", "loud 2"]);
  await dashboard.page.type("[type=search]", ' logger:"');
  await dashboard.page.keyboard.press("Enter");
  await vi.waitFor(async () =>
    expect(await dashboard.text(".problem")).toContain("a quote is not closed"),
  );
});

test("records that a slow page missed are shown as a row, and a click loads them", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 10);
  await using dashboard = await gateway.open();
  await dashboard.showsLast(TYPE, "message 10");
  const debug = await dashboard.page.createCDPSession();
  await debug.send("Debugger.enable");
  const paused = new Promise((resolve) => debug.once("Debugger.paused", resolve));
  await debug.send("Debugger.pause");
  await gateway.post([{ message: "this is where it stands still" }]);
  await paused;
  // More than the gateway holds in memory.
  const filler = "x".repeat(900_000);
  for (let at = 0; at < 100; at += 4) {
    await gateway.post(
      [1, 2, 3, 4].map((of) => ({ message: `large ${at + of}`, attributes: { filler } })),
    );
  }
  await debug.send("Debugger.disable");
  await dashboard.page.waitForSelector("[data-type=system_log] .gap");
  await gateway.postNumbered("message", 11, 11);
  await dashboard.showsLast(TYPE, "message 11");
  const gap = (await dashboard.messages(TYPE)).find((message) => message.includes("missing"));
  expect(gap).toMatch(/records missing .* this page was lagging/);
  const missing = async (): Promise<number> =>
    Number((await dashboard.text(".status-bar .missing[data-some=true]")).replace(" missing", ""));
  await dashboard.page.waitForSelector(".status-bar .missing[data-some=true]");
  const before = await missing();
  expect(gap).toContain(`${before} records missing`);
  await dashboard.page.locator("[data-type=system_log] .gap button").click();
  await vi.waitFor(async () => {
    const messages = await dashboard.messages(TYPE);
    expect(messages.filter((message) => message.startsWith("large")).length).toBeGreaterThan(3);
    expect(await missing()).toBeLessThan(before);
  }, 10_000);
});
