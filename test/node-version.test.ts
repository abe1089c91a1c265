import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { NODE_RANGE, unsupportedNodeError } from "../src/runtime/node-version.ts";
import { Program } from "./harness/program.ts";

const manifest = await readFile(new URL("../package.json", import.meta.url), "utf8");
const { engines } = JSON.parse(manifest) as { engines: { node: string } };

test("the supported range equals that of package.json", () => {
  expect(NODE_RANGE).toBe(engines.node);
});

test.each([
  ["v16.20.2", false],
  ["v20.19.5", false],
  ["v22.17.9", false],
  ["v22.18.0", true],
  ["v22.18.1", true],
  ["v22.19.0", true],
  ["v23.11.0", false],
  ["v24.10.9", false],
  ["v24.11.0", true],
  ["v25.2.0", false],
  ["v26.0.0", true],
  ["v100.0.0", true],
  ["v27.0.0-nightly20260101a1b2c3d4e5", true],
])("package.json's range for Node %s: %s", (version, isTaken) => {
  expect(unsupportedNodeError(version, engines.node) === undefined).toBe(isTaken);
});

/** Runs the command as if on another Node version, without the features that version lacks. */
async function run(version: string): Promise<Program> {
  const code = `
    Object.defineProperty(process, "version", { value: "${version}" });
    if ("${version}" === "v20.19.5") delete Promise.withResolvers;`;
  const args = ["--import", `data:text/javascript,${encodeURIComponent(code)}`, MAIN, "--version"];
  const program = new Program(process.execPath, args, { cwd: "/" });
  await program.ended;
  return program;
}

const MAIN = new URL("../dist/cli/main.js", import.meta.url).pathname;

test("the command prints the required version, and nothing else, on an unsupported Node", async () => {
  const program = await run("v20.19.5");
  expect(await program.ended).toBe(69);
  expect(program.stdout).toBe("");
  expect(program.stderr).toBe(
    `tailgate: NODE_UNSUPPORTED: This is Node v20.19.5, but Tailgate requires ${engines.node}. Run Tailgate with a supported version: \`npm start\` in a clone uses its own Node.js, and \`npm install node@24\` provides one for npm scripts and npx.\n`,
  );
});

test("the command runs on a supported Node", async () => {
  const program = await run("v22.18.0");
  expect(await program.ended).toBe(0);
  expect(program.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});
