/** Runs the plugins of docs/plugins and of examples/plugins, with the configurations and commands of the pages. */

import { once } from "node:events";
import { cp, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text as textOf } from "node:stream/consumers";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { Envelope } from "tailgate";
import { MAIN, Program } from "../harness/program.ts";
import type { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { startGateway, userDirectory, type StartedGateway } from "./user-directory.ts";

const [overview, exporters, processors, receivers] = await Promise.all(
  ["README", "exporter", "processor", "receiver"].map((name) =>
    Document.read(`docs/plugins/${name}.md`),
  ),
);

const exampleConfig = await readFile(repositoryPath("examples/plugins/tailgate.yaml"), "utf8");

/** A copy of examples/plugins. */
async function examples(): Promise<Workspace> {
  const workspace = await userDirectory();
  await cp(repositoryPath("examples/plugins"), workspace.directory, { recursive: true });
  return workspace;
}

/** Starts a gateway with the example plugins and that configuration. */
async function started(config: string): Promise<StartedGateway> {
  const workspace = await examples();
  await workspace.write("tailgate.yaml", config.replace("otlp: {}", "otlp: { grpc_port: null }"));
  return startGateway(workspace);
}

/** Runs commands of a page against the gateway. */
function run(script: string, gateway: StartedGateway): Promise<string> {
  const here = script
    .replaceAll("http://127.0.0.1:8001", gateway.url)
    .replaceAll("http://127.0.0.1:4318", gateway.otlpUrl);
  return Program.run("bash", ["-ec", here], { cwd: "/" });
}

interface Sent {
  readonly logger: string;
  readonly level: string;
  readonly attributes?: Readonly<Record<string, string>>;
}

/** Sends records, each with its level as the message. */
async function send({ url }: StartedGateway, ...records: readonly Sent[]): Promise<void> {
  const scopeLogs = records.map(({ logger, level, attributes = {} }) => ({
    scope: { name: logger },
    logRecords: [
      {
        severityText: level,
        body: { stringValue: level },
        attributes: Object.entries(attributes).map(([key, stringValue]) => ({
          key,
          value: { stringValue },
        })),
      },
    ],
  }));
  const { status } = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs }] }),
  });
  expect(status).toBe(200);
}

describe("docs/plugins/README.md", () => {
  test("the first plugin prints what the page says, without Tailgate beside it", async () => {
    const workspace = await userDirectory({
      "shout.js": overview!.example("shout.js"),
      "tailgate.yaml": overview!.example("shout.yaml"),
    });
    await Program.run("rm", ["-r", "node_modules"], { cwd: workspace.directory });
    const [validate, start] = overview!.example("shout-start").trimEnd().split("\n");
    expect(start).toBe("npx tailgate");
    const command = validate!.replace("npx tailgate", `"${process.execPath}" "${MAIN}"`);
    const shown = await Program.run("bash", ["-c", command], { cwd: workspace.directory });
    expect(shown).toContain("shout:\n    use: ./shout.js\n");
    const gateway = await startGateway(workspace);
    expect(await run(overview!.example("shout-send"), gateway)).toBe("{}");
    await gateway.program.untilStdout(/\n/);
    expect(gateway.program.stdout).toBe(overview!.listings[0]);
  });
});

interface Posted {
  readonly path: string;
  readonly messages: readonly string[];
}

