/** Tailgate and a third-party plugin, both packed and installed into an empty project, as users install them. */

import { globSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { postMessages } from "../harness/otlp.ts";
import { Program } from "../harness/program.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SAMPLE = fileURLToPath(new URL("../fixtures/tailgate-plugin-sample", import.meta.url));

const INSTALL_MS_MAX = 180_000;

const LISTENING = /^tailgate: listening on (http:\/\/127\.0\.0\.1:\d+) \(dashboard/m;

let project: Workspace;

beforeAll(async () => {
  project = await Workspace.create({ "package.json": '{ "private": true, "type": "module" }' });
  await project.write("package-lock.json", await lockOfDependencies());
  await mkdir(project.path("tarballs"));
  const tarballs = [await packed(ROOT), await packed(SAMPLE)];
  await npm(["install", "--prefer-offline", "--no-audit", "--no-fund", ...tarballs]);
}, INSTALL_MS_MAX);

afterAll(() => project[Symbol.asyncDispose]());

/**
 * Our own lock file without development dependencies. npm then has the packages in its cache from `npm ci`; requesting
 * the metadata of all of them from a registry has taken minutes. npm would still install a second copy if two ranges
 * disagreed.
 */
async function lockOfDependencies(): Promise<string> {
  const lock = JSON.parse(await readFile(join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Record<string, { dev?: true; devOptional?: true }>;
  };
  const needed = Object.entries(lock.packages).filter(
    ([path, { dev, devOptional }]) => path !== "" && !dev && !devOptional,
  );
  const packages = { "": {}, ...Object.fromEntries(needed) };
  return JSON.stringify({ lockfileVersion: 3, requires: true, packages });
}

/** Creates the tarball that `npm publish` would send, without rebuilding, since other tests use the build. */
async function packed(directory: string): Promise<string> {
  const output = await npm(["pack", "--ignore-scripts", "--pack-destination=tarballs", directory]);
  return `./tarballs/${output.trim().split("\n").at(-1)}`;
}

function npm(args: readonly string[]): Promise<string> {
  return Program.run("npm", args, { cwd: project.directory });
}

/** Creates a directory in the project with a configuration and the given files. */
async function directoryWith(files: Readonly<Record<string, string>>): Promise<string> {
  const directory = join("cases", crypto.randomUUID());
  for (const [path, text] of Object.entries(files))
    await project.write(join(directory, path), text);
  return project.path(directory);
}

/** Returns a configuration with these sections and the gateway's own keys. */
function configuration(text: string): string {
  return `port: 0\nlog_dir: logs\nreceivers: { otlp: { port: 0 } }\n${text}\n`;
}

function tailgate(directory: string): Program {
  const program = project.path("node_modules/.bin/tailgate");
  return new Program(program, ["run"], { cwd: directory });
}

/** The source of an exporter; `members` replace the defaults of its definition. */
function exporter(members: string): string {
  return `import { defineExporter, z } from "tailgate/plugin";
    export default {
      ...defineExporter({
        name: "mine",
        description: "For tests.",
        options: z.object({}),
        open: () => ({ write() {} }),
      }),
      ${members}
    };`;
}

/** Resolves with the content of a file in the log directory once it has this many lines. */
async function linesOf(directory: string, file: string, count: number): Promise<string[]> {
  return vi.waitFor(
    async () => {
      const lines = (await readFile(join(directory, "logs", file), "utf8"))
        .split("\n")
        .slice(0, -1);
      expect(lines).toHaveLength(count);
      return lines;
    },
    { timeout: 10_000 },
  );
}

async function loggedMessages(directory: string, count: number): Promise<string[]> {
  const lines = await linesOf(directory, "orchestrator.log", count);
  return lines.map((line) => (JSON.parse(line) as { message: string }).message);
}

describe("the packages, installed from their tarballs", () => {
  test("install one copy of each OpenTelemetry package", async () => {
    const nested = "node_modules/**/node_modules/@opentelemetry/*";
    const copies = globSync(nested, { cwd: project.directory });
    expect(copies).toEqual([]);
  });

  test("`npx tailgate plugins` shows the configured plugin with its options", async () => {
    const directory = await directoryWith({
      "tailgate.yaml": configuration("exporters: { sample: {} }"),
    });
    const listed = await Program.run("npx", ["tailgate", "plugins"], { cwd: directory });
    expect(listed).toContain(
      `exporter sample (configured as exporters.sample)
  Appends the level and the message of each record to a text file.
    file: text that matches ^\\w[\\w.-]{0,63}$, default "sample.txt"
        Name of the file in the log directory.`,
    );
  });

  test("a plugin passes the suite of `tailgate/testing` under its own test runner", async () => {
    const directory = await directoryWith({ "sample.test.js": SAMPLE_TEST });
    const report = await Program.run(process.execPath, ["--test"], { cwd: directory });
    expect(report).toMatch(/^ℹ pass [1-9]/m);
    expect(report).toMatch(/^ℹ fail 0$/m);
  });
});

const SAMPLE_TEST = `
  import { readFile } from "node:fs/promises";
  import { join } from "node:path";
  import { test } from "node:test";
  import sample from "tailgate-plugin-sample";
  import { exporterContract } from "tailgate/testing";

  const harness = () => ({
    definition: sample,
    durable: true,
    connect: async (host) => async () => {
      const lines = (await readFile(join(host.logDir, "sample.txt"), "utf8")).split("\\n").slice(0, -1);
      return lines.map((line) => JSON.parse(line.slice(line.indexOf(" "))));
    },
  });
  for (const { name, run } of exporterContract(harness)) test(name, run);
`;

describe("the client, from its tarball", () => {
  const CLIENT = `
    import { LogHistory, LogStream } from "tailgate/client";
    const url = process.env.GATEWAY ?? "/";
    const stream = new LogStream({ url, start: { since: 0 } });
    stream.listen(async ({ type, entries = [] }) => {
      if (type !== "records" || entries.length === 0) return;
      const page = await new LogHistory({ url }).page();
      console.log([...entries, ...page.entries].map(({ sequence, envelope }) => sequence + envelope.data.message).join());
      stream.close();
    });`;

  test("follows a gateway in Node, and lets the process exit once it is closed", async () => {
    const directory = await directoryWith({
      "tailgate.yaml": configuration("exporters: { websocket: {} }"),
      "client.js": CLIENT,
    });
    await using gateway = tailgate(directory);
    const [, url] = await gateway.untilStderr(LISTENING);
    expect(await postMessages(url!, ["hello"])).toBe(200);
    const env = { GATEWAY: url! };
    const shown = await Program.run(process.execPath, ["client.js"], { cwd: directory, env });
    expect(shown).toBe("1hello,1hello\n");
  });

  test("is bundled for browsers without code of Node or the gateway", async () => {
    const directory = await directoryWith({ "main.js": CLIENT });
    const result = await build({
      configFile: false,
      logLevel: "error",
      root: directory,
      build: { write: false, minify: true, rollupOptions: { input: join(directory, "main.js") } },
    });
    const { output } = result as { output: { code: string; moduleIds: string[] }[] };
    expect(output).toHaveLength(1);
    const own = output[0]!.moduleIds.filter((id) => id.includes("node_modules"));
    const shared = own.filter((id) => !id.includes("node_modules/tailgate/dist/src/client/"));
    expect(shared.map((id) => basename(id)).sort()).toEqual(["protocol.js"]);
    expect(gzipSync(output[0]!.code).length).toBeLessThan(8_000);
  });

  test("needs no React; only `tailgate/react` does", async () => {
    const directory = await directoryWith({ "react.js": 'import "tailgate/react";' });
    const run = Program.run(process.execPath, ["react.js"], { cwd: directory });
    await expect(run).rejects.toThrow("Cannot find package 'react'");
  });
});

describe("working plugins", () => {
  test("an exporter from npm writes records next to the built-in ones", async () => {
    const directory = await directoryWith({
      "tailgate.yaml": configuration("exporters: { file: {}, sample: { file: lines.txt } }"),
    });
    await using gateway = tailgate(directory);
    const [, url] = await gateway.untilStderr(LISTENING);
    expect(await postMessages(url!, ["first", 'second\n"line"'])).toBe(200);
    expect(await linesOf(directory, "lines.txt", 2)).toEqual([
      'INFO "first"',
      String.raw`INFO "second\n\"line\""`,
    ]);
    expect(await loggedMessages(directory, 2)).toEqual(["first", 'second\n"line"']);
    expect(await gateway.end()).toBe(0);
  });

  test("an exporter and a processor are loaded by path", async () => {
    const directory = await directoryWith({
      "tailgate.yaml": configuration(
        "processors: { shout: { use: ./plugins/shout.js } }\nexporters: { mine: { use: ./plugins/mine.js } }",
      ),
      "plugins/mine.js": exporter(`
        open: (options, { log }) => ({
          write(batch) {
            for (let i = 0; i < batch.length; i++) log.info("got " + batch.envelope(i).data.message);
          },
        }),`),
      "plugins/shout.js": `import { defineProcessor, z } from "tailgate/plugin";
        export default defineProcessor({
          name: "shout",
          description: "For tests.",
          options: z.object({}),
          open: () => ({ process: (record) => ({ ...record, body: record.body.toUpperCase() }) }),
        });`,
    });
    await using gateway = tailgate(directory);
    const [, url] = await gateway.untilStderr(LISTENING);
    expect(await postMessages(url!, ["hello"])).toBe(200);
    await gateway.untilStderr(/ - tailgate\.exporter\.mine - INFO - got HELLO$/m);
  });

  test("rejects an unknown option with a suggestion", async () => {
    const directory = await directoryWith({
      "tailgate.yaml": configuration("exporters: { sample: { fil: lines.txt } }"),
    });
    await using gateway = tailgate(directory);
    expect(await gateway.ended).toBe(78);
    expect(gateway.stderr).toContain('exporters.sample.fil: unknown key; did you mean "file"?');
  });
});

/** Starts a gateway with an exporter `mine` of that source; returns its exit code and output. */
async function failedStart(source: string): Promise<{ end: number | string; stderr: string }> {
  const directory = await directoryWith({
    "tailgate.yaml": configuration("exporters: { mine: { use: ./mine.js } }"),
    "mine.js": source,
  });
  await using gateway = tailgate(directory);
  const end = await gateway.ended;
  return { end, stderr: gateway.stderr.replaceAll(`${directory}/`, "") };
}

describe("plugins that fail at startup end it with a clear error", () => {
  test("built for another version of the interface", async () => {
    expect(await failedStart(exporter("apiVersion: 2,"))).toEqual({
      end: 78,
      stderr:
        "tailgate: PLUGIN_API_MISMATCH: exporters.mine: the plugin mine.js uses version 2 of the plugin interface, but this Tailgate has version 1. Install compatible versions of the plugin and tailgate.\n",
    });
  });

  test("throws on import", async () => {
    expect(await failedStart('throw new Error("no licence");')).toEqual({
      end: 78,
      stderr:
        "tailgate: PLUGIN_INVALID: exporters.mine: the plugin mine.js cannot be used: its import failed: no licence. The default export of a plugin file must be created by defineReceiver, defineProcessor or defineExporter from tailgate/plugin.\n",
    });
  });

  test("throws on open", async () => {
    const source = exporter('open() { throw new Error("no such queue"); },');
    expect(await failedStart(source)).toEqual({
      end: 1,
      stderr:
        "tailgate: PLUGIN_OPEN_FAILED: The exporter mine could not be opened: no such queue. Check the reason and the plugin's options in the configuration.\n",
    });
  });

  test("is not installed", async () => {
    const directory = await directoryWith({
      "tailgate.yaml": configuration("exporters: { simple: {} }"),
    });
    await using gateway = tailgate(directory);
    expect(await gateway.ended).toBe(78);
    expect(gateway.stderr).toMatch(
      /^tailgate: PLUGIN_NOT_FOUND: exporters\.simple: .*the package tailgate-plugin-simple is not installed/,
    );
  });
});

interface Component {
  readonly id: string;
  readonly trouble: string | null;
  readonly [counter: string]: unknown;
}

async function component(url: string, id: string): Promise<Component> {
  const response = await fetch(`${url}/api/stats`);
  const { components } = (await response.json()) as { components: Component[] };
  return components.find((one) => one.id === id)!;
}

describe("plugins that fail at run time are counted and isolated", () => {
  test("throws at write: its records are retried until accepted", async () => {
    const directory = await directoryWith({
      "tailgate.yaml": configuration("exporters: { mine: { use: ./mine.js }, file: {} }"),
      "mine.js": exporter(`
        open: (options, { log }) => {
          let calls = 0;
          return {
            write(batch) {
              if (++calls <= 2) throw new Error("the queue is away");
              log.info("took " + batch.envelope(0).data.message);
            },
          };
        },`),
    });
    await using gateway = tailgate(directory);
    const [, url] = await gateway.untilStderr(LISTENING);
    expect(await postMessages(url!, ["hello"])).toBe(200);
    expect(await loggedMessages(directory, 1)).toEqual(["hello"]);
    await gateway.untilStderr(
      / - WARNING - A write failed and will be retried; .*the queue is away/,
    );
    await gateway.untilStderr(/took hello/);
    await expect
      .poll(() => component(url!, "mine"), { timeout: 5_000 })
      .toMatchObject({ received: 1, sent: 1, failed: 2, dropped: {}, trouble: null });
    expect(await gateway.end()).toBe(0);
  });

  test("rejects permanently: the records are dropped and counted", async () => {
    const directory = await directoryWith({
      "tailgate.yaml": configuration("exporters: { mine: { use: ./mine.js }, file: {} }"),
      "mine.js": `import { PermanentError } from "tailgate/plugin";
        ${exporter('open: () => ({ write() { throw new PermanentError("too long"); } }),')}`,
    });
    await using gateway = tailgate(directory);
    const [, url] = await gateway.untilStderr(LISTENING);
    expect(await postMessages(url!, ["one", "two"])).toBe(200);
    expect(await loggedMessages(directory, 2)).toEqual(["one", "two"]);
    await gateway.untilStderr(/ - ERROR - 2 records from sequence 1 on were dropped: too long$/m);
    await expect
      .poll(() => component(url!, "mine"))
      .toMatchObject({ received: 2, sent: 0, failed: 2, dropped: { refused: 2 } });
  });

  test("hangs at write: other exporters continue, the error is shown, and stop is not delayed", async () => {
    const directory = await directoryWith({
      "tailgate.yaml": configuration(
        "exporters: { mine: { use: ./mine.js, timeout_seconds: 0.1 }, file: {} }",
      ),
      "mine.js": exporter("open: () => ({ write: () => new Promise(() => {}) }),"),
    });
    await using gateway = tailgate(directory);
    const [, url] = await gateway.untilStderr(LISTENING);
    for (const message of ["one", "two", "three"]) {
      expect(await postMessages(url!, [message])).toBe(200);
    }
    expect(await loggedMessages(directory, 3)).toEqual(["one", "two", "three"]);
    await gateway.untilStderr(
      / - tailgate\.exporter\.mine - WARNING - A write did not complete within 100 ms/,
    );
    expect((await component(url!, "mine")).trouble).toContain("did not complete within 100 ms");
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    expect(await gateway.end()).toBe(0);
    expect(gateway.stderr).toMatch(
      / - tailgate\.exporter\.mine - WARNING - 3 records could not be written before the shutdown; the journal/,
    );
  });
});
