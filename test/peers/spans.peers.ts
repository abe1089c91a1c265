/** Instances as traces in a real Jaeger, as returned by its query API. */

import { LoggingManager } from "tailgate";
import { expect, onTestFinished, test, vi } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { DemoRun } from "../plugins/spans/demo-run.ts";
import { foundInJaeger, startJaeger, type JaegerSpan, type JaegerTrace } from "./jaeger.ts";

async function userDirectory(): Promise<Workspace> {
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  return workspace;
}

function tagsOf({ tags }: JaegerSpan): Record<string, unknown> {
  return Object.fromEntries(tags.map(({ key, value }) => [key, value]));
}

function isRoot({ references }: JaegerSpan): boolean {
  return !references.some(({ refType }) => refType === "CHILD_OF");
}

function rootOf({ spans }: JaegerTrace): JaegerSpan {
  const roots = spans.filter(isRoot);
  expect(roots).toHaveLength(1);
  return roots[0]!;
}

/** The names of a span's events, in order. */
function eventsOf({ logs }: JaegerSpan): unknown[] {
  return logs.map(({ fields }) => fields.find(({ key }) => key === "event")!.value);
}

test.each(["http/protobuf", "http/json"])(
  "a demo run of five instances yields five traces of the expected shape, over %s",
  async (protocol) => {
    const workspace = await userDirectory();
    await using jaeger = await startJaeger(workspace);
    const logging = await LoggingManager.start({
      port: 0,
      logDir: workspace.path("logs"),
      registerGlobally: false,
      receivers: {},
      exporters: { spans: { endpoint: jaeger.otlpUrl, protocol, compression: "gzip" } },
    });
    const run = new DemoRun(3, 5);
    run.play(logging);
    await logging.stop();

    const traces = await vi.waitFor(async () => {
      const found = await foundInJaeger(jaeger.queryUrl, "orchestrator");
      expect(found).toHaveLength(5);
      for (const trace of found) rootOf(trace);
      return found;
    }, 30_000);
    for (const id of run.instanceIds) {
      const trace = traces.find((one) => tagsOf(rootOf(one))["instance_id"] === id)!;
      const root = rootOf(trace);
      const [spawn] = run.of(id, "instance_spawn");
      const [end] = run.of(id, "instance_terminate");
      const { role } = spawn!.fields["details"] as { role: string };
      expect(root).toMatchObject({
        traceID: spawn!.trace!.traceId,
        operationName: `instance ${role}`,
        startTime: 1000 * (run.startMs + spawn!.atMs),
        duration: 1000 * (end!.atMs - spawn!.atMs),
      });
      expect(tagsOf(root)).toMatchObject({ role, model: "general-4", outcome: "completed" });
      expect(eventsOf(root)).toEqual(run.eventsOf(id));
      const children = trace.spans.filter((span) => span !== root);
      expect(children.map(({ operationName }) => operationName).sort()).toEqual([
        ...run.of(id, "message_sent").map(() => "message"),
        ...run.of(id, "message_exchange").map(() => "message_exchange"),
      ]);
      for (const child of children) {
        const parents = child.references.filter(({ refType }) => refType === "CHILD_OF");
        expect(parents).toMatchObject([{ traceID: trace.traceID, spanID: root.spanID }]);
      }
      // A span whose parent was never sent would have one.
      expect(trace.spans.flatMap(({ warnings }) => warnings ?? [])).toEqual([]);
    }
  },
);
