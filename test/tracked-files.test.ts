import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { temporaryDirectory } from "./harness/workspace.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const cleanUps: (() => Promise<unknown> | void)[] = [];
afterAll(async () => {
  for (const cleanUp of cleanUps) await cleanUp();
});

describe("the check of tracked files", () => {
  it("accepts the usual files of a repository", async () => {
    expect(await check(["README.md", "src/index.ts", "test/golden/vectors.jsonl"])).toEqual({
      status: 0,
      named: [],
    });
  });

  it("names every artifact and every stray file", async () => {
    const strays = [
      ".env",
      "dist/src/index.js",
      "isolate-0x55-1-v8.log",
      "notes.txt",
      "src/isolate-0x55-1-v8.log",
      "src/leak.heapsnapshot",
      "src/orchestrator.log",
      "test/bench/emit.cpuprofile",
      "test/journal.db-wal",
    ];
    const { status, named } = await check(["README.md", ...strays]);
    expect(status).toBe(1);
    expect([...new Set(named)].toSorted()).toEqual(strays);
  });
});

/** Runs the check in a new repository that tracks `paths` and has this project's .gitignore. */
async function check(paths: string[]): Promise<{ status: number | null; named: string[] }> {
  const directory = await temporaryDirectory(cleanUps);
  copyFileSync(join(ROOT, ".gitignore"), join(directory, ".gitignore"));
  for (const path of paths) {
    mkdirSync(join(directory, dirname(path)), { recursive: true });
    writeFileSync(join(directory, path), "");
  }
  execFileSync("git", ["init", "--quiet"], { cwd: directory });
  execFileSync("git", ["add", "--force", "."], { cwd: directory });
  const script = join(ROOT, "test/tracked-files.ts");
  const { status, stderr } = spawnSync(process.execPath, [script], {
    cwd: directory,
    encoding: "utf8",
  });
  const named = stderr.split("\n").flatMap((line) => line.match(/^(.+?): /)?.slice(1) ?? []);
  return { status, named };
}
