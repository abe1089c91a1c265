import { expect, test, vi } from "vitest";
import { AUDIT, DashboardGateway, type Dashboard } from "../harness/dashboard.ts";

const MARKUP = `<script>document.title="owned"</script><img src=x onerror="document.title='owned'">`;
const LINK = "javascript:document.title='owned'";
const ANSI = "\u001b[31mred\u001b[0m\u0007";
/** With its bidi override applied, the name would end in `txt.exe`. */
const BIDI = "invoice\u202Eexe.txt\u202C \u2066isolated\u2069 \u200Fmark";
const MEGABYTE = "x".repeat(1 << 20);

const HOSTILE = [MARKUP, LINK, ANSI, BIDI].join(" ");

/** Control characters other than line ends, and bidi overrides. */
const INVISIBLE = /(?!\n)\p{Cc}|\p{Bidi_Control}/u;

declare global {
  var violations: string[];
}

/** Reloads the page, and records all policy violations. */
async function openWatched(gateway: DashboardGateway): Promise<Dashboard> {
  const dashboard = await gateway.open();
  await dashboard.page.evaluateOnNewDocument(() => {
    globalThis.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
      globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  await dashboard.view.reload();
  return dashboard;
}

function violations(dashboard: Dashboard): Promise<string[]> {
  return dashboard.page.evaluate(() => globalThis.violations);
}

test("hostile records are shown as text in both panels and in the details, without policy violations", async () => {
  await using gateway = await DashboardGateway.start();
  const attributes = {
    [HOSTILE]: HOSTILE,
    trace_id: LINK,
    instance_id: HOSTILE,
    "exception.stacktrace": HOSTILE,
  };
  await gateway.post([
    { message: HOSTILE, logger: HOSTILE, attributes },
    { message: HOSTILE, logger: AUDIT, attributes: { ...attributes, event_type: HOSTILE } },
    { message: `${HOSTILE} ${MEGABYTE}`, attributes: { body: MEGABYTE } },
  ]);
  await using dashboard = await openWatched(gateway);
  const { page } = dashboard;
  for (const sequence of [1, 2, 3]) {
    const row = await page.waitForSelector(`[data-sequence='${sequence}']`);
    const text = await row!.evaluate((element) => element.textContent);
    expect(text).toContain("<script>");
    expect(text).toContain("\\x1b[31mred");
    expect(text).toContain("invoice\\u202eexe.txt");
    await dashboard.click(`[data-sequence='${sequence}'] .column-time`);
    await page.waitForSelector(`.details h2 ::-p-text(Record ${sequence})`);
    expect(await dashboard.text(".details-message")).toContain(LINK);
    expect(await dashboard.text(".details")).not.toMatch(INVISIBLE);
    expect(await page.$$eval(".details a", (links) => links.length)).toBe(0);
  }
  expect(await dashboard.text("[data-sequence='1'], [data-sequence='2']")).not.toMatch(INVISIBLE);
  expect(await dashboard.text(".details-message")).toContain(MEGABYTE);
  await dashboard.click("[data-sequence='2'] .column-time");
  await dashboard.click(".related button");
  const bar = await page.waitForSelector(".correlation-bar");
  expect(await bar!.evaluate((element) => element.textContent)).toContain("\\u202e");
  await page.waitForSelector("[data-type=system_log] [data-sequence='3']", { hidden: true });
  await page.waitForSelector("[data-type=system_log] [data-sequence='1']");
  const foreign = "script:not([src]), img, iframe, object, embed, a[href^='javascript']";
  expect(await page.$$eval(foreign, (found) => found.length)).toBe(0);
  expect(await page.title()).toBe("Tailgate");
  expect(await violations(dashboard)).toEqual([]);
});

test("the policy blocks scripts that would run, and the violation is reported", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await openWatched(gateway);
  dashboard.ignoreComplaint(/Content Security Policy|Failed to load|Refused/i);
  await dashboard.page.waitForSelector(".log-list");
  await dashboard.page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'owned'";
    document.body.append(script);
    const image = new Image();
    image.src = "https://elsewhere.example/pixel.png";
    document.body.append(image);
  });
  await vi.waitFor(async () => {
    expect(await violations(dashboard)).toEqual([
      "script-src-elem inline",
      "img-src https://elsewhere.example/pixel.png",
    ]);
  });
  expect(await dashboard.page.title()).toBe("Tailgate");
});
