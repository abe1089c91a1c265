import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LoggingManager } from "tailgate";
import { expect, test, vi } from "vitest";
import { logEvent } from "../demo/log-event.ts";
import type { DemoEvent } from "../demo/demo-event.ts";
import { temporaryDirectory } from "../harness/workspace.ts";
import {
  AUDIT,
  Dashboard,
  DashboardGateway,
  type GivenRecord,
  type PanelType,
} from "../harness/dashboard.ts";
import { View } from "./browser.ts";

const WAIT = { timeout: 15_000 };

const instanceAt = (step: number): string => `worker-${step % 3}`;

/** For each step, one audit event and three system logs, of three instances in turn. */
function steps(count: number): GivenRecord[] {
  return Array.from({ length: count }, (_, step) => {
    const attributes = { instance_id: instanceAt(step) };
    return [
      {
        message: `event ${step}`,
        logger: AUDIT,
        attributes: { ...attributes, event_type: "step" },
      },
      ...[1, 2, 3].map((line) => ({ message: `step ${step} line ${line}`, attributes })),
    ];
  }).flat();
}

/** Returns the step of the message in the middle of a panel. */
async function middleStep(dashboard: Dashboard, type: PanelType): Promise<number> {
  const messages = await dashboard.settledMessages(type);
  return Number(/\d+/.exec(messages[Math.floor(messages.length / 2)] ?? "")?.[0]);
}

async function scrollTo(dashboard: Dashboard, type: PanelType, message: string): Promise<void> {
  while (!(await dashboard.messages(type)).includes(message)) {
    await dashboard.wheel(type, -400);
    await dashboard.settledMessages(type);
  }
}

async function open(dashboard: Dashboard, type: PanelType, message: string): Promise<void> {
  await scrollTo(dashboard, type, message);
  await dashboard.click(`[data-type=${type}] .row ::-p-text(${message})`);
  await dashboard.page.waitForSelector(`.details-message ::-p-text(${message})`);
}

test("an audit event's button shows the system logs of its instance around its time", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post(steps(900));
  await using dashboard = await gateway.open();
  await dashboard.showsLast("system_log", "step 899 line 3");
  await open(dashboard, "audit_log", "event 850");
  await dashboard.click("button ::-p-text(System logs of instance worker-1)");
  await vi.waitFor(async () => {
    const messages = await dashboard.messages("system_log");
    expect(messages).toContain("step 850 line 1");
    expect(messages).toContain("step 853 line 1");
    const all = messages.map((message) => Number(/\d+/.exec(message)?.[0]));
    expect(all.every((step) => instanceAt(step) === "worker-1")).toBe(true);
  }, WAIT);
  await dashboard.click("button ::-p-text(Back to results)");
  await dashboard.showsLast("system_log", "step 899 line 3");
  expect(await dashboard.messages("system_log")).toContain("step 898 line 3");
});

test("the panels stay in sync while one is scrolled or a record is selected", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post(steps(900));
  await using dashboard = await gateway.open();
  await dashboard.showsLast("system_log", "step 899 line 3");
  await open(dashboard, "audit_log", "event 850");
  await dashboard.click("button ::-p-text(System logs of instance worker-1)");
  await dashboard.click(".details button ::-p-text(Close)");
  const areInStep = (): Promise<void> =>
    vi.waitFor(async () => {
      const audit = await middleStep(dashboard, "audit_log");
      const system = await middleStep(dashboard, "system_log");
      expect(Math.abs(audit - system), `${audit} and ${system}`).toBeLessThanOrEqual(4);
    }, WAIT);
  await scrollTo(dashboard, "audit_log", "event 400");
  await areInStep();
  await scrollTo(dashboard, "system_log", "step 100 line 1");
  await areInStep();
  await dashboard.click("[data-type=audit_log] .row:first-child");
  const selected = Number(/\d+/.exec(await dashboard.text(".details-message"))?.[0]);
  await vi.waitFor(async () => {
    const system = await middleStep(dashboard, "system_log");
    expect(Math.abs(selected - system), `${selected} and ${system}`).toBeLessThanOrEqual(3);
  }, WAIT);
});

test("the event at the bottom of its panel stays in view when the bar appears above it", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post(steps(60));
  await using dashboard = await gateway.open();
  await dashboard.showsLast("audit_log", "event 59");
  await dashboard.click("[data-type=audit_log] .row ::-p-text(event 59)");
  await dashboard.click("button ::-p-text(System logs of instance worker-2)");
  await dashboard.page.waitForSelector(".correlation-bar");
  await dashboard.showsLast("audit_log", "event 59");
});

