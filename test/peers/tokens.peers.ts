/** A real Collector that sends with a token, configured as docs/guides/tokens.md shows. */

import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { Document } from "../docs/document.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";
import { freePort, localUrl, startPeer } from "./peer.ts";

const page = await Document.read("docs/guides/tokens.md");

let workspace: Workspace;
let tokens: TestTokens;
let gateway: GatewayProcess;

beforeAll(async () => {
  workspace = await Workspace.create();
  tokens = await TestTokens.create(workspace, {
    ci: { scopes: ["ingest"] },
    old: { scopes: ["ingest"], revoked_at: "2026-01-01T00:00:00.000Z" },
    reader: { scopes: ["read"] },
  });
  gateway = await GatewayProcess.start(
    `auth: { tokens_file: "${tokens.path}" }
receivers: { otlp: { port: 0, grpc_port: 0 } }
exporters: { websocket: {} }
`,
  );
});

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await workspace[Symbol.asyncDispose]();
});

/** Returns the metadata of the audit events with that message. */
async function metadataOf(message: string): Promise<unknown[]> {
  const url = `${gateway.url}/api/logs?type=audit_log&q=${message}`;
  const response = await fetch(url, { headers: tokens.bearer("reader") });
  const { records } = (await response.json()) as { records: { data: { metadata: unknown } }[] };
  return records.map(({ data }) => data.metadata);
}

const CONFIGURATIONS = [
  ["tokens-collector", "over-http", "Collector"],
  ["tokens-collector-headers", "over-grpc", "Collector, gRPC"],
] as const;

test.each(CONFIGURATIONS)("the Collector with %s", async (example, message, sender) => {
  const port = await freePort();
  const config = page
    .example(example)
    .replace("14318", String(port))
    .replace("http://127.0.0.1:4318", await gateway.endpoint("OTLP/HTTP"))
    .replace("127.0.0.1:4317", new URL(await gateway.endpoint("OTLP/gRPC")).host);
  // Its own metrics would use a port that is the same for all.
  const telemetry = "yaml:service::telemetry::metrics::level: none";
  for (const name of ["ci", "old"]) {
    await workspace.write("config.yaml", config);
    const env = { TAILGATE_TOKEN: tokens.text(name) };
    const args = ["--config", "config.yaml", "--config", telemetry];
    const collector = startPeer("otelcol", args, workspace, env);
    onTestFinished(() => collector[Symbol.asyncDispose]());
    await collector.untilStderr(/Everything is ready/);
    const options = { logger: "orchestrator.audit" };
    expect(await postMessages(localUrl(port), [`${message}-${name}`], options)).toBe(200);
    if (name === "ci") {
      const found = [{ ingested_by: "token:ci" }];
      await vi.waitFor(
        async () => expect(await metadataOf(`${message}-ci`)).toEqual(found),
        30_000,
      );
    } else {
      await collector.untilStderr(/Dropping data/);
      for (const text of printedBy(sender)) expect(collector.stderr).toContain(text);
      expect(await metadataOf(`${message}-old`)).toEqual([]);
    }
    await collector[Symbol.asyncDispose]();
  }
});

/** What the page says that a sender prints. */
function printedBy(sender: string): string[] {
  const row = page.text.split("\n").find((line) => line.startsWith(`| ${sender} |`))!;
  return Array.from(row.matchAll(/`([^`]+)`/g), ([, text]) => text!);
}
