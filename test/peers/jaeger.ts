import { expect, vi } from "vitest";
import type { Workspace } from "../config/workspace.ts";
import type { Program } from "../support/program.ts";
import { freePort, startPeer } from "./peer.ts";

/** Starts Jaeger as the README says, with what listens on ports that it does not name left out. */
export async function startJaeger(workspace: Workspace, ports: JaegerPorts): Promise<Program> {
  const settings = [
    `receivers.otlp.protocols.grpc.endpoint=127.0.0.1:${await freePort()}`,
    `receivers.otlp.protocols.http.endpoint=127.0.0.1:${ports.otlp}`,
    `extensions.jaeger_query.http.endpoint=127.0.0.1:${ports.query}`,
    `extensions.jaeger_query.grpc.endpoint=127.0.0.1:${await freePort()}`,
    "service.extensions=[jaeger_storage, jaeger_query]",
    "service.pipelines.traces.receivers=[otlp]",
    "service.telemetry.metrics.level=none",
  ];
  const args = settings.flatMap((setting) => ["--set", setting]);
  const env = { OTEL_TRACES_SAMPLER: "always_off" };
  const jaeger = startPeer("jaeger", args, workspace, env);
  await jaeger.says(/Everything is ready/);
  return jaeger;
}

export interface JaegerPorts {
  /** Of OTLP over HTTP. */
  readonly otlp: number;
  /** Of the page and the query API. */
  readonly query: number;
}

interface JaegerTrace {
  readonly traceID: string;
  readonly spans: readonly { readonly operationName: string; readonly duration: number }[];
}

/** The traces of a service; resolves when there is one. */
export async function foundInJaeger(port: number, service: string): Promise<JaegerTrace[]> {
  const ask = async (): Promise<JaegerTrace[]> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/traces?service=${service}`);
    const { data } = (await response.json()) as { data: JaegerTrace[] | null };
    expect(data?.length).toBeGreaterThan(0);
    return data!;
  };
  return vi.waitFor(ask, { timeout: 30_000, interval: 100 });
}
