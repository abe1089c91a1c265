import { execFile } from "node:child_process";
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
