/** The directories of examples that have a package.json of their own, with the packages that test/setup-docs/node.sh installed. */

import { cp, mkdir, readdir, readFile, symlink } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { afterAll, onTestFinished } from "vitest";
import { skipTest } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { repositoryPath } from "./document.ts";

export interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

/** The `node_modules` of the examples, for all tests of a file. */
const installed = new Map<string, Promise<Workspace>>();

afterAll(async () => {
  for (const workspace of installed.values()) await (await workspace)[Symbol.asyncDispose]();
  installed.clear();
});

/**
 * Creates a copy of an example, such as `node`, as a user has it after `npm install`, with Tailgate as it was built. It ends
 * with the running test.
 */
export async function installedExample(name: string): Promise<Workspace> {
  const packages = await findPackages(name);
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  const source = repositoryPath(`examples/${name}`);
  await cp(source, workspace.directory, {
    recursive: true,
    filter: (path) => !/node_modules|(?:^|\/)dist$/.test(path.slice(source.length)),
  });
  let modules = installed.get(name);
  if (modules === undefined) installed.set(name, (modules = addTailgate(packages)));
  await symlink((await modules).path("node_modules"), workspace.path("node_modules"));
  return workspace;
}

/**
 * Creates a `node_modules` of those packages and Tailgate, which is copied: through a link, Node would find the dependencies
 * of the repository.
 */
async function addTailgate(packages: string): Promise<Workspace> {
  const workspace = await Workspace.create();
  await mkdir(workspace.path("node_modules/tailgate"), { recursive: true });
  for (const entry of await readdir(packages)) {
    await symlink(join(packages, entry), workspace.path(`node_modules/${entry}`));
  }
  for (const part of ["package.json", "dist"]) {
    const target = workspace.path(`node_modules/tailgate/${part}`);
    await cp(repositoryPath(part), target, { recursive: true });
  }
  return workspace;
}

/** Returns the `node_modules` of an example. Skips the running test if it is missing or outdated. */
async function findPackages(name: string): Promise<string> {
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  const directory = join(cache, "tailgate/examples", name.replaceAll("/", "-"));
  const known = await readFile(join(directory, "installed.json"), "utf8").catch(() => "");
  const { dependencies, devDependencies } = await readManifest(`examples/${name}/package.json`);
  const wanted = { ...dependencies, ...devDependencies };
  if ("@opentelemetry/instrumentation" in wanted) {
    Object.assign(wanted, (await readManifest("package.json")).dependencies);
  }
  if (known.trim() !== JSON.stringify({ private: true, dependencies: wanted })) {
    skipTest(`The packages of examples/${name} are missing: npm run setup:docs`);
  }
  return join(directory, "node_modules");
}

async function readManifest(path: string): Promise<Manifest> {
  return JSON.parse(await readFile(repositoryPath(path), "utf8")) as Manifest;
}
