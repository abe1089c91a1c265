/** Loggers obtained before the start and before a restart, in separate processes: ES modules and CommonJS. */

import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { Program } from "../harness/program.ts";

const MODULES = fileURLToPath(new URL("../../node_modules/", import.meta.url));

const LOAD = {
  "main.mjs": `
    import { logs } from "@opentelemetry/api";
    import { logs as oldLogs } from "@opentelemetry/api-logs";
    import { LoggingManager } from "tailgate";
    const tailgate = () => LoggingManager;`,
  "main.cjs": `
    const { logs } = require("@opentelemetry/api");
    const { logs: oldLogs } = require("@opentelemetry/api-logs");
    const tailgate = () => require("tailgate").LoggingManager;`,
  "mixed.cjs": `
    const { logs } = require("@opentelemetry/api");
    const { logs: oldLogs } = require("@opentelemetry/api-logs");
    const tailgate = async () => (await import("tailgate")).LoggingManager;`,
} as const;

/** Starts, stops and restarts; stdout has the received records, stderr the gateway's log. */
const BODY = `
  const fs = process.getBuiltinModule("node:fs");
  const loggers = [];
  const take = (when) => {
    loggers.push(logs.getLogger(when + " api"), oldLogs.getLogger(when + " api-logs"));
  };
  const logDir = (logLevel) => process.argv.slice(1).concat(logLevel).join("-");
  const emit = (body) => loggers.forEach((logger) => logger.emit({ body }));

  async function start(logLevel) {
    const LoggingManager = await tailgate();
    return LoggingManager.start({
      port: 0,
      logDir: logDir(logLevel),
      exporters: { file: {} },
      journal: { engine: "memory" },
      loggerProvider: process.argv[2],
      logLevel,
    });
  }

  async function arrived(manager, logLevel) {
    await manager.stop();
    const lines = fs.readFileSync(logDir(logLevel) + "/orchestrator.log", "utf8").split("\\n").slice(0, -1);
    console.log(JSON.stringify(lines.map((line) => JSON.parse(line)).map((data) => data.logger + ": " + data.message)));
  }

  async function main() {
    take("before");
    emit("nobody");
    const first = await start("info");
    take("during");
    loggers.push(first.provider.getLogger("provider"));
    const own = first.getLogger("manager");
    loggers.push({ emit: ({ body }) => own.info(body) });
    emit("first");
    own.debug("filtered");
    await arrived(first, "info");
    emit("lost");
    take("between");
    emit("nobody");
    const second = await start("debug");
    emit("second");
    own.debug("not filtered");
    await arrived(second, "debug");
  }

  main();
`;

const FIRST = [
  "before api",
  "before api-logs",
  "during api",
  "during api-logs",
  "provider",
  "manager",
];
const SECOND = [...FIRST, "between api", "between api-logs"];

let workspace: Workspace;

beforeAll(async () => {
  const mains = Object.entries(LOAD).map(([name, load]) => [name, load + BODY]);
  workspace = await Workspace.create({
    ...Object.fromEntries(mains),
    "node_modules/@opentelemetry/.keep": "",
  });
  for (const name of ["tailgate", "@opentelemetry/api", "@opentelemetry/api-logs"]) {
    await workspace.install(name);
  }
});

afterAll(() => workspace[Symbol.asyncDispose]());

async function run(
  main: string,
  cwd: string,
  args: readonly string[] = [],
): Promise<{ arrived: string[][]; stderr: string }> {
  await using program = new Program(process.execPath, [main, ...args], { cwd });
  expect([await program.ended, program.stderr]).toEqual([0, expect.anything()]);
  const lines = program.stdout.split("\n").slice(0, -1);
  return { arrived: lines.map((line) => JSON.parse(line) as string[]), stderr: program.stderr };
}

describe.each([
  ["main.mjs", "sdk"],
  ["main.cjs", "sdk"],
  ["mixed.cjs", "direct"],
] as const)("loggers in %s, with the provider %s", (main, provider) => {
  it("deliver whenever they were obtained, and unreceived records are reported", async () => {
    const { arrived, stderr } = await run(main, workspace.directory, [provider]);
    const [first, second] = arrived;
    expect(first).toEqual(FIRST.map((logger) => `${logger}: first`));
    expect(second).toEqual([
      ...SECOND.map((logger) => `${logger}: second`),
      "manager: not filtered",
    ]);
    expect(stderr.match(/^.*( - WARNING - | - ERROR - ).*$/gm)).toEqual([
      expect.stringMatching(
        /WARNING - 12 records were logged after the previous gateway had stopped/,
      ),
    ]);
  });
});

/** Copies the API as a second installation of it, optionally with another version. */
async function installCopy(directory: string, version: string): Promise<void> {
  const api = join(directory, "node_modules/@opentelemetry/api");
  await cp(join(MODULES, "@opentelemetry/api"), api, { recursive: true });
  for (const name of ["version", "internal/global-utils"]) {
    for (const type of ["cjs", "mjs"]) {
      const path = join(api, `dist/${name}.${type}`);
      await writeFile(path, (await readFile(path, "utf8")).replaceAll("1.10.0", version));
    }
  }
}

it.each([
  ["1.10.0", "main.cjs"],
  ["1.11.3", "main.mjs"],
] as const)(
  "with the program's own copy of the API, %s, all loggers of %s deliver",
  async (version, main) => {
    await using project = await Workspace.create({
      [main]: LOAD[main] + BODY,
      "node_modules/@opentelemetry/.keep": "",
    });
    await installCopy(project.directory, version);
    for (const name of ["tailgate", "@opentelemetry/api-logs"]) await project.install(name);
    const { arrived, stderr } = await run(main, project.directory);
    expect(arrived[0]).toEqual(FIRST.map((logger) => `${logger}: first`));
    expect(arrived[1]).toHaveLength(SECOND.length + 1);
    expect(stderr).not.toContain("ERROR");
  },
);

it.each([
  ["1.9.9", " that was called before the start", ["late"]],
  ["1.11.3", "", []],
])("reports what a library's copy %s does not deliver", async (version, what, arrives) => {
  await using project = await Workspace.create({
    "main.cjs": `
      const { logs } = require("./library");
      const early = logs.getLogger("early");
      const { LoggingManager } = require("tailgate");
      LoggingManager.start({ port: 0, logDir: "logs", exporters: { file: {} } }).then((manager) => {
        for (const logger of [early, logs.getLogger("late")]) logger.emit({ body: "" });
        return manager.stop();
      });`,
    "library/index.js": 'module.exports = require("@opentelemetry/api");',
  });
  await installCopy(project.path("library"), version);
  await project.install("tailgate");
  await using program = new Program(process.execPath, ["main.cjs"], { cwd: project.directory });
  expect(await program.ended).toBe(0);
  const path = project.path("library/node_modules/@opentelemetry/api/dist/index.cjs");
  const told = program.stderr.match(/(?<= - ERROR - ).*$/gm);
  expect(told).toEqual([
    expect.stringContaining(`Records from logs.getLogger() of ${path}${what} do not arrive`),
  ]);
  const lines = (await readFile(project.path("logs/orchestrator.log"), "utf8")).split("\n");
  const loggers = lines.slice(0, -1).map((line) => (JSON.parse(line) as { logger: string }).logger);
  expect(loggers).toEqual(arrives);
});
