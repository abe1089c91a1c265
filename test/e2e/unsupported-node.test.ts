/** What the library reports on an unsupported Node, however it is loaded. */

import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unsupportedNodeError } from "../../src/runtime/node-version.ts";
import { Workspace } from "../harness/workspace.ts";
import { Program } from "../harness/program.ts";

/** They print the thrown error, one line each. */
const REPORT =
  "const report = ({ name, code, message }) => console.log(JSON.stringify({ name, code, message }));";

const FILES = {
  "static.mjs": 'import { LoggingManager } from "tailgate"; console.log(LoggingManager);',
  "import.mjs": `${REPORT}
    await import("tailgate").catch(report);
    await import("tailgate/testing").catch(report);`,
  "require.cjs": `${REPORT}
    try { require("tailgate"); } catch (error) { report(error); }
    import("tailgate").catch(report);`,
};

let workspace: Workspace;

beforeAll(async () => {
  workspace = await Workspace.create(FILES);
  await workspace.install("tailgate");
});

afterAll(() => workspace[Symbol.asyncDispose]());

async function run(node: string, args: readonly string[]): Promise<Program> {
  const program = new Program(node, args, { cwd: workspace.directory });
  await program.ended;
  return program;
}

/** This Node, posing as another version without the features that version lacks. */
const DISGUISED = `data:text/javascript,${encodeURIComponent(`
  Object.defineProperty(process, "version", { value: "v20.19.5" });
  delete Promise.withResolvers;
  delete process.getBuiltinModule;`)}`;

const REJECTION = {
  name: "TailgateError",
  code: "NODE_UNSUPPORTED",
  message: unsupportedNodeError("v20.19.5")!.message,
};

describe("an unsupported Node version is reported", () => {
  it("before anything else, by the thrown error", async () => {
    const program = await run(process.execPath, ["--import", DISGUISED, "static.mjs"]);
    expect(await program.ended).toBe(1);
    expect(program.stderr).toContain(`TailgateError: ${REJECTION.message}`);
    expect(program.stderr).toContain("code: 'NODE_UNSUPPORTED'");
  });

  it.each([
    ["import.mjs", []],
    ["require.cjs", []],
    // As in versions before 20.19 and 22.12.
    ["require.cjs", ["--no-experimental-require-module"]],
  ])("by %s with the options %j", async (file, options) => {
    const program = await run(process.execPath, [...options, "--import", DISGUISED, file]);
    expect(reports(program)).toEqual([REJECTION, REJECTION]);
  });
});

function reports({ stdout }: Program): unknown[] {
  return stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as unknown);
}

/** Another Node of this machine that Tailgate does not support. */
async function unsupportedNode(): Promise<{ path: string; version: string } | undefined> {
  for (const directory of process.env["PATH"]!.split(delimiter)) {
    const path = join(directory, "node");
    const version = await Program.run(path, ["--version"], { cwd: "/" }).catch(() => undefined);
    if (version && unsupportedNodeError(version)) return { path, version: version.trim() };
  }
  return undefined;
}

const other = await unsupportedNode();

it.skipIf(other === undefined)("on the machine's own Node, if it is too old", async () => {
  const rejection = { ...REJECTION, message: unsupportedNodeError(other!.version)!.message };
  expect(reports(await run(other!.path, ["require.cjs"]))).toEqual([rejection, rejection]);
});
