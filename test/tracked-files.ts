/**
 * Fails if git tracks a file that should not be committed: one that .gitignore matches (a log, a profile, a database, a
 * build), or a top-level file that is not listed here. Checks the repository in the current directory; there is nothing
 * to check without a repository (in an archive of the sources).
 */
import { execFileSync, spawnSync } from "node:child_process";

const TOP_LEVEL = new Set([
  ".ci",
  ".cspell.json",
  ".gitignore",
  ".npmrc",
  ".oxfmtrc.json",
  ".oxlintrc.json",
  ".textlintrc.json",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "LICENSE",
  "README.md",
  "SECURITY.md",
  "docs",
  "examples",
  "otel-collector.yaml",
  "package-lock.json",
  "package.json",
  "plugins",
  "src",
  "test",
  "tsconfig.json",
]);

if (spawnSync("git", ["rev-parse", "--git-dir"]).status === 0) {
  const unlisted = trackedFiles().filter((path) => !TOP_LEVEL.has(path.split("/", 1)[0] ?? ""));
  const ignored = trackedFiles("--ignored", "--exclude-standard");
  for (const path of unlisted) {
    console.error(
      `${path}: not expected at the top level; add it to test/tracked-files.ts if it belongs there`,
    );
  }
  for (const path of ignored) {
    console.error(
      `${path}: tracked although .gitignore matches it; remove it with "git rm --cached"`,
    );
  }
  process.exitCode = unlisted.length + ignored.length > 0 ? 1 : 0;
} else {
  console.error("No git repository here: tracked files are not checked.");
}

function trackedFiles(...options: string[]): string[] {
  return execFileSync("git", ["ls-files", "--cached", "-z", ...options], { encoding: "utf8" })
    .split("\0")
    .filter((path) => path !== "");
}