/** A server that collects what is posted to it. */
async function lineServer(): Promise<{ port: number; posted: readonly Posted[] }> {
  const posted: Posted[] = [];
  const server = createServer((request, response) => {
    void textOf(request).then((body) => {
      const lines = body.trimEnd().split("\n");
      const envelopes = lines.map((line) => JSON.parse(line) as Envelope);
      posted.push({ path: request.url!, messages: envelopes.map(({ data }) => data.message) });
      return response.end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, posted };
}

describe("docs/plugins/exporter.md", () => {
  test.each([
    ["the page", exporters!.example("json-lines.yaml")],
    ["the example", exampleConfig],
  ])("the configuration of %s routes system logs and audit events", async (_, config) => {
    const { port, posted } = await lineServer();
    const gateway = await started(config.replaceAll("127.0.0.1:9000", `127.0.0.1:${port}`));
    const system = "orchestrator.server";
    const audit = "orchestrator.audit";
    await send(
      gateway,
      { logger: system, level: "INFO" },
      { logger: audit, level: "INFO" },
      { logger: system, level: "ERROR" },
      { logger: `${audit}.access`, level: "WARNING" },
    );
    const at = (path: string): string[] =>
      posted.filter((one) => one.path === path).flatMap(({ messages }) => messages);
    await vi.waitFor(() => {
      expect(at("/logs")).toEqual(["ERROR"]);
      expect(at("/audit")).toEqual(["INFO", "WARNING"]);
    });
    await expect
      .poll(async () => (await componentsOf(gateway)).filter(({ kind }) => kind === "exporter"))
      .toMatchObject([
        { id: "websocket" },
        { id: "json-lines", received: 4, filtered: 3, sent: 1 },
        { id: "json-lines/audit", received: 4, filtered: 2, sent: 2 },
      ]);
    expect(await gateway.program.end()).toBe(0);
    expect(at("/logs")).toEqual(["ERROR"]);
  });

  test("`tailgate plugins` shows the example plugins with their options", async () => {
    const { directory: cwd } = await examples();
    const listed = await Program.run(process.execPath, [MAIN, "plugins"], { cwd });
    expect(listed).toContain(
      "exporter json-lines (configured as exporters.json-lines, exporters.json-lines/audit)\n  Posts records as JSON lines to a URL.\n    url: URL, required\n",
    );
    expect(listed).toContain("processor mask (configured as processors.mask)\n");
    expect(listed).toContain("receiver lines (configured as receivers.lines)\n");
  });

  test("`tailgate validate` rejects a URL that is the gateway itself", async () => {
    const workspace = await examples();
    await workspace.write(
      "tailgate.yaml",
      exporters!.example("json-lines.yaml").replaceAll("127.0.0.1:9000", "127.0.0.1:8001"),
    );
    const validating = Program.run(process.execPath, [MAIN, "validate"], {
      cwd: workspace.directory,
    });
    await expect(validating).rejects.toThrow("SENDS_TO_ITSELF");
  });
});

interface Component {
  readonly id: string;
  readonly kind: string;
}

async function componentsOf({ url }: StartedGateway): Promise<readonly Component[]> {
  const response = await fetch(`${url}/api/stats`);
  return ((await response.json()) as { components: Component[] }).components;
}

interface History {
  readonly records: readonly { readonly data: Readonly<Record<string, unknown>> }[];
}

/** Returns what is stored, in the order of the journal. */
async function storedData({ url }: StartedGateway): Promise<Readonly<Record<string, unknown>>[]> {
  const { records } = (await (await fetch(`${url}/api/logs`)).json()) as History;
  return records.map(({ data }) => data).toReversed();
}

test("the processor of docs/plugins/processor.md masks the configured attributes", async () => {
  const gateway = await started(processors!.example("mask.yaml"));
  const attributes = { user: "ada", password: "swordfish", token: "t0ps3cret" };
  await send(gateway, { logger: "orchestrator.server", level: "INFO", attributes });
  const masked = { user: "ada", password: "********", token: "********" };
  expect(await storedData(gateway)).toMatchObject([masked]);
});

test("the receiver of docs/plugins/receiver.md stores lines", async () => {
  const gateway = await started(receivers!.example("lines.yaml"));
  const answer = await run(receivers!.example("lines-send"), gateway);
  expect(`${answer}\n`).toBe(receivers!.listings[0]);
  expect(await storedData(gateway)).toMatchObject([
    { logger: "orchestrator.cron", message: "backup started" },
    { logger: "orchestrator.cron", message: "backup done" },
  ]);
  const tooLarge = await fetch(`${gateway.url}/lines`, {
    method: "POST",
    body: "x".repeat(2 << 20),
  });
  expect(tooLarge.status).toBe(413);
});

test("the tests of the example plugins pass", async () => {
  const readme = await Document.read("examples/plugins/README.md");
  expect(readme.example("plugins-run")).toBe(
    "npm install ../tailgate/tailgate-0.1.0.tgz\nnpm test\nnpm start\n",
  );
  const { directory: cwd } = await examples();
  const report = await Program.run("npm", ["test"], { cwd });
  expect(report).toMatch(/^ℹ pass 14$/m);
  expect(report).toMatch(/^ℹ fail 0$/m);
});
