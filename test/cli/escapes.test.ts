/** Nothing that the CLI echoes can control a terminal: arguments, the environment, the configuration. */

import { expect, test } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { runCli } from "../harness/program.ts";

/** CSI as C0 and C1, a window title, a bidi override, and a line separator. */
const HOSTILE = "\x1b[31m\x9b31m\x1b]0;x\x07\u202e\u2028";

const UNPRINTABLE = /[^\P{Cc}\n]|[\u2028\u2029\p{Bidi_Control}]/u;

const ARGUMENTS: readonly (readonly string[])[] = [
  [HOSTILE],
  [`--${HOSTILE}`],
  ["run", "--config", HOSTILE],
  ["run", "--port", HOSTILE],
  ["run", "--host", HOSTILE],
  ["run", "--log-level", HOSTILE],
  ["run", "--log-dir", `/dev/null/${HOSTILE}`],
  ["validate", HOSTILE],
  ["validate", "--config", HOSTILE],
  ["plugins", "--config", HOSTILE],
  ["tail", "--url", HOSTILE],
  ["tail", "--url", `ws://127.0.0.1:1/${HOSTILE}`],
  ["tail", "--since", HOSTILE],
  ["tail", "--replay", HOSTILE],
  ["audit", HOSTILE],
  ["audit", "verify", "--log-dir", HOSTILE],
  ["audit", "verify", "--key", HOSTILE],
  ["audit", "verify", "--checkpoint", HOSTILE],
  ["help", HOSTILE],
];

// Titles by index, because the arguments themselves must not reach a terminal.
test.each(ARGUMENTS.map((args) => [args]))("arguments %#", async (args) => {
  await using workspace = await Workspace.create();
  const { stdout, stderr } = await runCli(args, { cwd: workspace.directory });
  expect(stdout + stderr).not.toMatch(UNPRINTABLE);
});

test("the environment", async () => {
  await using workspace = await Workspace.create();
  for (const name of ["ORCHESTRATOR_PORT", "ORCHESTRATOR_HOST", "LOG_LEVEL", "LOG_DIR"]) {
    const env = { [name]: HOSTILE };
    for (const args of [["validate"], ["tail"]]) {
      const { stdout, stderr } = await runCli(args, { cwd: workspace.directory, env });
      expect(stdout + stderr).not.toMatch(UNPRINTABLE);
    }
  }
});

test("a configuration and its plugins", async () => {
  const text = JSON.stringify(HOSTILE);
  await using workspace = await Workspace.create({
    "tailgate.yaml": `exporters: { mine: { use: ./mine.mjs, ${text}: ${text}, list: [${text}] } }`,
    "mine.mjs": `import { defineExporter, z } from "tailgate/plugin";
      export default defineExporter({
        name: "mine",
        description: ${text},
        options: z.object({
          [${text}]: z.string().default(${text}).describe(${text}),
          list: z.array(z.string()).default([${text}]),
        }),
        open: () => ({ write() {} }),
      });`,
    "unknown.yaml": `${text}: 1\nlog_level: ${text}\nexporters: { ${text}: {} }`,
  });
  await workspace.install("tailgate");
  for (const args of [
    ["validate"],
    ["plugins"],
    ["plugins", "--json"],
    ["validate", "--config", "unknown.yaml"],
  ]) {
    const { stdout, stderr } = await runCli(args, { cwd: workspace.directory });
    expect(stdout + stderr).toContain("31m");
    expect(stdout + stderr).not.toMatch(UNPRINTABLE);
  }
});
