import { expect, test, vi } from "vitest";
import { startDemoGateway } from "../demo/gateway.ts";
import { temporaryDirectory } from "../harness/workspace.ts";
import { answer, Peer } from "../plugins/otlp/peer.ts";
import { View } from "./browser.ts";
import { AUDIT, Dashboard, DashboardGateway } from "../harness/dashboard.ts";
import { StillClock } from "./still-clock.ts";

const WAIT = { timeout: 15_000 };

const STATS = "/api/stats";

function says(dashboard: Dashboard, selector: string, pattern: RegExp): Promise<void> {
  return vi.waitFor(async () => expect(await dashboard.text(selector)).toMatch(pattern), WAIT);
}

const COUNTS = /(\S+) received = (\S+) shown \+ (\S+) filtered \+ (\S+) buffered/;

async function counts(dashboard: Dashboard, type: string): Promise<number[]> {
  const text = await dashboard.text(`.counts[data-panel=${type}]`);
  return COUNTS.exec(text)!
    .slice(1)
    .map((number) => Number(number.replaceAll(",", "")));
}

test("shows the outcome of the records, their rate and their delay", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("before", 1, 10);
  await using dashboard = await gateway.open();
  await says(dashboard, ".connection", /^Connected since \d\d:\d\d:\d\d$/);
  await dashboard.showsLast("system_log", "before 10");
  expect(await dashboard.text(".lag")).toBe("No live records yet");
  // History does not count towards the rate.
  expect(await dashboard.text(".rate")).toBe("0 records/s");
  await dashboard.click("button ::-p-text(Pause)");
  await gateway.postNumbered("live", 1, 1000);
  await gateway.post([{ message: "spawned", logger: AUDIT }]);
  const told = /1,011 received = 10 shown \+ 1 filtered \+ 1,000 buffered/;
  await says(dashboard, ".counts[data-panel=system_log]", told);
  await says(
    dashboard,
    ".counts[data-panel=audit_log]",
    /1,001 received = 0 shown \+ 1,000 filtered \+ 1 buffered/,
  );
  await says(dashboard, ".rate", /^[1-9][\d,.]* records\/s$/);
  await says(dashboard, ".lag", /^Lag [\d,]+ m?s$/);
  for (const type of ["system_log", "audit_log"]) {
    const [received, shown, filtered, buffered] = await counts(dashboard, type);
    expect(received).toBe(shown! + filtered! + buffered!);
  }
  expect(await dashboard.text(".missing")).toBe("0 missing");
  expect(await dashboard.text(".exporters")).toBe("Exporters up to date");
});

test("shows how far the audit chain is signed", async () => {
  const cleanUps: (() => Promise<void>)[] = [];
  const logDir = await temporaryDirectory(cleanUps);
  try {
    const before = await startDemoGateway({ port: 0, logDir });
    await before.logging.audit({ eventType: "instance_spawn" });
    {
      await using view = await View.open(before.logging.url);
      await says(new Dashboard(view), ".audit-chain", /^Audit chain: 1 event, not signed yet$/);
    }
    // Stopping signs a checkpoint, and is an event itself.
    await before.close();
    const { logging, close } = await startDemoGateway({ port: 0, logDir });
    cleanUps.unshift(close);
    await logging.audit({ eventType: "instance_terminate" });
    await using view = await View.open(logging.url);
    const signed = /^Audit chain: 3 events, signed up to sequence \d+, \d+ s ago$/;
    await says(new Dashboard(view), ".audit-chain", signed);
  } finally {
    for (const cleanUp of cleanUps) await cleanUp();
  }
});

/** The collector accepts the request, and rejects two of its records. */
const REJECTED = '{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}';

test("shows an exporter's lag and its reason until it has caught up", async () => {
  const { port } = await (async () => {
    await using closed = await Peer.open();
    return closed;
  })();
  const otlp = `otlp: { endpoint: "http://127.0.0.1:${port}" }`;
  await using gateway = await DashboardGateway.start(
    `exporters: { websocket: {}, file: {}, ${otlp} }`,
  );
  await gateway.postNumbered("record", 1, 1234);
  await using dashboard = await gateway.open();
  await says(dashboard, ".exporters", /^otlp: 1,234 records behind \(\d+ s\)$/);
  await dashboard.click(".exporters");
  const state = `[data-exporter=otlp] dd`;
  await says(dashboard, state, /^1,234 records behind \(\d+ s\), none lost/);
  expect(await dashboard.text(state)).toMatch(/\d+ consecutive failed writes.*ECONNREFUSED/);
  expect(await dashboard.text("[data-exporter=file] dd")).toBe("Up to date");
  const title = await dashboard.page.$eval(".exporters", (button) => button.getAttribute("title"));
  expect(title).toContain("otlp: 1,234 records behind");
  const [above, below] = await dashboard.page.$$eval(".exporter-states, .exporters", (found) =>
    found.map((element) => element.getBoundingClientRect().toJSON()).toSorted((a, b) => a.y - b.y),
  );
  expect(above.bottom).toBeLessThanOrEqual(below.top + 1);
  expect(above.left).toBeCloseTo(below.left, 0);
  await dashboard.page.keyboard.press("Escape");
  const isOpen = (): Promise<boolean> =>
    dashboard.page.$eval(".exporter-states", (states) => states.checkVisibility());
  expect(await isOpen()).toBe(false);

  await using peer = await Peer.open({ port });
  peer.next.push(answer(200, { "Content-Type": "application/json" }, REJECTED));
  await says(dashboard, ".exporters", /^otlp: 2 records dropped$/);
  await says(
    dashboard,
    state,
    /^Up to date2 records dropped: the destination accepted the request without them$/,
  );
});

