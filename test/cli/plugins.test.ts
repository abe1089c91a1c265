import { builtInNames, KIND_OF, SECTIONS } from "../../src/config/built-ins.ts";
import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { Program, MAIN, runCli } from "../harness/program.ts";

interface Listed {
  readonly kind: string;
  readonly name: string;
  readonly description: string;
  readonly components: readonly string[];
  readonly options: readonly {
    readonly key: string;
    readonly type: string;
    readonly default: unknown;
  }[];
}

describe("tailgate plugins", () => {
  test("lists built-in and configured plugins as JSON", async () => {
    await using workspace = await Workspace.create({
      "tailgate.yaml": `
        exporters: { file/a: , hook: }
        processors: { upper: { use: ./upper.mjs } }`,
      "upper.mjs": `import { defineProcessor, z } from "tailgate/plugin";
        const options = z.object({ fields: z.array(z.string()).default(["message"]).describe("Which ones.") });
        export default defineProcessor({
          name: "upper", description: "Shouts.", options, open: () => ({ process: (record) => record }),
        });`,
      "node_modules/tailgate-plugin-hook/package.json":
        '{ "type": "module", "exports": "./index.js" }',
      "node_modules/tailgate-plugin-hook/index.js": `import { defineExporter, z } from "tailgate/plugin";
        const options = z.object({ url: z.url().describe("Where to.") });
        export default defineExporter({ name: "hook", description: "Calls.", options, open: () => ({ write() {} }) });`,
    });
    await workspace.install("tailgate");
    const failing = await runCli(["plugins", "--json"], { cwd: workspace.directory });
    expect([await failing.ended, failing.stdout]).toEqual([78, ""]);
    expect(failing.stderr).toContain("exporters.hook.url: expected URL; it is missing");

    await workspace.write(
      "tailgate.yaml",
      "exporters: { file/a: , hook: { url: 'https://x' } }\nprocessors: { upper: { use: ./upper.mjs } }",
    );
    const cli = await runCli(["plugins", "--json"], { cwd: workspace.directory });
    expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
    const listed = JSON.parse(cli.stdout) as Listed[];
    const builtIns = SECTIONS.flatMap((section) =>
      builtInNames(section).map((name) => [KIND_OF[section], name]),
    );
    expect(listed.map(({ kind, name }) => [kind, name])).toEqual([
      ...builtIns,
      ["processor", "upper"],
      ["exporter", "hook"],
    ]);
    expect(listed.flatMap(({ components }) => components)).toEqual([
      "receivers.otlp",
      "exporters.file/a",
      "processors.upper",
      "exporters.hook",
    ]);
    expect(listed.at(-2)).toMatchObject({
      description: "Shouts.",
      options: [
        { key: "fields", type: "list of text", default: ["message"], description: "Which ones." },
      ],
    });
    expect(listed.at(-1)?.options).toEqual([
      { key: "url", type: "URL", isRequired: true, description: "Where to." },
    ]);
  });

  test.runIf(existsSync("/dev/full"))("says that its output cannot be written", async () => {
    await using cli = new Program("/bin/sh", ["-c", `exec node ${MAIN} plugins > /dev/full`], {
      cwd: "/",
    });
    expect(await cli.ended).toBe(1);
    expect(cli.stderr).toMatch(/^tailgate: OUTPUT_FAILED: .*ENOSPC.*\n$/);
  });

  test("lists them in readable form", async () => {
    await using workspace = await Workspace.create({ "tailgate.yaml": "exporters: { console: }" });
    const cli = await runCli(["plugins"], { cwd: workspace.directory });
    expect(await cli.ended).toBe(0);
    expect(cli.stdout).toMatch(/^exporter file \(not configured\)\n {2}\S.*\.$/m);
    expect(cli.stdout).toMatch(/^exporter console \(configured as exporters\.console\)$/m);
    expect(cli.stdout).toMatch(/^ {4}backups: integer from 0 to \d+, default 5\n {8}\S.*\.$/m);
  });
});
