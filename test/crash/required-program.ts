import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** Throws where a program is missing, with what to do: a test that cannot run has not passed. */
export async function requireProgram(name: string, debianPackage: string): Promise<void> {
  try {
    await promisify(execFile)(name, ["--version"]);
  } catch (error) {
    const text = `${name} is missing, which this test needs: npm run setup:crash, or apt-get install ${debianPackage}`;
    throw new Error(text, { cause: error });
  }
}
