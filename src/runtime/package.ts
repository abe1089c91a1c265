/** Locates the files of this package, also for code that was bundled into a program. */

import module from "node:module";
import { dirname, join } from "node:path";
import { TailgateError } from "../wire/errors.ts";

/** The location of this code. A CommonJS bundle has no `import.meta`, and an ES module no `__filename`. */
const LOCATION = resolveLocation();

function resolveLocation(): string | undefined {
  const url = import.meta.url as string | undefined;
  return url ?? (typeof __filename === "string" ? __filename : undefined);
}

let root: string | undefined;

/**
 * Returns the absolute path of a file of this package.
 * @throws TailgateError PACKAGE_INCOMPLETE
 */
export function packageFile(path: string): string {
  root ??= findPackageRoot();
  return join(root, path);
}

/** @throws TailgateError PACKAGE_INCOMPLETE */
function findPackageRoot(): string {
  for (const from of [LOCATION, process.argv[1]]) {
    try {
      return dirname(module.createRequire(from!).resolve("tailgate/package.json"));
    } catch {
      // Not installed there, or the location is unknown.
    }
  }
  const text =
    "The worker thread and the dashboard of Tailgate are missing: they are part of its package, not of a bundle.";
  throw new TailgateError("PACKAGE_INCOMPLETE", text);
}

/**
 * Requires a package that Tailgate depends on.
 * @throws TailgateError PACKAGE_INCOMPLETE
 */
export function requireDependency(name: string): unknown {
  return module.createRequire(packageFile("package.json"))(name);
}

export function packageVersion(): string {
  return (requireDependency("./package.json") as { version: string }).version;
}

/**
 * Checks that everything exists that is loaded later: a bundle may lack parts.
 * @throws TailgateError PACKAGE_INCOMPLETE
 */
export function checkPackage(): void {
  packageFile("");
  try {
    require("node:process");
  } catch (error) {
    // An ES module that is not bundled has no `require` and needs none.
    if (error instanceof ReferenceError) return;
    const text =
      "This bundle is an ES module without `require`, which dependencies of Tailgate call.";
    throw new TailgateError("PACKAGE_INCOMPLETE", text, { cause: error });
  }
}
