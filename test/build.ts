import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** The last file that a build writes. */
const NEWEST_BUILT = "dist/tailgate.schema.json";

/**
 * Vitest's global setup: builds the package if it is older than its sources. Tests that start processes run the built
 * package, not the sources.
 */
export default function setup(): () => void {
  build();
  // Gateways create their signing key there; the user's own key must not be used.
  const configHome = mkdtempSync(join(tmpdir(), "tailgate-config-"));
  process.env["XDG_CONFIG_HOME"] = configHome;
  shareCompiledModules();
  return () => rmSync(configHome, { recursive: true, force: true });
}

/** Hundreds of processes and threads load the same modules. */
function shareCompiledModules(): void {
  const folder = mkdtempSync(join(tmpdir(), "tailgate-compiled-"));
  process.env["NODE_COMPILE_CACHE"] = folder;
  // Vitest's own processes write to it when they end, which is after the teardown.
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
}

function build(): void {
  const sources = ["src", "plugins"].flatMap(entriesOf);
  const newest = Math.max(...["package.json", "tsconfig.json", ...sources].map(modifiedMs));
  if (modifiedMs(NEWEST_BUILT) > newest) return;
  execFileSync("npm", ["run", "--silent", "build"], { cwd: ROOT, stdio: "inherit" });
}

/** Lists a folder and everything in it, including folders, whose mtime reveals deleted files. */
function entriesOf(folder: string): string[] {
  const names = readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" });
  return ["", ...names].map((name) => join(folder, name));
}

/** Returns 0 if the file does not exist. */
function modifiedMs(path: string): number {
  return statSync(join(ROOT, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
