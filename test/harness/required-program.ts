import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { TestRunner, type RunnerTestCase } from "vitest";

/**
 * Ends the test that is running, which cannot work on this machine, with what to do about it. In CI it fails: a test
 * that did not run must not look like one that passed.
 */
export function endWithout(text: string, cause?: unknown): never {
  if (process.env["CI"]) throw new Error(text, { cause });
  return TestRunner.getCurrentTest<RunnerTestCase>().context.skip(text);
}

/** Ends the test that is running where a program is missing. */
export async function requireProgram(name: string, debianPackage: string): Promise<void> {
  try {
    await promisify(execFile)(name, ["--version"]);
  } catch (error) {
    const text = `${name} is missing, which this test needs: npm run setup:crash, or apt-get install ${debianPackage}`;
    endWithout(text, error);
  }
}

/** Ends the test that is running where Python, or a module of its SDK, is missing; answers the Python that has it. */
export async function requirePython(module = "opentelemetry.sdk"): Promise<string> {
  const python = findPython();
  const text = `Python with ${module} is missing: npm run setup:python`;
  if (python === undefined) endWithout(text);
  try {
    await promisify(execFile)(python, ["-c", `import ${module}`]);
  } catch (error) {
    endWithout(text, error);
  }
  return python;
}

/** The Python that is named, else the one that test/setup-python.sh has made. */
function findPython(): string | undefined {
  const named = process.env["TAILGATE_PYTHON"];
  if (named) return named;
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  const path = join(cache, "tailgate/python/bin/python3");
  return existsSync(path) ? path : undefined;
}
