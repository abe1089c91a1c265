import { open as openFile } from "node:fs/promises";
import { metrics as globalMetrics } from "@opentelemetry/api";
import { describe, expect, test } from "vitest";
import { counterMetric, gaugeMetric } from "../../src/plugin/metrics.ts";
import { ask, HttpHarness } from "../harness/http-server.ts";

/** Returns the samples by name and labels, after validating the text against Prometheus's format. */
async function scrape(harness: HttpHarness): Promise<Map<string, number>> {
  const { status, headers, body } = await ask(`${harness.url}/metrics`);
  expect(status).toBe(200);
  expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
  const samples = new Map<string, number>();
  for (const line of body.trimEnd().split("\n")) {
    const [, series, value] = /^([a-z][a-z0-9_]*(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
    if (series !== undefined) samples.set(series, Number(value));
    else if (!/^# (?:HELP|TYPE) [a-z][a-z0-9_]* /.test(line)) throw new SyntaxError(line);
  }
  return samples;
}

function broken(): number {
  throw new Error("broken gauge");
}

describe("/metrics", () => {
  test("shows component counters by component and type, current at each scrape", async () => {
    const harness = await new HttpHarness().open();
    const intake = harness.component({ id: "intake", kind: "intake", queueBytes: 12 });
    const file = harness.component({ id: "file/second", lastError: "disk full" });
    Object.assign(intake, { received: 5, filtered: 1, sent: 4 });
    Object.assign(file, { received: 4, sent: 1, failed: 2 });
    file.drop("queue_full", 3);
    const first = await scrape(harness);
    const atIntake = '{component="intake",kind="intake"}';
    const atFile = '{component="file/second",kind="exporter"}';
    expect(first.get(`tailgate_records_received_total${atIntake}`)).toBe(5);
    expect(first.get(`tailgate_records_filtered_total${atIntake}`)).toBe(1);
    expect(first.get(`tailgate_records_accepted_total${atIntake}`)).toBe(4);
    expect(first.has(`tailgate_records_sent_total${atIntake}`)).toBe(false);
    expect(first.get(`tailgate_records_sent_total${atFile}`)).toBe(1);
    expect(first.has(`tailgate_records_accepted_total${atFile}`)).toBe(false);
    expect(first.get(`tailgate_records_failed_total${atFile}`)).toBe(2);
    const dropped =
      'tailgate_records_dropped_total{component="file/second",kind="exporter",reason="queue_full"}';
    expect(first.get(dropped)).toBe(3);
    expect(first.get(`tailgate_queue_bytes${atIntake}`)).toBe(12);
    expect(first.get(`tailgate_queue_records${atIntake}`)).toBe(0);
    expect(first.get(`tailgate_component_up${atIntake}`)).toBe(1);
    expect(first.get(`tailgate_component_up${atFile}`)).toBe(0);
    file.received = 40;
    expect((await scrape(harness)).get(`tailgate_records_received_total${atFile}`)).toBe(40);
  });

  test("shows the journal, the gateway and the process", async () => {
    const harness = await new HttpHarness().open();
    await harness.log({}, {}, {});
    harness.notReady = "stopping";
    const samples = await scrape(harness);
    expect(samples.get("tailgate_journal_newest_sequence")).toBe(3);
    expect(samples.get("tailgate_journal_oldest_sequence")).toBe(1);
    expect(samples.get("tailgate_ready")).toBe(0);
    expect(
      [...samples.keys()].filter((name) =>
        /^tailgate_build_info\{version="\d+\.\d+\.\d+.*"\}$/.test(name),
      ),
    ).toHaveLength(1);
    for (const name of [
      "tailgate_uptime_seconds",
      "process_cpu_seconds_total",
      "nodejs_eventloop_lag_p99_seconds",
      "nodejs_eventloop_lag_max_seconds",
    ]) {
      expect(samples.get(name)).toBeGreaterThanOrEqual(0);
    }
    expect(samples.get("process_resident_memory_bytes")).toBeGreaterThan(1e6);
    expect(samples.get("nodejs_heap_size_used_bytes")).toBeGreaterThan(1e6);
  });

  test("shows each known reason for loss from the start", async () => {
    const harness = await new HttpHarness().open();
    harness.component({ id: "intake", kind: "intake" });
    harness.component({ id: "otlp", kind: "receiver" });
    harness.component({ id: "redact", kind: "processor" });
    harness.component({ id: "websocket", isDurable: false });
    harness.component({ id: "file" }).drop("of_its_own", 2);
    const samples = await scrape(harness);
    const reasonsOf = (component: string): string[] =>
      [...samples].flatMap(([series, value]) => {
        const match =
          /^tailgate_records_dropped_total\{component="(\w+)",kind="\w+",reason="(\w+)"\}$/;
        const [, owner, reason] = match.exec(series) ?? [];
        return owner === component ? [`${reason} ${value}`] : [];
      });
    expect(reasonsOf("intake")).toEqual([
      "forbidden 0",
      "intake_full 0",
      "journal_failed 0",
      "journal_full 0",
      "journal_refused 0",
      "malformed 0",
      "not_encodable 0",
      "not_readable 0",
      "overloaded 0",
      "stopped 0",
      "untyped_event 0",
    ]);
    expect(reasonsOf("otlp")).toEqual(["rejected 0"]);
    expect(reasonsOf("redact")).toEqual(["processor_failed 0"]);
    expect(reasonsOf("websocket")).toEqual(["queue_full 0", "refused 0", "stopped 0"]);
    expect(reasonsOf("file")).toEqual([
      "damaged 0",
      "not_stored 0",
      "refused 0",
      "rejected 0",
      "retention 0",
      "stopped 0",
      "of_its_own 2",
    ]);
  });

  test("shows the same event loop lag to each scraper", async () => {
    const harness = await new HttpHarness().open();
    await scrape(harness);
    // The loop's lag is measured by a timer that has to fire before and after the delay.
    await new Promise((resolve) => setTimeout(resolve, 60));
    const endMs = performance.now() + 300;
    while (performance.now() < endMs);
    await new Promise((resolve) => setTimeout(resolve, 60));
    for (const samples of [await scrape(harness), await scrape(harness), await scrape(harness)]) {
      expect(samples.get("nodejs_eventloop_lag_max_seconds")).toBeGreaterThan(0.2);
    }
  });

  test("counts the open descriptors", async () => {
    const harness = await new HttpHarness().open();
    const open = async (): Promise<number> => (await scrape(harness)).get("process_open_fds")!;
    const before = await open();
    expect(before).toBeGreaterThan(3);
    const files = await Promise.all(Array.from({ length: 20 }, () => openFile("/dev/null")));
    expect(await open()).toBeGreaterThanOrEqual(before + 15);
    for (const file of files) await file.close();
  });

  test("shows plugin metrics: two components of a type under one name, and metrics added later", async () => {
    const harness = await new HttpHarness().open();
    const frames = counterMetric("exporter/websocket", "frames_sent", "Frames sent.");
    harness.pluginMetrics.push(
      frames.metric,
      gaugeMetric("exporter/audit-file/second", "open.files", "Open files.", () => 2),
      gaugeMetric("exporter/audit-file", "open.files", "Open files.", () => 1),
    );
    frames.add(3, { path: '/a"b\\' });
    frames.add(4, { path: '/a"b\\' });
    const samples = await scrape(harness);
    const websocket = 'component="websocket",kind="exporter"';
    expect(
      samples.get(`tailgate_websocket_frames_sent_total{${websocket},path="/a\\"b\\\\"}`),
    ).toBe(7);
    expect(
      samples.get('tailgate_audit_file_open_files{component="audit-file",kind="exporter"}'),
    ).toBe(1);
    expect(
      samples.get('tailgate_audit_file_open_files{component="audit-file/second",kind="exporter"}'),
    ).toBe(2);

    const late = counterMetric("receiver/otlp", "requests", "Requests.");
    harness.pluginMetrics.push(late.metric);
    late.add(1);
    expect(
      (await scrape(harness)).get('tailgate_otlp_requests_total{component="otlp",kind="receiver"}'),
    ).toBe(1);
  });

  test("skips a metric that cannot be read, and logs that once", async () => {
    const harness = await new HttpHarness().open();
    harness.pluginMetrics.push(
      gaugeMetric("exporter/mine", "broken", "Breaks.", broken),
      gaugeMetric("exporter/mine", "whole", "Works.", () => 5),
    );
    await scrape(harness);
    const samples = await scrape(harness);
    expect(samples.get('tailgate_mine_whole{component="mine",kind="exporter"}')).toBe(5);
    expect(harness.lines).toEqual([
      "The metric tailgate_mine_broken could not be read. broken gauge",
    ]);
  });

  test("answers concurrent scrapes", async () => {
    const harness = await new HttpHarness().open();
    harness.component({ id: "file" }).received = 9;
    const scrapes = await Promise.all(Array.from({ length: 10 }, () => scrape(harness)));
    for (const samples of scrapes) {
      expect(samples.get('tailgate_records_received_total{component="file",kind="exporter"}')).toBe(
        9,
      );
    }
  });

  test("does not touch the process's own meter provider", async () => {
    const before = globalMetrics.getMeterProvider();
    const harness = await new HttpHarness().open();
    await scrape(harness);
    expect(globalMetrics.getMeterProvider()).toBe(before);
  });
});
