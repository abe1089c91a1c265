import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { open, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, isAbsolute, join } from "node:path";

const DEFAULT_NAME = "tailgate/audit-key.pem";

/** Where the private key is that nobody has named; undefined for a user without a home. */
export function defaultKeyFile(env: NodeJS.ProcessEnv): string | undefined {
  const { XDG_CONFIG_HOME: configHome } = env;
  // The specification has relative paths ignored.
  if (configHome && isAbsolute(configHome)) return join(configHome, DEFAULT_NAME);
  try {
    return join(homedir(), ".config", DEFAULT_NAME);
  } catch {
    return undefined;
  }
}

/** Where the public key is that belongs to a private one: `audit-key.pub.pem` beside `audit-key.pem`. */
export function publicKeyFile(keyFile: string): string {
  return `${keyFile.replace(/\.pem$/, "")}.pub.pem`;
}

/** Writes a synced file beside the one that is meant, and returns its path. */
export async function writeTemporary(path: string, text: string, mode: number): Promise<string> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  try {
    await using handle = await open(temporary, flags, mode);
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return temporary;
}
