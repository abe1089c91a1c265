import { describe, expect, test } from "vitest";
import { AUDIT, DashboardGateway, type Dashboard } from "../harness/dashboard.ts";

function widthOf(dashboard: Dashboard, selector: string): Promise<number> {
  return dashboard.page.$eval(selector, (element) => element.getBoundingClientRect().width);
}

/** React may render a movement of the pointer after the browser has reported it as handled. */
const WAIT = { timeout: 15_000, interval: 30 };

/** Drags an element horizontally by its middle. */
async function drag(dashboard: Dashboard, selector: string, byPx: number): Promise<void> {
  const box = (await (await dashboard.page.$(selector))!.boundingBox())!;
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const { mouse } = dashboard.page;
  await mouse.move(x, y);
  await mouse.down();
  await mouse.move(x + byPx, y, { steps: 4 });
  await mouse.up();
}

const SYSTEM = "[data-type=system_log]";

describe("the divider", () => {
  test("is dragged by the mouse and by arrow keys, and is remembered", async () => {
    await using gateway = await DashboardGateway.start();
    await using dashboard = await gateway.open();
    const { page } = dashboard;
    const before = await widthOf(dashboard, SYSTEM);
    await drag(dashboard, ".divider", -200);
    await expect.poll(() => widthOf(dashboard, SYSTEM), WAIT).toBeCloseTo(before - 200, -1);
    const dragged = await widthOf(dashboard, SYSTEM);
    await page.focus(".divider");
    await page.keyboard.press("ArrowRight");
    const pressed = await widthOf(dashboard, SYSTEM);
    expect(pressed).toBeGreaterThan(dragged + 20);
    await dashboard.view.reload();
    expect(await widthOf(dashboard, SYSTEM)).toBeCloseTo(pressed, 0);
  });

  test("is dragged by touch", async () => {
    await using gateway = await DashboardGateway.start();
    await using dashboard = await gateway.open();
    const before = await widthOf(dashboard, SYSTEM);
    const box = (await (await dashboard.page.$(".divider"))!.boundingBox())!;
    const finger = await dashboard.page.touchscreen.touchStart(box.x + box.width / 2, 300);
    await finger.move(box.x - 100, 300);
    await finger.end();
    await expect.poll(() => widthOf(dashboard, SYSTEM), WAIT).toBeLessThan(before - 80);
  });

  test("never hides a panel", async () => {
    await using gateway = await DashboardGateway.start();
    await using dashboard = await gateway.open();
    await drag(dashboard, ".divider", 1000);
    const role = (): Promise<unknown> =>
      dashboard.page.$eval(".divider", (divider) => ({
        role: divider.getAttribute("role"),
        now: divider.getAttribute("aria-valuenow"),
      }));
    await expect.poll(role, WAIT).toEqual({ role: "separator", now: "100" });
    expect(await widthOf(dashboard, "[data-type=audit_log]")).toBeGreaterThan(150);
  });
});

test("on a narrow page the panels are tabs, navigable by arrow keys, and the selected one is remembered", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([{ message: "from the system" }, { message: "from audit", logger: AUDIT }]);
  await using dashboard = await gateway.open({ width: 480 });
  const { page } = dashboard;
  await dashboard.showsLast("system_log", "from the system");
  expect(await page.$("[data-type=audit_log]")).toBeNull();
  await page.focus("[role=tab][aria-selected=true]");
  await page.keyboard.press("ArrowRight");
  await dashboard.showsLast("audit_log", "from audit");
  await dashboard.view.reload();
  await dashboard.showsLast("audit_log", "from audit");
  await dashboard.click("[role=tab]:first-child");
  await dashboard.showsLast("system_log", "from the system");
});

describe("columns", () => {
  const LOGGER = `${SYSTEM} [role=columnheader]:nth-child(3)`;

  test("are resized by the mouse and by arrow keys, and are remembered", async () => {
    await using gateway = await DashboardGateway.start();
    await using dashboard = await gateway.open();
    const { page } = dashboard;
    const before = await widthOf(dashboard, LOGGER);
    await drag(dashboard, `${LOGGER} .column-edge`, 50);
    await expect.poll(() => widthOf(dashboard, LOGGER), WAIT).toBe(before + 50);
    await page.focus(`${LOGGER} .column-edge`);
    await page.keyboard.press("ArrowLeft");
    expect(await widthOf(dashboard, LOGGER)).toBe(before + 40);
    await dashboard.view.reload();
    expect(await widthOf(dashboard, LOGGER)).toBe(before + 40);
  });

  test("are hidden and shown, and are remembered; the message stays", async () => {
    await using gateway = await DashboardGateway.start();
    await using dashboard = await gateway.open();
    const { page } = dashboard;
    const names = (): Promise<string[]> =>
      page.$$eval(`${SYSTEM} .column-name`, (found) => found.map((name) => name.textContent));
    expect(await names()).toEqual(["Time", "Level", "Logger", "Message", "Fields"]);
    const audit = await page.$$eval("[data-type=audit_log] .column-name", (found) =>
      found.map((name) => name.textContent),
    );
    expect(audit).toEqual(["Time", "Level", "Action", "Instance", "Message", "Fields"]);
    await dashboard.click(`${SYSTEM} .menu summary`);
    const labels = await page.$$eval(`${SYSTEM} .menu-items label`, (found) =>
      found.map((label) => label.textContent),
    );
    expect(labels).toEqual(["Time", "Level", "Logger", "Call site", "Fields"]);
    await dashboard.click(`${SYSTEM} .menu-items label:nth-child(3)`);
    await dashboard.click(`${SYSTEM} .menu-items label:nth-child(4)`);
    expect(await names()).toEqual(["Time", "Level", "Message", "Call site", "Fields"]);
    await dashboard.view.reload();
    expect(await names()).toEqual(["Time", "Level", "Message", "Call site", "Fields"]);
  });
});

test("the five levels have five colors", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([9, 13, 17, 21].map((severity) => ({ message: `${severity}`, severity })));
  await using dashboard = await gateway.open();
  await dashboard.showsLast("system_log", "21");
  const looks = await dashboard.page.$$eval(`${SYSTEM} .row .level`, (badges) =>
    badges.map((badge) => {
      const { color, backgroundColor } = getComputedStyle(badge);
      return `${badge.textContent} ${color} ${backgroundColor}`;
    }),
  );
  expect(looks.map((look) => look.split(" ")[0])).toEqual(["INFO", "WARNING", "ERROR", "CRITICAL"]);
  expect(new Set(looks.map((look) => look.slice(look.indexOf(" ")))).size).toBe(4);
});

test("the theme follows the system, or the stored choice", async () => {
  await using gateway = await DashboardGateway.start();
  await using dark = await gateway.open({ scheme: "dark" });
  const back = (dashboard: Dashboard): Promise<string> =>
    dashboard.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const darkBack = await back(dark);
  await using light = await gateway.open({ scheme: "light" });
  expect(await back(light)).not.toBe(darkBack);
  await light.page.select("[aria-label=Theme]", "dark");
  expect(await back(light)).toBe(darkBack);
  await light.view.reload();
  expect(await back(light)).toBe(darkBack);
});
