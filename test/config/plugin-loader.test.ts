import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { resolveConfig, type Config } from "tailgate";
import { describeOptions } from "../../src/config/option-schema.ts";
import { runCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";

/** The source of a plugin with some of its members replaced; `undefined` leaves one out. */
function plugin(members: Readonly<Record<string, string>> = {}): string {
  const all = {
    kind: '"exporter"',
    apiVersion: "1",
    name: '"sample"',
    description: '"A sample."',
    options: 'z.object({ text: z.string().default("hello").describe("What to say.") })',
    open: "() => ({ write() {} })",
    ...members,
  };
  const entries = Object.entries(all).filter(([, source]) => source !== "undefined");
  const body = entries.map(([key, source]) => `  ${key}: ${source},`).join("\n");
  return `import { z } from "zod";\nexport default {\n${body}\n};\n`;
}

async function workspaceWith(files: Readonly<Record<string, string>>): Promise<Workspace> {
  const workspace = await Workspace.create(files);
  await workspace.install("zod");
  return workspace;
}

function packageFiles(name: string, source: string): Record<string, string> {
  const manifest = { name, version: "1.0.0", type: "module", exports: "./index.js" };
  return {
    [`node_modules/${name}/package.json`]: JSON.stringify(manifest),
    [`node_modules/${name}/index.js`]: source,
  };
}

function resolved(workspace: Workspace, exporters: string): Promise<Config> {
  const text = `receivers: {}\nexporters: ${exporters}`;
  return resolveConfig({ text, env: {}, flags: {}, cwd: workspace.directory });
}

async function errorOf(workspace: Workspace, exporters: string): Promise<[string, string]> {
  const error = await resolved(workspace, exporters).then(
    () => Promise.reject(new Error("the plugin was accepted")),
    (thrown: { code: string; message: string }) => thrown,
  );
  return [error.code, error.message];
}

describe("a plugin is resolved", () => {
  test("by its path, relative to the configuration file", async () => {
    await using workspace = await workspaceWith({
      "etc/plugins/mine.mjs": plugin(),
      "etc/tailgate.yaml": "exporters: { mine: { use: ./plugins/mine.mjs, text: hi } }",
    });
    const config = await resolveConfig({
      file: "etc/tailgate.yaml",
      env: {},
      flags: {},
      cwd: workspace.directory,
      base: "embedded",
    });
    expect(config.exporters).toMatchObject([
      {
        id: "mine",
        use: "./plugins/mine.mjs",
        options: { text: "hi" },
        definition: { name: "sample" },
      },
    ]);
  });

  test("by its absolute path, and as TypeScript", async () => {
    await using workspace = await workspaceWith({
      "mine.ts": plugin({ open: "(options: object) => options" }),
    });
    const { exporters } = await resolved(
      workspace,
      `{ mine: { use: ${workspace.path("mine.ts")} } }`,
    );
    expect(exporters[0]?.definition.name).toBe("sample");
  });

  test("as the npm package tailgate-plugin-<type>, once for several components", async () => {
    await using workspace = await workspaceWith(packageFiles("tailgate-plugin-sample", plugin()));
    const { exporters } = await resolved(workspace, "{ sample: , sample/b: { text: b } }");
    expect(exporters.map(({ id, options }) => [id, options["text"]])).toEqual([
      ["sample", "hello"],
      ["sample/b", "b"],
    ]);
    expect(exporters[0]?.definition).toBe(exporters[1]?.definition);
  });

  test("from JavaScript only if it is a package, and the error says so", async () => {
    await using workspace = await workspaceWith({
      "node_modules/acme/package.json": '{ "type": "module", "exports": "./index.ts" }',
      "node_modules/acme/index.ts": plugin(),
      "tailgate.yaml": "exporters: { mine: { use: acme } }",
    });
    const validation = await runCli(["validate"], { cwd: workspace.directory });
    expect(validation.stderr).toMatch(
      /PLUGIN_INVALID: .*; a package must contain JavaScript: compile it before publishing\./,
    );
  });

  test("by the name of any package, also to replace a built-in", async () => {
    await using workspace = await workspaceWith(packageFiles("@acme/console", plugin()));
    const { exporters } = await resolved(workspace, '{ console: { use: "@acme/console" } }');
    expect(exporters[0]?.definition.name).toBe("sample");
  });
});

describe("a missing plugin", () => {
  test("is reported with a suggestion and the built-in names", async () => {
    await using workspace = await Workspace.create();
    const [code, message] = await errorOf(workspace, "{ consol: }");
    expect(code).toBe("PLUGIN_NOT_FOUND");
    expect(message).toBe(
      'exporters.consol: there is no exporter "consol"; did you mean "console"? ' +
        "Built-in exporters: websocket, file, audit-file, console, otlp, spans, webhook; the package tailgate-plugin-consol " +
        `is not installed (searched from ${workspace.directory}). ` +
        "Install it (`npm install tailgate-plugin-<name>`) or set its path with `use: ./mine.js`.",
    );
  });

  test("is reported with its section if it is built in as another kind", async () => {
    await using workspace = await Workspace.create();
    const sources = {
      text: "processors: { console: }",
      env: {},
      flags: {},
      cwd: workspace.directory,
    };
    await expect(resolveConfig(sources)).rejects.toMatchObject({
      code: "PLUGIN_NOT_FOUND",
      message: expect.stringContaining(
        'processors.console: there is no processor "console"; an exporter of that name belongs under exporters.',
      ),
    });
  });

  test("is reported with its file or package", async () => {
    await using workspace = await Workspace.create();
    expect(await errorOf(workspace, "{ x: { use: ./gone.js } }")).toEqual([
      "PLUGIN_NOT_FOUND",
      expect.stringContaining(
        `exporters.x: the file ${workspace.path("gone.js")} does not exist (use: ./gone.js).`,
      ),
    ]);
    expect(await errorOf(workspace, "{ x: { use: acme } }")).toEqual([
      "PLUGIN_NOT_FOUND",
      expect.stringContaining("exporters.x: the package acme is not installed (searched from"),
    ]);
    expect(await errorOf(workspace, "{ x: { use: 'node:fs' } }")).toEqual([
      "PLUGIN_NOT_FOUND",
      expect.stringContaining("exporters.x: the package node:fs is not installed"),
    ]);
  });
});

describe("an invalid plugin", () => {
  test.each([
    ["export const other = 1;", "its default export is missing"],
    ["export default () => {};", "its default export is a function"],
    ["export default null;", "its default export is null"],
    [
      "export default { write() {} };",
      "its default export has the members write, and no apiVersion",
    ],
    [plugin({ apiVersion: '"1"' }), 'its apiVersion is "1"'],
    [plugin({ name: '"My Plugin"' }), 'its name is "My Plugin", and must match ^[a-z][a-z0-9-]*$'],
    [plugin({ name: "undefined" }), "its name is undefined, and must match"],
    [plugin({ description: "undefined" }), "its description is missing"],
    [plugin({ open: "undefined" }), "its open is missing"],
    [plugin({ owns: '"lines.txt"' }), "its owns is a string"],
    [plugin({ type: '"audit"' }), 'its type is "audit", and must be system_log or audit_log'],
    [plugin({ options: "undefined" }), "its options are missing, but must be a z.object of zod 4"],
    [
      plugin({ options: "{ type: 'object' }" }),
      "its options are an object, but must be a z.object of zod 4",
    ],
    [
      plugin({ options: "z.object({})" }).replace('"zod"', '"zod/v3"'),
      "its options are a schema of zod 3, but must be a z.object of zod 4; import z from tailgate/plugin",
    ],
    [plugin({ options: "z.string()" }), "its options are not a z.object"],
    [
      plugin({ options: "z.object({ level: z.string().optional() })" }),
      'its option "level" is reserved for the gateway',
    ],
    [plugin({ kind: '"processor"' }), "it is a processor and belongs under processors"],
    [plugin({ kind: '"sink"' }), 'its kind is "sink"'],
    ["throw new Error('no database');", "its import failed: no database"],
    ["throw undefined;", "its import failed: undefined"],
    ["export default {", "its import failed: "],
    ['import "./not-there.mjs";', "its import failed: "],
  ])("%j", async (source, why) => {
    await using workspace = await workspaceWith({ "bad.mjs": source });
    const [code, message] = await errorOf(workspace, "{ x: { use: ./bad.mjs } }");
    expect(code).toBe("PLUGIN_INVALID");
    expect(message).toContain(
      `exporters.x: the plugin ${workspace.path("bad.mjs")} cannot be used: ${why}`,
    );
    expect(message).toMatch(
      / The default export of a plugin file must be created by defineReceiver, /,
    );
  });

  test("reports two files under one name, or that it cannot tell which it writes", async () => {
    await using workspace = await workspaceWith({
      "mine.mjs": plugin({ owns: "({ text }) => [text]" }),
      "bad.mjs": plugin({ owns: '() => { throw new Error("no idea"); }' }),
    });
    const twice = "{ a: { use: ./mine.mjs, text: lines.txt }, file: { path: lines.txt } }";
    expect(await errorOf(workspace, twice)).toEqual([
      "CONFIG_INVALID",
      expect.stringContaining(
        "exporters.file: it would write lines.txt in the log directory, as exporters.a does\n",
      ),
    ]);
    expect(await errorOf(workspace, "{ x: { use: ./bad.mjs } }")).toEqual([
      "CONFIG_INVALID",
      expect.stringContaining(
        "exporters.x: the plugin cannot say which files it writes: no idea\n",
      ),
    ]);
  });

  test.each([
    ["file: { path: audit }", "file", "audit", "the audit trail"],
    ["file: { path: quarantine }", "file", "quarantine", "the exporter otlp with rejected records"],
    ["file/b: { path: journal.db }", "file/b", "journal.db", "the journal"],
    [
      "mine: { use: ./mine.mjs, text: audit/mine.txt }",
      "mine",
      "audit/mine.txt",
      "the audit trail",
    ],
    ["mine: { use: ./mine.mjs, text: ./journal.x }", "mine", "./journal.x", "the journal"],
  ])("is rejected if the gateway itself writes: %s", async (exporters, id, name, owner) => {
    await using workspace = await workspaceWith({
      "mine.mjs": plugin({ owns: "({ text }) => [text]" }),
    });
    const text = `exporters.${id}: it would write ${name} in the log directory, as ${owner} does\n`;
    expect(await errorOf(workspace, `{ ${exporters} }`)).toEqual([
      "CONFIG_INVALID",
      expect.stringContaining(text),
    ]);
  });

  test.each([".", ".."])("file: { path: %j } is no file name", async (path) => {
    await using workspace = await Workspace.create();
    expect(await errorOf(workspace, `{ file: { path: "${path}" } }`)).toEqual([
      "CONFIG_INVALID",
      expect.stringContaining("exporters.file.path: a plain file name of at most 64 letters"),
    ]);
  });

  test("may have an option that only exporters get from the gateway", async () => {
    const options = "z.object({ timeout_seconds: z.number().default(3) })";
    const source = plugin({ kind: '"receiver"', options });
    await using workspace = await workspaceWith({ "mine.mjs": source });
    const text = "receivers: { x: { use: ./mine.mjs } }";
    const sources = { text, env: {}, flags: {}, cwd: workspace.directory };
    expect((await resolveConfig(sources)).receivers[0]?.options).toEqual({ timeout_seconds: 3 });
  });

  test("reports both versions of the interface", async () => {
    await using workspace = await workspaceWith({
      "new.mjs": plugin({ apiVersion: "2", open: "undefined" }),
    });
    const [code, message] = await errorOf(workspace, "{ x: { use: ./new.mjs } }");
    expect(code).toBe("PLUGIN_API_MISMATCH");
    expect(message).toContain(
      "new.mjs uses version 2 of the plugin interface, but this Tailgate has version 1.",
    );
  });

  test("is one line of several errors", async () => {
    await using workspace = await workspaceWith({ "bad.mjs": "throw new Error('no database');" });
    const [code, message] = await errorOf(
      workspace,
      "{ x: { use: ./bad.mjs }, console: { colr: 1 } }",
    );
    expect(code).toBe("CONFIG_INVALID");
    expect(message.split("\n").map((line) => line.split(":")[0])).toEqual([
      "The configuration has 2 problems",
      "  exporters.x",
      "  exporters.console.colr",
      "Fix the keys listed above; `tailgate validate` checks a file without starting the gateway.",
    ]);
  });
});

describe("a plugin's options", () => {
  test("reject unknown keys at every depth, although the schema would drop them", async () => {
    const options = `z.object({
      deep: z.object({ known: z.string().optional() }).optional(),
      list: z.array(z.object({ name: z.string() })).default([]),
      headers: z.record(z.string(), z.string()).default({}),
      loose: z.looseObject({}).default({}),
    })`;
    await using workspace = await workspaceWith({ "mine.mjs": plugin({ options }) });
    const given =
      "deep: { knwon: a }, list: [{ name: a }, { nam: b }], headers: { X-Any: a }, loose: { any: 1 }";
    const [, message] = await errorOf(workspace, `{ x: { use: ./mine.mjs, ${given}, dep: 1 } }`);
    expect(message.split("\n").slice(1, -1)).toEqual([
      '  exporters.x.deep.knwon: unknown key; did you mean "known"?',
      '  exporters.x.list[1].nam: unknown key; did you mean "name"?',
      '  exporters.x.dep: unknown key; did you mean "deep"?',
      "  exporters.x.list[1].name: expected text; it is missing",
    ]);
  });

  test("prefer the author's error text to the gateway's", async () => {
    const options = `z.object({
      topic: z.string().min(3, "Give the topic that the broker knows."),
      count: z.number().refine((count) => count % 2 === 0, "has to be even").default(2),
    })`;
    await using workspace = await workspaceWith({ "mine.mjs": plugin({ options }) });
    const [, message] = await errorOf(workspace, "{ x: { use: ./mine.mjs, topic: a, count: 3 } }");
    expect(message.split("\n").slice(1, -1)).toEqual([
      '  exporters.x.topic: Give the topic that the broker knows; found "a"',
      "  exporters.x.count: has to be even; found 3",
    ]);
  });

  test("name a missing required option", async () => {
    await using workspace = await workspaceWith({
      "mine.mjs": plugin({ options: "z.object({ url: z.url() })" }),
    });
    const [, message] = await errorOf(workspace, "{ x: { use: ./mine.mjs } }");
    expect(message).toContain("exporters.x.url: expected URL; it is missing");
  });

  test("may be checked asynchronously and transformed", async () => {
    const options =
      'z.object({ hosts: z.string().refine(async () => true).transform((text) => text.split(",")).prefault("a,b") })';
    await using workspace = await workspaceWith({ "mine.mjs": plugin({ options }) });
    const { exporters } = await resolved(workspace, "{ x: { use: ./mine.mjs } }");
    expect(exporters[0]?.options).toEqual({ hosts: ["a", "b"] });
  });
});

/** Copies the installed zod into the workspace, modified so that its schemas are only in its own registry. */
async function installOtherZod(workspace: Workspace): Promise<void> {
  const from = fileURLToPath(new URL("../../node_modules/zod", import.meta.url));
  const to = workspace.path("node_modules/zod");
  const isNeeded = (path: string): boolean => !/\.(ts|cts|cjs)$|\/(v3|src)$/.test(path);
  await cp(from, to, { recursive: true, filter: isNeeded });
  const registries = join(to, "v4/core/registries.js");
  const text = await readFile(registries, "utf8");
  await writeFile(registries, text.replaceAll("__zod_globalRegistry", "__zod_otherRegistry"));
}

describe("zod", () => {
  test("of a plugin works, with its texts, descriptions and defaults", async () => {
    await using workspace = await Workspace.create({
      "mine.mjs": plugin({
        options:
          'z.object({ text: z.string().min(3, "Say more.").default("hi!").describe("What.") })',
      }),
      "mini.mjs":
        'import * as z from "zod/mini"; const text = z._default(z.string(), "hi!");' +
        'export default { kind: "exporter", apiVersion: 1, name: "mini", description: "Mini.",' +
        " options: z.object({ text }), open: () => ({ write() {} }) };",
    });
    await installOtherZod(workspace);
    const { exporters } = await resolved(
      workspace,
      "{ x: { use: ./mine.mjs }, mini: { use: ./mini.mjs } }",
    );
    expect(exporters.map(({ options }) => options)).toEqual([{ text: "hi!" }, { text: "hi!" }]);
    expect(describeOptions(exporters[0]!.definition.options)).toMatchObject([
      { key: "text", default: "hi!", description: "What." },
    ]);
    const [, message] = await errorOf(
      workspace,
      "{ x: { use: ./mine.mjs, text: a }, mini: { use: ./mini.mjs, text: 1, txt: 1 } }",
    );
    expect(message.split("\n").slice(1, -1)).toEqual([
      '  exporters.x.text: Say more; found "a"',
      '  exporters.mini.txt: unknown key; did you mean "text"?',
      "  exporters.mini.text: expected text; found 1",
    ]);
  });

  test("that is not installed is reported with how to get it", async () => {
    await using workspace = await Workspace.create({
      "mine.mjs": plugin(),
      "tailgate.yaml": "exporters: { x: { use: ./mine.mjs } }",
    });
    const validation = await runCli(["validate"], { cwd: workspace.directory });
    expect(validation.stderr).toContain("PLUGIN_INVALID");
    expect(validation.stderr).toContain("; import z from tailgate/plugin.");
  });

  test("of tailgate/plugin is the gateway's, without a second copy", async () => {
    const source = `
      import { registerHooks } from "node:module";
      const urls = [];
      registerHooks({ load(url, context, next) { urls.push(url); return next(url, context); } });
      const { defineExporter, z } = await import("tailgate/plugin");
      export default defineExporter({
        name: "loading",
        description: "Tells what was loaded.",
        options: z.object({ urls: z.array(z.string()).default([...urls]).describe("Modules.") }),
        open: () => ({ write() {} }),
      });`;
    for (const name of [undefined, "tailgate"]) {
      await using workspace = await Workspace.create({
        "mine.mjs": source,
        "tailgate.yaml": "{ receivers: {}, exporters: { loading: { use: ./mine.mjs } } }",
      });
      if (name !== undefined) await workspace.install(name);
      const listing = await runCli(["plugins", "--json"], { cwd: workspace.directory });
      expect([await listing.ended, listing.stderr]).toEqual([0, ""]);
      const plugins = JSON.parse(listing.stdout) as { name: string; options: unknown }[];
      const { options } = plugins.find((one) => one.name === "loading")!;
      expect(options).toMatchObject([{ key: "urls", default: ["tailgate:plugin"] }]);
    }
  });

  test("of another tailgate next to the plugin stays separate", async () => {
    const own = { name: "tailgate", version: "0.0.1", exports: { "./plugin": "./plugin.mjs" } };
    await using workspace = await workspaceWith({
      "node_modules/tailgate/package.json": JSON.stringify(own),
      "node_modules/tailgate/plugin.mjs": 'export { z } from "zod"; export const API_VERSION = 9;',
      "mine.mjs": plugin({ apiVersion: "API_VERSION" }).replace(
        '"zod";',
        '"zod"; import { API_VERSION } from "tailgate/plugin";',
      ),
    });
    await workspace.write("tailgate.yaml", "exporters: { x: { use: ./mine.mjs } }");
    const validation = await runCli(["validate"], { cwd: workspace.directory });
    expect(validation.stderr).toContain("PLUGIN_API_MISMATCH");
  });
});
