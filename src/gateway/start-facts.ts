import { defaultTokensFile } from "../auth/tokens-file.ts";
import type { Config } from "../config/config.ts";
import { packageVersion } from "../runtime/package.ts";

/** What a start found in the files that the configuration names. */
export interface Found {
  /** The number of valid tokens. */
  readonly tokens: number | undefined;
}

/** Returns what the operator sees first at a start: names and values. */
export function startFacts(config: Config, { tokens }: Found): readonly [string, string][] {
  const tokensFile = config.auth && (config.auth.tokensFile ?? defaultTokensFile(process.env));
  const isOn = tokens === 1 ? "on, 1 token" : `on, ${tokens} tokens`;
  return [
    ["version", `${packageVersion()}, Node.js ${process.versions.node}`],
    ["configuration", config.file ?? "none, the defaults"],
    ["log directory", config.logDir],
    ["authentication", tokens === undefined ? "off" : `${isOn} in ${tokensFile}`],
  ];
}
