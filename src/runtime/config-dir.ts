import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/** Returns the path of a file in the user's configuration directory; undefined for a user without a home directory. */
export function userConfigFile(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const { XDG_CONFIG_HOME: configHome } = env;
  // The XDG Base Directory Specification requires relative paths to be ignored.
  if (configHome && isAbsolute(configHome)) return join(configHome, "tailgate", name);
  try {
    return join(homedir(), ".config", "tailgate", name);
  } catch {
    return undefined;
  }
}
