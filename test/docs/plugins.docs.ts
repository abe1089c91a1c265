/** Runs the plugins of plugins/README.md verbatim. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text as textOf } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test, vi } from "vitest";
import type { Envelope } from "tailgate";
import { Workspace } from "../harness/workspace.ts";
import { Program } from "../harness/program.ts";
import { Document } from "./document.ts";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

const guide = await Document.read("plugins/README.md");

/** The guide's files, each under its name in the guide. */
async function guideDirectory(change: (text: string) => string = (text) => text) {
  const workspace = await Workspace.create({ "package.json": '{ "type": "module" }' });
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  for (const name of guide.exampleNames) await workspace.write(name, change(guide.example(name)));
  await workspace.install("tailgate");
  return workspace;
}

interface Posted {
  readonly path: string;
  readonly envelopes: readonly Envelope[];
}

/** A server that collects the bodies posted to it. */
async function webhookServer(): Promise<{ port: number; posted: readonly Posted[] }> {
  const posted: Posted[] = [];
  const server = createServer((request, response) => {
    void textOf(request).then((body) => {
      const envelopes = body
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as Envelope);
      posted.push({ path: request.url!, envelopes });
      return response.end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, posted };
}

test("receiver, processor and exporter deliver lines of text to a webhook", async () => {
  const { port, posted } = await webhookServer();
  const { directory: cwd } = await guideDirectory((text) =>
    text.replaceAll("127.0.0.1:9000", `127.0.0.1:${port}`),
  );
  await using gateway = new Program(process.execPath, [MAIN, "--port", "0", "--log-dir", "logs"], {
    cwd,
  });
  const [, url] = await gateway.untilStderr(/listening on (\S+) \(dashboard/);
  const { status } = await fetch(`${url}/lines`, { method: "POST", body: "first\nsecond\n" });
  expect(status).toBe(204);
  await vi.waitFor(() => expect(posted).toHaveLength(1));
  expect(posted[0]).toMatchObject({
    path: "/logs",
    envelopes: [
      { type: "system_log", data: { logger: "orchestrator.lines", message: "first" } },
      { type: "system_log", data: { logger: "orchestrator.lines", message: "second" } },
    ],
  });
  const tooLarge = await fetch(`${url}/lines`, { method: "POST", body: "x".repeat(2 << 20) });
  expect(tooLarge.status).toBe(413);
  expect(await gateway.end()).toBe(0);
});

test("the processor masks the configured attributes", async () => {
  const { port, posted } = await webhookServer();
  const { directory: cwd } = await guideDirectory((text) =>
    text
      .replaceAll("127.0.0.1:9000", `127.0.0.1:${port}`)
      .replace("lines: { use: ./lines.js }", "otlp: { port: null }"),
  );
  await using gateway = new Program(process.execPath, [MAIN, "--port", "0", "--log-dir", "logs"], {
    cwd,
  });
  const [, url] = await gateway.untilStderr(/listening on (\S+) \(dashboard/);
  const attributes = [
    { key: "user", value: { stringValue: "ada" } },
    { key: "password", value: { stringValue: "swordfish" } },
  ];
  const { status } = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords: [{ attributes }] }] }] }),
  });
  expect(status).toBe(200);
  await vi.waitFor(() => expect(posted).toHaveLength(1));
  expect(posted[0]!.envelopes[0]!.data).toMatchObject({ user: "ada", password: "********" });
});

test("the exporter passes the contract suite with the guide's test file", async () => {
  const { directory: cwd } = await guideDirectory();
  const report = await Program.run(process.execPath, ["--test"], { cwd });
  expect(report).toMatch(/^ℹ pass [1-9]/m);
  expect(report).toMatch(/^ℹ fail 0$/m);
});

test("`tailgate plugins` shows the guide's plugins with their options", async () => {
  const { directory: cwd } = await guideDirectory();
  const listed = await Program.run(process.execPath, [MAIN, "plugins"], { cwd });
  expect(listed).toContain(
    "exporter webhook (configured as exporters.webhook, exporters.webhook/audit)\n  Posts records as JSON lines to a URL.\n    url: URL, required\n",
  );
  expect(listed).toContain("processor mask (configured as processors.mask)\n");
  expect(listed).toContain("receiver lines (configured as receivers.lines)\n");
});

test("all code of the guide runs here", () => {
  expect(guide.exampleNames).toEqual([
    "webhook.js",
    "tailgate.yaml",
    "mask.js",
    "lines.js",
    "webhook.test.js",
  ]);
});
