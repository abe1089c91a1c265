/** Programs bundled by esbuild with Tailgate included, and run elsewhere. */

import { build, type BuildOptions } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { Program } from "../harness/program.ts";

const LOAD = {
  "app.mjs": `
    import { logs } from "@opentelemetry/api";
    import { LoggingManager } from "tailgate";`,
  "app.cjs": `
    const { logs } = require("@opentelemetry/api");
    const { LoggingManager } = require("tailgate");`,
};

/** Uses what a bundle may lack: the worker thread, the dashboard, plugins, YAML, and the program's own API. */
const BODY = `
  const early = logs.getLogger("early");

  async function main() {
    const options = { port: 0, logDir: "logs-" + process.argv[2], config: "tailgate.yaml" };
    const logging = await LoggingManager.start(options);
    early.emit({ body: "early" });
    const { hash } = await logging.audit({ eventType: "started" });
    const page = await (await fetch(logging.url)).text();
    const { records } = await (await fetch(logging.url + "/api/logs?logger=early")).json();
    console.log(JSON.stringify([hash.length, page.includes("<script"), records.length]));
    await logging.stop();
  }

  main().catch(({ code, message }) => console.log(JSON.stringify([code, message])));
`;

const CONFIG = `
exporters:
  websocket: {}
  file: { max_bytes: "\${env:MAX_BYTES:-1000000}" }
`;

/** CommonJS packages call `require`, which ES modules do not have. */
const REQUIRE = {
  js: "import { createRequire } from 'module'; const require = createRequire(import.meta.url);",
};

const EXTERNAL = ["tailgate", "@opentelemetry/api"];

let project: Workspace;
/** A directory that contains only the bundles. */
let elsewhere: Workspace;

beforeAll(async () => {
  project = await Workspace.create({
    "app.mjs": LOAD["app.mjs"] + BODY,
    "app.cjs": LOAD["app.cjs"] + BODY,
    "run/tailgate.yaml": CONFIG,
    "node_modules/@opentelemetry/.keep": "",
  });
  elsewhere = await Workspace.create({ "tailgate.yaml": CONFIG });
  await project.install("tailgate");
  await project.install("@opentelemetry/api");
});

afterAll(async () => {
  await project[Symbol.asyncDispose]();
  await elsewhere[Symbol.asyncDispose]();
});

/** Bundles one of the programs into a file. */
async function bundle(entry: keyof typeof LOAD, outfile: string, options: BuildOptions) {
  await build({
    entryPoints: [project.path(entry)],
    outfile,
    bundle: true,
    platform: "node",
    logLevel: "error",
    ...options,
  });
}

/** Runs a program, and returns its result: success, or an error's code and message. */
async function run(path: string, cwd: string): Promise<[unknown, unknown, unknown?]> {
  await using program = new Program(process.execPath, [path, path.replaceAll(/\\W/g, "-")], {
    cwd,
  });
  expect([await program.ended, program.stderr]).toEqual([0, expect.anything()]);
  return JSON.parse(program.stdout) as [unknown, unknown];
}

const WORKS = [64, true, 1];

test.each<[string, keyof typeof LOAD, BuildOptions]>([
  ["an ES module", "app.mjs", { format: "esm", banner: REQUIRE }],
  ["CommonJS", "app.cjs", { format: "cjs" }],
  ["CommonJS, Tailgate external", "app.cjs", { format: "cjs", external: EXTERNAL }],
])("a bundle that is %s works if Tailgate is installed", async (_, entry, options) => {
  const name = `${options.external ? "external" : "whole"}-${entry}`;
  await bundle(entry, project.path(`out/${name}`), options);
  expect(await run(`../out/${name}`, project.path("run"))).toEqual(WORKS);
});

test.each<[string, keyof typeof LOAD, BuildOptions]>([
  ["Tailgate is not installed", "app.cjs", { format: "cjs" }],
  ["an ES module has no require", "app.mjs", { format: "esm" }],
])("if %s, startup reports what to mark as external", async (_, entry, options) => {
  const isInstalled = options.format === "esm";
  const place = isInstalled ? project : elsewhere;
  await bundle(entry, place.path(`alone/${entry}`), options);
  const cwd = isInstalled ? project.path("run") : elsewhere.directory;
  const [code, message] = await run(place.path(`alone/${entry}`), cwd);
  expect(code).toBe("PACKAGE_INCOMPLETE");
  expect(message).toContain("--external:tailgate");
});
