import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Program } from "./program.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Where the documentation installs Tailgate. */
export const PREFIX = "/opt/tailgate";

let directory: string | undefined;

/**
 * Packs this repository as it was built, and runs an `npm install` of the documentation with the tarball. Returns the
 * directory that stands for {@link PREFIX}.
 */
export async function installPackage(command: string): Promise<string> {
  directory = await mkdtemp(join(tmpdir(), "tailgate-"));
  await npm(`npm pack --ignore-scripts --pack-destination ${directory} ${ROOT}`);
  await npm(command);
  return join(directory, PREFIX);
}

/** Runs a command of the documentation beside the tarball, with a directory of the tests' own for {@link PREFIX}. */
export async function npm(command: string): Promise<void> {
  const here = command.replaceAll(PREFIX, join(directory!, PREFIX));
  await Program.run("bash", ["-ec", here], {
    cwd: directory!,
    // npm has the packages in its cache from `npm ci`.
    env: { npm_config_prefer_offline: "true", npm_config_audit: "false", npm_config_fund: "false" },
  });
}

/** Deletes what {@link installPackage} installed. */
export async function removePackage(): Promise<void> {
  if (directory !== undefined) await rm(directory, { recursive: true, force: true });
}
