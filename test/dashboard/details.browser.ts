import { expect, test, vi } from "vitest";
import { AUDIT, DashboardGateway } from "../harness/dashboard.ts";

const STACK = 'Traceback (most recent call last):\n  File "server.py", line 12\nTimeoutError: late';

test("a click opens the details of a record: fields, exception, JSON", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([
    {
      message: "first line\nsecond line",
      severity: 17,
      attributes: { "exception.stacktrace": STACK, attempt: 3 },
    },
  ]);
  await using dashboard = await gateway.open();
  await dashboard.showsLast("system_log", "first line\\nsecond line");
  await dashboard.click("[data-type=system_log] .row");
  expect(await dashboard.text(".details-message")).toBe("first line\nsecond line");
  expect(await dashboard.text(".stack")).toBe(STACK);
  const fields = await dashboard.page.$$eval(".details tbody tr", (rows) =>
    Object.fromEntries([...rows].map((row) => [...row.children].map((cell) => cell.textContent))),
  );
  expect(fields).toMatchObject({ sequence: "1", level: "ERROR", attempt: "3" });
  expect(JSON.parse(await dashboard.text(".details pre:last-child"))).toMatchObject({
    type: "system_log",
    data: { attempt: 3, "exception.stacktrace": STACK },
  });
  await dashboard.page.focus(".details-body");
  await dashboard.page.keyboard.press("Escape");
  expect(await dashboard.page.$(".details")).toBeNull();
});

test("arrow keys move through the rows, and Enter opens the focused one", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 5);
  await using dashboard = await gateway.open();
  await dashboard.showsLast("system_log", "message 5");
  await dashboard.page.focus("[data-type=system_log] .log-list");
  for (const key of ["ArrowUp", "ArrowUp", "Enter"] as const) {
    await dashboard.page.keyboard.press(key);
  }
  expect(await dashboard.text(".details-message")).toBe("message 4");
});

test("nested fields of an audit event have the names that the filter uses", async () => {
  await using gateway = await DashboardGateway.start();
  const attributes = { event_type: "instance_spawn", instance_id: "abc-123" };
  await gateway.post([{ message: "spawned", logger: AUDIT, attributes }]);
  await using dashboard = await gateway.open();
  await dashboard.showsLast("audit_log", "spawned");
  await dashboard.click("[data-type=audit_log] .row");
  const names = await dashboard.page.$$eval(".details tbody th", (cells) =>
    cells.map((cell) => cell.textContent),
  );
  expect(names).toContain("metadata.instance_id");
  expect(await dashboard.text("[data-type=audit_log] .row .column-instance")).toBe("abc-123");
  expect(await dashboard.text("[data-type=audit_log] .row .column-fields")).toBe("");
});

test("on a narrow page, closing the details returns the focus to their row", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 5);
  await using dashboard = await gateway.open({ width: 480 });
  const { page } = dashboard;
  await dashboard.showsLast("system_log", "message 5");
  const focused = (): Promise<string> =>
    page.evaluate(() => {
      const { activeElement } = document;
      const row = activeElement!.getAttribute("aria-activedescendant");
      return row ? document.getElementById(row)!.textContent : activeElement!.className;
    });
  await dashboard.click("[data-sequence='3']");
  await dashboard.click(".details-head ::-p-text(Close)");
  expect(await focused()).toContain("message 3");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".details");
  await page.keyboard.press("Tab");
  expect(await focused()).not.toContain("message");
  await page.keyboard.press("Escape");
  await vi.waitFor(async () => expect(await focused()).toContain("message 4"));
});

test("a record is copied as JSON and as a link, which opens it in context", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 2000);
  await using dashboard = await gateway.open();
  const { page } = dashboard;
  const permissions = ["clipboard-read", "clipboard-write", "clipboard-sanitized-write"] as const;
  await page.browserContext().overridePermissions(gateway.url, [...permissions]);
  await dashboard.showsLast("system_log", "message 2000");
  await dashboard.click("[data-sequence='2000']");
  const copied = async (button: string): Promise<string> => {
    await page.click(button);
    await vi.waitFor(async () => expect(await dashboard.text(button)).toBe("Copied"));
    return page.evaluate(() => navigator.clipboard.readText());
  };
  expect(JSON.parse(await copied(".details-head button:nth-of-type(1)")).data.message).toBe(
    "message 2000",
  );
  const link = new URL(await copied(".details-head button:nth-of-type(2)"));
  expect(link.searchParams.get("record")).toBe("2000");
  const { epoch } = await (await fetch(`${gateway.url}/api/logs?limit=1`)).json();
  expect([link.searchParams.get("epoch"), link.hash]).toEqual([epoch, ""]);
  expect(new URL(page.url()).hash).toBe(`#epoch=${epoch}`);
  link.searchParams.set("record", "700");
  await dashboard.view.goto(link.href);
  await page.waitForSelector("[data-sequence='700'][aria-selected=true]");
  const messages = await dashboard.messages("system_log");
  expect(messages).toContain("message 690");
  expect(messages).toContain("message 710");
  expect(await dashboard.text(".details-message")).toBe("message 700");
  expect(await dashboard.text(".link-notice")).toBe("");

  // A missing record is reported as gone, and no other record is shown instead.
  dashboard.ignoreComplaint(/410/);
  const opened = async (change: (parameters: URLSearchParams) => void): Promise<string> => {
    const changed = new URL(link);
    change(changed.searchParams);
    await dashboard.view.goto(changed.href);
    await page.waitForSelector(".link-notice:not([hidden])");
    expect(await page.$(".details")).toBeNull();
    return dashboard.text(".link-notice span");
  };
  expect(await opened((parameters) => parameters.set("record", "99999"))).toBe(
    "There is no record 99999 in this journal.",
  );
  expect(await opened((parameters) => parameters.set("epoch", "another"))).toMatch(
    /^Record 700 belongs to another journal: /,
  );
  await dashboard.click(".link-notice button");
  await page.waitForSelector(".link-notice[hidden]");
  expect(new URL(page.url()).search).toBe("?panel=system");
  const ofTime = await opened((parameters) => {
    parameters.delete("record");
    parameters.set("epoch", "another");
    parameters.set("since", "2025-10-13T09:00:00.000Z");
  });
  expect(ofTime).toBe("This link is from another journal. The records shown are from this one.");
  await dashboard.showsLast("system_log", "message 2000");
  // The page's own URL shows it, too.
  await dashboard.view.goto(`${gateway.url}/?record=700#epoch=another`);
  await page.waitForSelector(".link-notice:not([hidden])");
  await dashboard.view.goto(`${gateway.url}/?record=700`);
  await page.waitForSelector("[data-sequence='700'][aria-selected=true]");
});

test("record content stays text: markup, control characters, bidi, a megabyte", async () => {
  await using gateway = await DashboardGateway.start();
  const hostile = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script> \u001b[31m\u202e`;
  await gateway.post([{ message: hostile }, { message: "x".repeat(1 << 20) }]);
  await using dashboard = await gateway.open();
  await dashboard.page.waitForSelector("[data-sequence='2']");
  const [shown] = await dashboard.messages("system_log");
  expect(shown).toContain("<script>");
  expect(shown).toContain("\\x1b[31m\\u202e");
  await dashboard.click("[data-sequence='2']");
  expect(await dashboard.text(".details-message")).toHaveLength(1 << 20);
  expect(await dashboard.page.title()).toBe("Tailgate");
  expect(await dashboard.page.$(".row img, .row script, .details img")).toBeNull();
});
