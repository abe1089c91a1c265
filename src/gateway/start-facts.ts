import type { X509Certificate } from "node:crypto";
import { defaultTokensFile } from "../auth/tokens/tokens-file.ts";
import type { Config } from "../config/config.ts";
import { packageVersion } from "../runtime/package.ts";

/** What a start found in the files that the configuration names. */
export interface Found {
  /** The number of valid tokens. */
  readonly tokens: number | undefined;
  readonly certificate: X509Certificate | undefined;
}

/** Returns what the operator sees first at a start: names and values. */
export function startFacts(
  config: Config,
  { tokens, certificate }: Found,
): readonly [string, string][] {
  const tokensFile = config.auth && (config.auth.tokensFile ?? defaultTokensFile(process.env));
  const isOn = tokens === 1 ? "on, 1 token" : `on, ${tokens} tokens`;
  return [
    ["version", `${packageVersion()}, Node.js ${process.versions.node}`],
    ["configuration", config.file ?? "none, the defaults"],
    ["log directory", config.logDir],
    ["authentication", tokens === undefined ? "off" : `${isOn} in ${tokensFile}`],
    ["TLS", certificate === undefined ? "off" : describe(certificate)],
  ];
}

/** Names the subject; certificates that have no common name have alternative names. */
function describe({ subject, subjectAltName = "", validToDate }: X509Certificate): string {
  const [, name = subjectAltName] = /^CN=(.*)$/m.exec(subject) ?? [];
  return `certificate of ${name}, expires ${validToDate.toISOString().slice(0, 10)}`;
}
