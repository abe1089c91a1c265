import { describe, expect, test } from "vitest";
import type { ViewOptions } from "./browser.ts";
import { AUDIT, DashboardGateway, type Dashboard } from "../harness/dashboard.ts";

/** The viewport of a 1440 x 900 window at 200 % zoom. */
const ZOOMED = { width: 720, height: 450, scale: 2 } satisfies ViewOptions;

const VIEWS: [string, ViewOptions][] = [
  ["1440 px", {}],
  ["200 % zoom", ZOOMED],
  ["480 px", { width: 480, height: 800 }],
];

const CONTROLS = "button, input, select, summary, a[href], [tabindex='0']";

/** Fills the page so that every element shows: rows beyond the view, new ones below, details. */
async function opened(gateway: DashboardGateway, options: ViewOptions): Promise<Dashboard> {
  const long = "a long message ".repeat(40);
  await gateway.post(Array.from({ length: 60 }, (_, at) => ({ message: `${long} ${at}` })));
  await gateway.post([{ message: "spawned", logger: AUDIT }, { message: "the last" }]);
  const dashboard = await gateway.open(options);
  await dashboard.showsLast("system_log", "the last");
  return dashboard;
}

/** Stops following, and opens the record in the middle of the view. */
async function withDetails(dashboard: Dashboard): Promise<void> {
  await dashboard.wheel("system_log", -200);
  await dashboard.page.waitForSelector(".jump-to-latest");
  const [sequence] = await dashboard.page.$$eval("[data-type=system_log] .row", (rows) => {
    const list = document.querySelector("[data-type=system_log] .log-list")!;
    const { top, height } = list.getBoundingClientRect();
    const isInMiddle = (row: Element): boolean =>
      Math.abs(row.getBoundingClientRect().top - top - height / 2) < 30;
    return rows.filter(isInMiddle).map((row) => (row as HTMLElement).dataset["sequence"]);
  });
  await dashboard.click(`[data-type=system_log] [data-sequence='${sequence}']`);
  await dashboard.page.waitForSelector(".details");
}

/** Returns layout errors as text. */
function faultsOf(dashboard: Dashboard): Promise<string[]> {
  return dashboard.page.evaluate((controls) => {
    const faults: string[] = [];
    const nameOf = (element: Element): string =>
      `<${element.localName} class="${element.className}"> ${element.getAttribute("aria-label") ?? element.textContent?.slice(0, 30)}`;

    // Only designated elements scroll.
    const { scrollWidth, scrollHeight, clientWidth, clientHeight } = document.documentElement;
    if (scrollWidth > clientWidth) faults.push(`the page is ${scrollWidth - clientWidth} px wide`);
    if (scrollHeight > clientHeight) faults.push(`the page is ${scrollHeight} px high`);
    for (const element of document.querySelectorAll("body *")) {
      if (element.scrollWidth <= element.clientWidth + 1 || element.closest(".log-list")) continue;
      const { overflowX } = getComputedStyle(element);
      if (overflowX === "auto" || overflowX === "scroll") {
        faults.push(`${nameOf(element)} scrolls sideways`);
      }
    }

    const details = document.querySelector(".details");
    const isModal = details !== null && getComputedStyle(details).position === "fixed";
    const inScope = [...(isModal ? details : document).querySelectorAll(controls)].filter(
      (element) =>
        element.checkVisibility({ visibilityProperty: true }) && !element.closest(".log-content"),
    );
    const boxes = inScope.map((element) => ({ element, box: element.getBoundingClientRect() }));
    for (const { element, box } of boxes) {
      if (box.left < 0 || box.top < 0 || box.right > innerWidth || box.bottom > innerHeight) {
        faults.push(`${nameOf(element)} is outside`);
        continue;
      }
      const isFlat = box.width < 6 || box.height < 6;
      if (isFlat) faults.push(`${nameOf(element)} has ${box.width} x ${box.height} px`);
      const isBox = element.matches("button, summary");
      if (isBox && element.scrollWidth > element.clientWidth + 1) {
        faults.push(`the text of ${nameOf(element)} is cut off`);
      }
      // The corners show the element itself, or what is below its border radius.
      const points = [
        [box.left + 4, box.top + box.height / 2],
        [box.right - 4, box.top + box.height / 2],
        [box.left + box.width / 2, box.top + 3],
        [box.left + box.width / 2, box.bottom - 3],
      ];
      for (const [x, y] of points) {
        const top = document.elementFromPoint(x!, y!);
        const isFloating = top?.closest(".jump-to-latest") && !element.matches("button, summary");
        if (top && (element.contains(top) || isFloating)) continue;
        faults.push(`${nameOf(element)} is covered by ${top ? nameOf(top) : "nothing"}`);
        break;
      }
    }
    return faults;
  }, CONTROLS);
}

