/** The plugin package of examples/tailgate-plugin-json-lines, checked, tested, packed and used with Tailgate as it is installed from npm. */

import { access, cp, mkdir, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { installPackage, removePackage } from "../harness/packed-install.ts";
import { Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";

const NAME = "tailgate-plugin-json-lines";

/** Where the pages have the tarball of Tailgate. */
const PACKED = "../tailgate/tailgate-0.1.0.tgz";

/** Stricter than the example. */
const STRICT = "--skipLibCheck false --exactOptionalPropertyTypes --noUncheckedIndexedAccess";

const overview = await Document.read("docs/plugins/README.md");
const typescript = await Document.read("docs/plugins/typescript.md");
const publishing = await Document.read("docs/plugins/publishing.md");

let workspace: Workspace;
/** The directory of the installed Tailgate. */
let tailgate: string;
let tarball: string;

beforeAll(async () => {
  const prefix = await installPackage("npm install --prefix /opt/tailgate ./tailgate-*.tgz");
  tailgate = join(prefix, "node_modules/tailgate");
  const packed = join(prefix, "../..");
  tarball = join(
    packed,
    (await readdir(packed)).find((name) => name.endsWith(".tgz"))!,
  );
  workspace = await Workspace.create();
  await cp(repositoryPath(`examples/${NAME}`), workspace.path(NAME), { recursive: true });
  await mkdir(workspace.path(`${NAME}/node_modules/@types`), { recursive: true });
  await mkdir(workspace.path(`${NAME}/node_modules/.bin`));
  await link(tailgate, "tailgate");
  await link(join(tailgate, "dist/cli/main.js"), ".bin/tailgate");
  for (const name of ["typescript", "@types/node", "undici-types", ".bin/tsc"]) {
    await link(repositoryPath(`node_modules/${name}`), name);
  }
});

afterAll(async () => {
  await removePackage();
  await workspace[Symbol.asyncDispose]();
});

function link(target: string, name: string): Promise<void> {
  return symlink(target, workspace.path(`${NAME}/node_modules/${name}`));
}

/** npm has the packages in its cache from `npm ci`. */
const NPM = { npm_config_prefer_offline: "true", npm_config_audit: "false" };

function run(script: string): Promise<string> {
  return Program.run("bash", ["-ec", script], { cwd: workspace.path(NAME), env: NPM });
}

/** Replaces the path of the packed Tailgate. */
function here(script: string): string {
  expect(script).toContain(PACKED);
  return script.replace(PACKED, tarball);
}

/** Compiles a file beside the sources of the plugin. */
async function compile(source: string): Promise<void> {
  const path = workspace.path(`${NAME}/src/more.ts`);
  await writeFile(path, source);
  try {
    await run("npx tsc --noEmit");
  } finally {
    await rm(path);
  }
}

interface Manifest {
  readonly devDependencies: Readonly<Record<string, string>>;
}

async function manifest(path: string): Promise<Manifest> {
  return JSON.parse(await readFile(repositoryPath(path), "utf8")) as Manifest;
}

describe("docs/plugins/typescript.md", () => {
  test("installs the versions that the example and this repository use", async () => {
    const command = typescript.example("typescript-install");
    const versions = Object.fromEntries(
      Array.from(command.matchAll(/ (\S+)@([\d.]+)/g), ([, name, version]) => [name, version]),
    );
    expect(Object.keys(versions)).toEqual(["typescript", "@types/node"]);
    for (const path of [`examples/${NAME}/package.json`, "package.json"]) {
      expect((await manifest(path)).devDependencies).toMatchObject(versions);
    }
  });

  test("the plugin and its test compile with strict options and checked declarations", async () => {
    await run(typescript.example("typescript-check"));
    await run(`npm run check -- ${STRICT}`);
  });

  test("the byte arrays of a batch are bodies of requests", async () => {
    await compile(
      `import type { Batch } from "tailgate/plugin";
       export const post = (batch: Batch) =>
         [batch.otlp({}), batch.otlpJson(), batch.bytes(0), batch.data(0), batch.frames()].map((body) =>
           fetch("http://127.0.0.1:9000/", { method: "POST", body }),
         );`,
    );
  });

  test("a wrong option, method or type is a compiler error", async () => {
    const compiling = compile(
      `import { defineExporter, z } from "tailgate/plugin";
       export default defineExporter({
         name: "wrong",
         description: "For tests.",
         options: z.object({ size: z.int().default(1) }),
         open: ({ sise }, host) => ({ write: (batch) => void host.log.warn(batch.text(0)) }),
       });`,
    );
    await expect(compiling).rejects.toThrow(/'sise'[^]*'warn'[^]*'text'/);
  });

  test("the declarations lead editors to the sources, which are in the package", async () => {
    for (const module of ["plugin", "testing"]) {
      const folder = join(tailgate, "dist/src", module);
      const maps = (await readdir(folder)).filter((name) => name.endsWith(".d.ts.map"));
      expect(maps.length).toBeGreaterThan(3);
      for (const name of maps) {
        const map = JSON.parse(await readFile(join(folder, name), "utf8")) as { sources: string[] };
        for (const source of map.sources) await access(join(folder, source));
      }
    }
  });

  test("the tests run without a build", async () => {
    const report = await run(typescript.example("typescript-test"));
    expect(report).toMatch(/^ℹ pass 8$/m);
    expect(report).toMatch(/^ℹ fail 0$/m);
  });

  test("a gateway loads the source without a build", async () => {
    const config = typescript.example("typescript.yaml");
    await workspace.write(`${NAME}/tailgate.yaml`, config);
    const shown = await run("npx tailgate validate");
    expect(shown).toContain("use: ./src/index.ts\n");
  });

  test("a build writes JavaScript and declarations", async () => {
    await run(typescript.example("typescript-build"));
    const built = await readdir(workspace.path(`${NAME}/dist`));
    expect(built.sort()).toEqual(["index.d.ts", "index.js"]);
  });
});

test("the first plugin of docs/plugins/README.md is installed and run as the page says", async () => {
  const script = here(overview.example("shout-install"));
  await Program.run("bash", ["-ec", script], { cwd: workspace.directory, env: NPM });
  const cwd = workspace.path("shout");
  await workspace.write("shout/shout.js", overview.example("shout.js"));
  await workspace.write("shout/tailgate.yaml", overview.example("shout.yaml"));
  const [validate, start] = overview.example("shout-start").trimEnd().split("\n");
  await Program.run("bash", ["-ec", validate!], { cwd });
  // Without npx, which does not end its child when it is killed.
  const command = start!.replace("npx ", "exec node_modules/.bin/");
  const options = "--port 0 --otlp-port 0 --log-dir logs";
  await using gateway = new Program("bash", ["-ec", `${command} ${options}`], { cwd });
  const [, url] = await gateway.untilStderr(/listening on (\S+)\/v1\/logs \(OTLP\/HTTP\)/);
  const send = overview.example("shout-send").replace("http://127.0.0.1:4318", url!);
  expect(await Program.run("bash", ["-ec", send], { cwd })).toBe("{}");
  await gateway.untilStdout(/\n/);
  expect(gateway.stdout).toBe(overview.listings[0]);
});

describe("docs/plugins/publishing.md", () => {
  test("the packed plugin is found by its name and listed as the page shows", async () => {
    await run(here(publishing.example("publish-try")));
    await workspace.write("try/tailgate.yaml", publishing.example("packaged.yaml"));
    const cwd = workspace.path("try");
    const listed = await Program.run("npx", ["tailgate", "plugins"], { cwd });
    expect(listed).toContain(publishing.listings[0]);
  });

  test("a package of another name is found by `use`", async () => {
    const path = "try/node_modules/@acme/tailgate-json-lines";
    const folder = workspace.path(`try/node_modules/${NAME}`);
    await mkdir(dirname(workspace.path(path)), { recursive: true });
    await cp(folder, workspace.path(path), { recursive: true });
    await workspace.write("try/scoped.yaml", publishing.example("scoped.yaml"));
    const shown = await Program.run("npx", ["tailgate", "validate", "--config", "scoped.yaml"], {
      cwd: workspace.path("try"),
    });
    expect(shown).toContain('use: "@acme/tailgate-json-lines"\n');
  });

  test("the commands of the example's README are those of its scripts", async () => {
    const readme = await Document.read(`examples/${NAME}/README.md`);
    expect(readme.example("plugin-package-run")).toBe(
      "npm install --save-dev ../tailgate/tailgate-0.1.0.tgz\nnpm run check\nnpm test\nnpm pack\n",
    );
  });
});
