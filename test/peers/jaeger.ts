import { expect, vi } from "vitest";
import type { Workspace } from "../harness/workspace.ts";
import { freePort, localUrl, startPeer } from "./peer.ts";

export interface JaegerTrace {
  readonly traceID: string;
  readonly spans: readonly JaegerSpan[];
}

/** A span as returned by the query API; times are microseconds. */
export interface JaegerSpan {
  readonly traceID: string;
  readonly spanID: string;
  readonly operationName: string;
  readonly references: readonly {
    readonly refType: string;
    readonly traceID: string;
    readonly spanID: string;
  }[];
  readonly startTime: number;
  readonly duration: number;
  readonly tags: readonly { readonly key: string; readonly value: unknown }[];
  readonly logs: readonly {
    readonly fields: readonly { readonly key: string; readonly value: unknown }[];
  }[];
  readonly warnings: readonly string[] | null;
}

/** Jaeger's other ports are disabled, since they may be in use. */
export const JAEGER_ALONE = [
  "service.extensions=[jaeger_storage, jaeger_query]",
  "service.pipelines.traces.receivers=[otlp]",
  "service.telemetry.metrics.level=none",
];

export interface RunningJaeger extends AsyncDisposable {
  /** The OTLP/HTTP URL. */
  readonly otlpUrl: string;
  readonly queryUrl: string;
}

/** Starts Jaeger with in-memory storage; it is killed on disposal. */
export async function startJaeger(workspace: Workspace): Promise<RunningJaeger> {
  const [otlp, otlpGrpc, query, queryGrpc] = [
    ...[await freePort(), await freePort(), await freePort(), await freePort()],
  ];
  const settings = [
    ...JAEGER_ALONE,
    `receivers.otlp.protocols.http.endpoint=127.0.0.1:${otlp}`,
    `receivers.otlp.protocols.grpc.endpoint=127.0.0.1:${otlpGrpc}`,
    `extensions.jaeger_query.http.endpoint=127.0.0.1:${query}`,
    `extensions.jaeger_query.grpc.endpoint=127.0.0.1:${queryGrpc}`,
  ];
  // Its own traces would be mixed in.
  const env = { OTEL_TRACES_SAMPLER: "always_off" };
  const args = settings.flatMap((setting) => ["--set", setting]);
  const program = startPeer("jaeger", args, workspace, env);
  await program.untilStderr(/Everything is ready/);
  return {
    otlpUrl: localUrl(otlp!),
    queryUrl: localUrl(query!),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Reads the traces of a service from the query API at this URL; resolves when there is one. */
export async function foundInJaeger(url: string, service: string): Promise<JaegerTrace[]> {
  const ask = async (): Promise<JaegerTrace[]> => {
    const response = await fetch(`${url}/api/traces?service=${service}`);
    const { data } = (await response.json()) as { data: JaegerTrace[] | null };
    expect(data?.length).toBeGreaterThan(0);
    return data!;
  };
  return vi.waitFor(ask, { timeout: 30_000, interval: 100 });
}