describe.each(VIEWS)("at %s", (_name, options) => {
  test("nothing is clipped, covered, or scrolls sideways except the lists", async () => {
    await using gateway = await DashboardGateway.start();
    await using dashboard = await opened(gateway, options);
    expect(await faultsOf(dashboard)).toEqual([]);
    await dashboard.click("[data-type=system_log] .menu summary");
    await dashboard.page.waitForSelector(".menu[open]");
    const box = (await (await dashboard.page.$(".menu[open] .menu-items"))!.boundingBox())!;
    expect(box.x).toBeGreaterThanOrEqual(0);
    expect(box.x + box.width).toBeLessThanOrEqual(options.width ?? 1440);
    expect(box.y + box.height).toBeLessThanOrEqual(options.height ?? 800);
    await dashboard.click("[data-type=system_log] .menu summary");
    await withDetails(dashboard);
    expect(await faultsOf(dashboard)).toEqual([]);
  });

  test("Tab reaches every control, and each shows that it has the focus", async () => {
    await using gateway = await DashboardGateway.start();
    await using dashboard = await opened(gateway, options);
    await expectReachable(dashboard);
    await withDetails(dashboard);
    await expectReachable(dashboard);
  });
});

async function expectReachable(dashboard: Dashboard): Promise<void> {
  const { reachable, reached, unseen } = await walk(dashboard);
  expect(reachable.length).toBeGreaterThan(3);
  expect(unseen).toEqual([]);
  expect(reached.toSorted()).toEqual(reachable.toSorted());
}

/** Presses Tab until every element has had the focus, or up to a limit. */
async function walk(dashboard: Dashboard) {
  const { page } = dashboard;
  const reachable = await page.evaluate((controls) => {
    const isWanted = (element: Element): boolean =>
      element.checkVisibility({ visibilityProperty: true }) &&
      !(element as HTMLButtonElement).disabled &&
      element.getAttribute("tabindex") !== "-1";
    const found = [...document.querySelectorAll(controls)].filter(isWanted);
    for (const [at, element] of found.entries()) {
      element.setAttribute("data-walk", `${at} ${element.localName}.${element.className}`);
    }
    (document.activeElement as HTMLElement).blur();
    getSelection()?.removeAllRanges();
    return found.map((element) => element.getAttribute("data-walk")!);
  }, CONTROLS);
  const reached = new Set<string>();
  const unseen = new Set<string>();
  for (let press = 0; press <= 2 * reachable.length && reached.size < reachable.length; press++) {
    await page.keyboard.press("Tab");
    const { name, isSeen } = await page.evaluate(() => {
      const element = document.activeElement!;

      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      const hasOutline = outlineStyle !== "none" && parseFloat(outlineWidth) >= 1;
      const { left, top, width, height } = element.getBoundingClientRect();
      const above = document.elementFromPoint(left + width / 2, top + height / 2);
      return {
        name: element.getAttribute("data-walk"),
        isSeen: hasOutline && element.contains(above),
      };
    });
    if (name === null) continue;
    reached.add(name);
    if (!isSeen) unseen.add(name);
  }
  return { reachable, reached: [...reached], unseen: [...unseen] };
}