test("leaving restores the panel's filter", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.post([
    { message: "quiet", attributes: { instance_id: "a" } },
    { message: "loud", severity: 17, attributes: { instance_id: "b" } },
    {
      message: "begun",
      logger: AUDIT,
      attributes: { event_type: "x", instance_id: "a" },
      severity: 17,
    },
  ]);
  await using dashboard = await gateway.open();
  await dashboard.showsLast("audit_log", "begun");
  await dashboard.page.type("[type=search]", "level:ERROR");
  await dashboard.page.keyboard.press("Enter");
  await vi.waitFor(
    async () => expect(await dashboard.messages("system_log")).toEqual(["loud"]),
    WAIT,
  );
  await dashboard.click("[data-type=audit_log] .row");
  await dashboard.click("button ::-p-text(System logs of instance a)");
  await vi.waitFor(
    async () => expect(await dashboard.messages("system_log")).toEqual(["quiet"]),
    WAIT,
  );
  await dashboard.click("button ::-p-text(Back to results)");
  await vi.waitFor(
    async () => expect(await dashboard.messages("system_log")).toEqual(["loud"]),
    WAIT,
  );
});

test("another filter ends it, and stays in effect", async () => {
  await using gateway = await DashboardGateway.start();
  const attributes = { instance_id: "a" };
  await gateway.post([
    { message: "quiet", attributes },
    { message: "loud", severity: 17 },
    { message: "begun", logger: AUDIT, attributes },
  ]);
  await using dashboard = await gateway.open();
  await dashboard.showsLast("audit_log", "begun");
  await dashboard.click("[data-type=audit_log] .row");
  await dashboard.click("button ::-p-text(System logs of instance a)");
  await dashboard.page.waitForSelector(".correlation-bar");
  await dashboard.page.type("[type=search]", "level:ERROR");
  await dashboard.page.keyboard.press("Enter");
  await dashboard.page.waitForSelector(".correlation-bar", { hidden: true });
  await dashboard.showsLast("system_log", "loud");
  expect(await dashboard.messages("system_log")).toEqual(["loud"]);
});

test("a trace id links to the configured trace UI, and no other text does", async () => {
  const cleanUps: (() => Promise<unknown> | void)[] = [];
  const directory = await temporaryDirectory(cleanUps);
  try {
    const config = join(directory, "tailgate.yaml");
    await writeFile(config, "trace_url: https://jaeger.example/trace/{trace_id}?from=logs\n");
    const logging = await LoggingManager.start({
      config,
      port: 0,
      logDir: join(directory, "logs"),
      exporters: { websocket: {} },
    });
    cleanUps.unshift(() => logging.stop());
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const traced: DemoEvent = {
      atMs: 0,
      level: "INFO",
      logger: "a",
      message: "traced",
      fields: {},
      trace: { traceId, spanId: "b7ad6b7169203331" },
    };
    logEvent(logging, traced);
    const { trace: _, ...untraced } = traced;
    logEvent(logging, {
      ...untraced,
      message: "forged",
      fields: { trace_id: "javascript:alert(1)" },
    });
    const markup = '"><img src=x onerror=alert(1)>';
    for (const hostile of [`${traceId}/../../admin`, ` ${traceId}`, `${traceId}\n`, markup]) {
      logEvent(logging, { ...untraced, message: hostile, fields: { trace_id: hostile } });
    }
    logEvent(logging, { ...traced, logger: AUDIT, message: "audited" });
    await logging.flush();
    await using dashboard = new Dashboard(await View.open(logging.url));
    await dashboard.page.waitForSelector("[data-type=audit_log] .row");
    for (const type of ["system_log", "audit_log"]) {
      // The middle of the row can be hidden beneath the details.
      await dashboard.click(`[data-type=${type}] .row .column-time`);
      await dashboard.page.waitForSelector(`[data-type=${type}] [aria-selected=true]`);
      const link = (await dashboard.page.waitForSelector(".details a"))!;
      expect(await link.evaluate(({ href, rel, target }) => [href, rel, target])).toEqual([
        `https://jaeger.example/trace/${traceId}?from=logs`,
        "noopener noreferrer",
        "_blank",
      ]);
    }
    for (const sequence of ["2", "3", "4", "5", "6"]) {
      await dashboard.click(`[data-sequence='${sequence}'] .column-time`);
      await dashboard.page.waitForSelector(`.details h2 ::-p-text(Record ${sequence})`);
      expect(await dashboard.page.$(".details a, .details img")).toBeNull();
    }
  } finally {
    for (const cleanUp of cleanUps) await cleanUp();
  }
});
