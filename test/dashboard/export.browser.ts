import { readFile, readdir } from "node:fs/promises";
import * as fc from "fast-check";
import { expect, test, vi } from "vitest";
import { csvRow } from "../../src/dashboard/search/export.ts";
import { temporaryDirectory } from "../harness/workspace.ts";
import { AUDIT, DashboardGateway, type Dashboard } from "../harness/dashboard.ts";

const WAIT = { timeout: 15_000, interval: 30 };

/** Parses CSV strictly by RFC 4180. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let at = 0;
  while (at < text.length) {
    let cell = "";
    if (text[at] === '"') {
      for (at++; text[at] !== '"' || text[at + 1] === '"'; at++) {
        if (at >= text.length) throw new Error("A quote is not closed.");
        cell += text[at];
        if (text[at] === '"') at++;
      }
      at++;
    } else {
      for (; at < text.length && text[at] !== "," && text[at] !== "\r"; at++) {
        if (text[at] === '"' || text[at] === "\n") throw new Error(`Not quoted: ${text[at]}`);
        cell += text[at];
      }
    }
    row.push(cell);
    if (text[at] === ",") at++;
    else if (text.startsWith("\r\n", at)) {
      rows.push(row);
      row = [];
      at += 2;
    } else throw new Error(`At ${at} neither a comma nor an end of line.`);
  }
  return rows;
}

const cell = fc.string({
  unit: fc.oneof(
    fc.constantFrom(...Array.from("=+-@\t\r\n\",'; a|")),
    fc.string({ minLength: 1, maxLength: 1 }),
  ),
});

test("a CSV parser reads back the written values, and no cell is a formula", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(cell, { minLength: 1, maxLength: 5 }), { maxLength: 4 }),
      (rows) => {
        const parsed = parseCsv(rows.map(csvRow).join(""));
        expect(parsed.map((row) => row.length)).toEqual(rows.map((row) => row.length));
        for (const [index, found] of parsed.flat().entries()) {
          const given = rows.flat()[index]!;
          const isFormula = ["=", "+", "-", "@", "\t", "\r"].includes(given[0]!);
          expect(found).toBe(isFormula ? `'${given}` : given);
        }
      },
    ),
    { numRuns: 1000 },
  );
});

/** The browser's download directory. */
async function saveInto(dashboard: Dashboard, directory: string): Promise<void> {
  const session = await dashboard.page.createCDPSession();
  await session.send("Browser.setDownloadBehavior", {
    behavior: "allow",
    downloadPath: directory,
    browserContextId: dashboard.page.browserContext().id!,
  });
}

async function saved(directory: string, extension: string): Promise<string> {
  return vi.waitFor(async () => {
    const name = (await readdir(directory)).find((one) => one.endsWith(`.${extension}`));
    if (name === undefined) throw new Error("Nothing was saved yet.");
    return readFile(`${directory}/${name}`, "utf8");
  }, WAIT);
}

async function exportAs(dashboard: Dashboard, label: string): Promise<void> {
  await dashboard.click(`dialog label::-p-text(${label})`);
  await dashboard.click("dialog ::-p-text(Download)");
}

test("saves all matches in the journal, more than are loaded, in each format", async () => {
  const cleanUps: (() => Promise<unknown> | void)[] = [];
  const directory = await temporaryDirectory(cleanUps);
  try {
    await using gateway = await DashboardGateway.start();
    await gateway.postNumbered("=kept", 1, 2500);
    await gateway.postNumbered("noise", 1, 100);
    await gateway.post([
      { message: '=HYPERLINK("x"), kept', logger: AUDIT, attributes: { event_type: "spawn" } },
    ]);
    await using dashboard = await gateway.open({}, "/?q=kept");
    await saveInto(dashboard, directory);
    await dashboard.showsLast("system_log", "=kept 2500");
    await dashboard.click("::-p-text(Export)");
    const { page } = dashboard;
    await page.waitForSelector("dialog[open]");
    const messages = Array.from({ length: 2500 }, (_, index) => `=kept ${index + 1}`);
    const expected = [...messages, '=HYPERLINK("x"), kept'];

    await exportAs(dashboard, "NDJSON");
    const lines = (await saved(directory, "ndjson")).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).data.message)).toEqual(expected);
    await exportAs(dashboard, "JSON");
    const all = JSON.parse(await saved(directory, "json"));
    expect(all).toEqual(lines.map((line) => JSON.parse(line)));
    await exportAs(dashboard, "CSV");
    const [head, ...rows] = parseCsv(await saved(directory, "csv"));
    expect(head).toContain("message");
    expect(rows.map((row) => row[head!.indexOf("message")])).toEqual(
      expected.map((message) => `'${message}`),
    );
    expect(rows.at(-1)![head!.indexOf("action")]).toBe("spawn");
    expect(await dashboard.text(".export-state")).toBe("2,501 records. Saved.");
  } finally {
    for (const cleanUp of cleanUps) await cleanUp();
  }
});

test("an export shows its progress and can be canceled", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("message", 1, 1500);
  await using dashboard = await gateway.open();
  const { page } = dashboard;
  await dashboard.showsLast("system_log", "message 1500");
  // The second page is held until it is released.
  const { promise: isLet, resolve: letThrough } = Promise.withResolvers<void>();
  await page.setRequestInterception(true);
  page.on("request", (request) => {
    const isHeld = /order=asc.*cursor=|cursor=.*order=asc/.test(request.url());
    void (isHeld ? isLet : Promise.resolve()).then(() => request.continue());
  });
  await dashboard.click("::-p-text(Export)");
  await dashboard.click("dialog ::-p-text(Download)");
  await vi.waitFor(
    async () => expect(await dashboard.text(".export-state")).toBe("1,000 records. "),
    WAIT,
  );
  await dashboard.click("dialog ::-p-text(Cancel)");
  letThrough();
  await vi.waitFor(
    async () =>
      expect(await dashboard.text(".export-state")).toMatch(/Canceled. Nothing was saved/),
    WAIT,
  );
});
