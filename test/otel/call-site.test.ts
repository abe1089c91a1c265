import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { captureCallSite, type CallSiteAttributes } from "../../src/otel/call-site.ts";
import { temporaryDirectory } from "../harness/workspace.ts";

const run = promisify(execFile);

const cleanUps: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

class Facade {
  warning(): CallSiteAttributes | undefined {
    return captureCallSite(this.warning);
  }
}

describe("the call site", () => {
  it("is the caller of the method, with its file, function and line", () => {
    const site = (function spawnInstance() {
      return new Facade().warning();
    })();
    expect(site).toMatchObject({
      "code.file.path": expect.stringMatching(/^\/.*call-site\.test\.ts$/),
      "code.function.name": "spawnInstance",
    });
    expect(site!["code.line.number"]).toBeGreaterThan(0);
  });

  it("leaves the process's Error.prepareStackTrace unchanged", () => {
    const { prepareStackTrace, stackTraceLimit } = Error;
    new Facade().warning();
    expect(Error.prepareStackTrace).toBe(prepareStackTrace);
    expect(Error.stackTraceLimit).toBe(stackTraceLimit);
  });

  it("is that of the source if the program was compiled and Node has source maps enabled", async () => {
    const directory = await temporaryDirectory(cleanUps);
    const source = [
      "interface OnlyForTypes { readonly a: string }",
      "type AndAnother = OnlyForTypes;",
      `import { captureCallSite } from ${JSON.stringify(new URL("../../src/otel/call-site.ts", import.meta.url).href)};`,
      "function log(): unknown { return captureCallSite(log); }",
      "export function spawnInstance(given?: AndAnother): void {",
      "  console.log(JSON.stringify([given, log()]));",
      "}",
      "spawnInstance();",
    ];
    await writeFile(join(directory, "app.ts"), source.join("\n"));
    await writeFile(join(directory, "package.json"), '{"type":"module"}');
    await compile(directory);
    const mapped = await siteOf(directory, ["--enable-source-maps"]);
    expect(mapped).toEqual({
      "code.file.path": join(directory, "app.ts"),
      "code.function.name": "spawnInstance",
      "code.line.number": 6,
    });
    const compiled = await siteOf(directory, []);
    expect(compiled["code.file.path"]).toBe(join(directory, "app.js"));
    expect(compiled["code.line.number"]).not.toBe(6);
  });

  /** Compiles with the real compiler, which emits even though it cannot resolve the import's types. */
  async function compile(directory: string): Promise<void> {
    const typescript = dirname(createRequire(import.meta.url).resolve("typescript/package.json"));
    const flags = ["--sourceMap", "--module", "nodenext", "--target", "es2024", "--noCheck"];
    await run(process.execPath, [join(typescript, "bin/tsc"), ...flags, "app.ts"], {
      cwd: directory,
    });
  }

  async function siteOf(directory: string, flags: string[]): Promise<CallSiteAttributes> {
    const { stdout } = await run(process.execPath, [...flags, join(directory, "app.js")]);
    return (JSON.parse(stdout) as [unknown, CallSiteAttributes])[1];
  }
});
