import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

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
