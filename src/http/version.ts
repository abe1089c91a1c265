import { createRequire } from "node:module";

/** The version of this package, wherever it is installed. */
export function packageVersion(): string {
  const require = createRequire(import.meta.url);
  return (require("tailgate/package.json") as { version: string }).version;
}
