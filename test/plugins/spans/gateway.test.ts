import { LoggingManager } from "tailgate";
import { expect, onTestFinished, test, vi } from "vitest";
import { Workspace } from "../../harness/workspace.ts";
import { CrashSite, urlOf } from "../../harness/crash-site.ts";
import type { Program } from "../../harness/program.ts";
import { DemoRun } from "./demo-run.ts";
import { TracePeer } from "./trace-peer.ts";

/** Milliseconds since 1970, in the past when the tests run. */
const START_MS = Date.parse("2025-10-13T09:27:24Z");

const nanosAt = (atMs: number): bigint => BigInt(START_MS + atMs) * 1_000_000n;

interface Running {
  readonly program: Program;
  readonly url: string;
  /** Posts an audit event of the instance `a`; resolves when it is durable. */
  tell(atMs: number, type: string, details?: Readonly<Record<string, string>>): Promise<void>;
}

async function started(site: CrashSite, peer: { readonly port: number }): Promise<Running> {
  const endpoint = `http://127.0.0.1:${peer.port}`;
  const config = `exporters: { spans: { endpoint: "${endpoint}" } }\n`;
  const program = await site.start({ config });
  const url = (await urlOf(program))!;
  return { program, url, tell: (...given) => tell(url, ...given) };
}

async function tell(url: string, atMs: number, type: string, details = {}): Promise<void> {
  const fields = Object.entries({ event_type: type, instance_id: "a", ...details });
  const record = {
    timeUnixNano: String(nanosAt(atMs)),
    severityNumber: 9,
    body: { stringValue: type },
    attributes: fields.map(([key, stringValue]) => ({ key, value: { stringValue } })),
  };
  const scopeLogs = [{ scope: { name: "orchestrator.audit" }, logRecords: [record] }];
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs }] }),
  });
  expect(response.status).toBe(200);
}

test("an instance survives a killed gateway: one span with all of its events", async () => {
  await using peer = await TracePeer.open();
  await using site = await CrashSite.create();
  const first = await started(site, peer);
  await first.tell(0, "instance_spawn", { role: "architect" });
  await first.tell(10, "message_exchange");
  await peer.waitFor("message_exchange");
  await first.tell(20, "state_change");
  first.program.process.kill("SIGKILL");
  await first.program.ended;
  const second = await started(site, peer);
  await second.tell(30, "error");
  await second.tell(40, "instance_terminate");
  const [span, ...others] = await peer.waitFor("instance architect");
  expect(others).toEqual([]);
  expect(span).toMatchObject({ startNanos: nanosAt(0), endNanos: nanosAt(40) });
  expect(span!.events.map(({ name }) => name)).toEqual(["state_change", "error"]);
  // It is counted when the response arrives.
  await vi.waitFor(async () => {
    const metrics = await (await fetch(`${second.url}/metrics`)).text();
    const labels = 'component="spans",kind="exporter"';
    expect(metrics).toContain(`\ntailgate_spans_open_instances{${labels}} 0\n`);
    expect(metrics).toContain(
      `\ntailgate_spans_instances_closed_total{${labels},end="terminated"} 1\n`,
    );
    expect(metrics).toMatch(/^tailgate_spans_sent_total\{\S+\} [12]$/m);
  });
  // Duplicates caused by the kill have one id.
  expect(new Set(peer.named("message_exchange").map(({ spanId }) => spanId)).size).toBe(1);
  expect(peer.named("message_exchange")[0]!.parentSpanId).toBe(span!.spanId);
});

test("a span closed by a shutdown continues after the next start, in the same trace", async () => {
  await using peer = await TracePeer.open();
  await using site = await CrashSite.create();
  const first = await started(site, peer);
  await first.tell(0, "instance_spawn", { role: "architect" });
  expect(await first.program.end()).toBe(0);
  const [stopped] = peer.named("instance architect");
  expect(stopped!.attributes).toMatchObject({ "tailgate.end": "stopped" });

  const second = await started(site, peer);
  const endMs = Date.now() + 60_000 - START_MS;
  await second.tell(endMs, "instance_terminate", { outcome: "failed" });
  const [, resumed] = await peer.waitFor("instance architect", 2);
  expect(resumed).toMatchObject({
    traceId: stopped!.traceId,
    startNanos: stopped!.endNanos,
    endNanos: nanosAt(endMs),
    status: { code: 2 },
    attributes: { role: "architect", "tailgate.start": "resumed", "tailgate.end": "terminated" },
    links: [{ spanId: stopped!.spanId, attributes: { "tailgate.relation": "goes_on_from" } }],
  });
  expect(resumed!.spanId).not.toBe(stopped!.spanId);
});

test("a hanging store does not delay the shutdown, and nothing is lost", async () => {
  await using peer = await TracePeer.open();
  await using site = await CrashSite.create();
  const first = await started(site, peer);
  await first.tell(0, "instance_spawn", { role: "architect" });
  await first.tell(10, "message_exchange");
  await peer.waitFor("message_exchange");
  const take = peer.behaviour;
  peer.behaviour = () => false;
  expect(await first.program.end()).toBe(0);
  expect(first.program.stderr).toMatch(
    /1 open instances could not be sent; the instances stay open/,
  );
  peer.behaviour = take;
  const second = await started(site, peer);
  await second.tell(20, "instance_terminate");
  const [span] = await peer.waitFor("instance architect");
  expect(span!.startNanos).toBe(nanosAt(0));
});

test.for([1, 2])(
  "a demo run of five instances gives five traces of the expected shape, seed %i",
  async (seed) => {
    await using peer = await TracePeer.open();
    const workspace = await Workspace.create();
    onTestFinished(() => workspace[Symbol.asyncDispose]());
    const logging = await LoggingManager.start({
      port: 0,
      logDir: workspace.path("logs"),
      registerGlobally: false,
      receivers: {},
      exporters: { spans: { endpoint: peer.url } },
    });
    const run = new DemoRun(seed, 5);
    run.play(logging);
    await logging.stop();

    const traceIds = new Set(peer.spans.map(({ traceId }) => traceId));
    expect(traceIds.size).toBe(5);
    const roots = peer.spans.filter(({ parentSpanId }) => parentSpanId === "");
    expect(roots).toHaveLength(5);
    for (const id of run.instanceIds) {
      const root = roots.find(({ attributes }) => attributes["instance_id"] === id)!;
      const [spawn] = run.of(id, "instance_spawn");
      const [end] = run.of(id, "instance_terminate");
      expect(root).toMatchObject({
        traceId: spawn!.trace!.traceId,
        startNanos: BigInt(run.startMs + spawn!.atMs) * 1_000_000n,
        endNanos: BigInt(run.startMs + end!.atMs) * 1_000_000n,
        attributes: { parent: "supervisor-1", model: "general-4", outcome: "completed" },
      });
      expect(root.events.map(({ name }) => name)).toEqual(run.eventsOf(id));
      const children = peer.spans.filter(({ parentSpanId }) => parentSpanId === root.spanId);
      expect(children.map(({ name }) => name).sort()).toEqual([
        ...run.of(id, "message_sent").map(() => "message"),
        ...run.of(id, "message_exchange").map(() => "message_exchange"),
      ]);
      expect(children.length).toBe(
        peer.spans.filter(({ traceId }) => traceId === root.traceId).length - 1,
      );
    }
  },
);