test("is updated at most every five seconds, and not while the page is hidden", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await gateway.open();
  const { page } = dashboard;
  const clock = await StillClock.start(dashboard.view);
  await says(dashboard, ".audit-chain", /Audit chain/);
  // A WebSocket that is still connecting would be abandoned by the time that passes here.
  await says(dashboard, ".connection", /^Connected/);
  await clock.advance(4999);
  expect(await clock.asked(STATS)).toBe(1);
  await clock.advance(1);
  expect(await clock.asked(STATS)).toBe(2);
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await clock.advance(60_000);
  expect(await clock.asked(STATS)).toBe(2);
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: false });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await vi.waitFor(async () => expect(await clock.asked(STATS)).toBe(3), WAIT);
});

test("explains why there is no connection, and when the next attempt is", async () => {
  const gateway = await DashboardGateway.start();
  await using dashboard = await gateway.open();
  dashboard.ignoreComplaint(/./);
  await says(dashboard, ".connection", /^Connected/);
  await gateway[Symbol.asyncDispose]();
  await says(dashboard, ".connection", /^Disconnected · \w.* \w.* · Reconnecting in \d+ s$/);
  // A panel shows the same, and counts down.
  const panelState = "[data-type=audit_log] .panel-state";
  await says(dashboard, panelState, /^Disconnected · \w.*[^.] · Reconnecting in \d+ s$/);
  const said = await dashboard.page.evaluateHandle(() => {
    const panel = document.querySelector("[data-type=audit_log] .panel-state")!;
    const texts: string[] = [];
    const note = (): void => void texts.push(panel.textContent);
    new MutationObserver(note).observe(panel, {
      subtree: true,
      childList: true,
      characterData: true,
    });
    return texts;
  });
  await vi.waitFor(async () => {
    const seconds = (await said.jsonValue()).map((text) =>
      Number(/Reconnecting in (\d+) s$/.exec(text)?.[1]),
    );
    const isCountedDown = seconds.some((second, index) => second === seconds[index - 1]! - 1);
    if (!isCountedDown) throw new Error(`It has said: ${seconds.join(", ")}`);
  }, WAIT);
});

test("one button connects both panels at once", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await gateway.open();
  dashboard.ignoreComplaint(/./);
  const { page } = dashboard;
  // Below it, no attempt starts by itself that is a second or more away.
  await StillClock.start(dashboard.view);
  await says(dashboard, ".connection", /^Connected/);
  expect(await page.$(".reconnect")).toBeNull();
  await gateway.stop();
  const waiting = ".panel-state[data-state=waiting]";
  await vi.waitFor(async () => expect(await page.$$(waiting)).toHaveLength(2), WAIT);
  await gateway.startAgain();
  await vi.waitFor(async () => {
    const button = await page.$(".reconnect");
    await button?.click();
    expect(await page.$$(".panel-state[data-state=live]")).toHaveLength(2);
  }, WAIT);
  expect(await page.$(".reconnect")).toBeNull();
});

test("reports clock skew to the gateway, and uses the gateway's clock for the last minutes", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([{ message: "two minutes ago", timeMs: Date.now() - 120_000 }]);
  await using dashboard = await gateway.open();
  const { page } = dashboard;
  await says(dashboard, ".connection", /^Connected/);
  await says(dashboard, ".audit-chain", /./);
  expect(await page.$(".clock-skew")).toBeNull();
  await page.evaluateOnNewDocument(() => {
    const now = Date.now;
    Date.now = () => now() + 600_000;
  });
  await dashboard.view.goto(`${gateway.url}/?last=5`);
  await says(
    dashboard,
    ".clock-skew",
    /^This device's clock is (9|10) min ahead of the gateway's$/,
  );
  await dashboard.showsLast("system_log", "two minutes ago");
  await gateway.post([{ message: "now" }]);
  await dashboard.showsLast("system_log", "now");
  expect(await dashboard.messages("system_log")).toEqual(["two minutes ago", "now"]);
  await says(dashboard, ".lag", /^Lag [\d,]+ m?s$/);
  const infos = ".level-toggles button:has([data-level=INFO]) .count";
  await says(dashboard, infos, /^2$/);
});

test("on a narrow page the details open on demand", async () => {
  await using gateway = await DashboardGateway.start();
  await using dashboard = await gateway.open({ width: 480 });
  await says(dashboard, ".connection", /^Connected/);
  const isShown = (): Promise<boolean> =>
    dashboard.page.$eval(".record-counts", (account) => account.checkVisibility());
  expect(await isShown()).toBe(false);
  await dashboard.click("button ::-p-text(More)");
  expect(await isShown()).toBe(true);
});
