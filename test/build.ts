import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** The file that a build writes last. */
const NEWEST_BUILT = "dist/tailgate.schema.json";

/**
 * Vitest's global setup: builds what users get, where it is older than its sources. Tests that start processes start
 * that, not the sources.
 */
export default function setup(): () => void {
  build();
  // Gateways put the key of their audit trail there, which must not be the user's own.
  const configHome = mkdtempSync(join(tmpdir(), "tailgate-config-"));
  process.env["XDG_CONFIG_HOME"] = configHome;
  return () => rmSync(configHome, { recursive: true, force: true });
}

function build(): void {
  const sources = ["src", "plugins"].flatMap(entriesOf);
  const newest = Math.max(...["package.json", "tsconfig.json", ...sources].map(modifiedMs));
  if (modifiedMs(NEWEST_BUILT) > newest) return;
  execFileSync("npm", ["run", "--silent", "build"], { cwd: ROOT, stdio: "inherit" });
}

/** A folder with all that is in it, folders too: their time tells of files that were deleted. */
function entriesOf(folder: string): string[] {
  const names = readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" });
  return ["", ...names].map((name) => join(folder, name));
}

/** Zero where there is none. */
function modifiedMs(path: string): number {
  return statSync(join(ROOT, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
