/** This package's own files, also for code of it that was bundled into a program. */

import module from "node:module";
import { dirname, join } from "node:path";
import { TailgateError } from "../wire/errors.ts";

/** Where this code runs from. A bundle in CommonJS has no `import.meta`, and an ES module no `__filename`. */
const LOCATION = ownLocation();

function ownLocation(): string | undefined {
  const url = import.meta.url as string | undefined;
  return url ?? (typeof __filename === "string" ? __filename : undefined);
}

let root: string | undefined;

/** @throws TailgateError PACKAGE_INCOMPLETE */
export function packageFile(path: string): string {
  root ??= packageRoot();
  return join(root, path);
}

/** @throws TailgateError PACKAGE_INCOMPLETE */
function packageRoot(): string {
  for (const from of [LOCATION, process.argv[1]]) {
    try {
      return dirname(module.createRequire(from!).resolve("tailgate/package.json"));
    } catch {
      // It is not installed there, or the place is not known.
    }
  }
  const text =
    "The worker thread and the dashboard of Tailgate are not there: they are in its package, and not in a bundle.";
  throw new TailgateError("PACKAGE_INCOMPLETE", text);
}

/**
 * Requires a package that Tailgate depends on.
 * @throws TailgateError PACKAGE_INCOMPLETE
 */
export function requireDependency(name: string): unknown {
  return module.createRequire(packageFile("package.json"))(name);
}

/** The version of this package. */
export function packageVersion(): string {
  return (requireDependency("./package.json") as { version: string }).version;
}

/**
 * Checks that everything is there that is loaded later: a bundle may lack parts.
 * @throws TailgateError PACKAGE_INCOMPLETE
 */
export function checkPackage(): void {
  packageFile("");
  try {
    require("node:process");
  } catch (error) {
    // An ES module that is not bundled has none, and needs none.
    if (error instanceof ReferenceError) return;
    const text =
      "This bundle is an ES module without `require`, which packages call that Tailgate depends on.";
    throw new TailgateError("PACKAGE_INCOMPLETE", text, { cause: error });
  }
}
