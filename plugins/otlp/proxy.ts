/** HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in lower case too, as curl reads them. */

import { BlockList, isIP } from "node:net";
import type { Setting } from "./environment.ts";

const SCHEME_PORTS: ReadonlyMap<string, string> = new Map([
  ["http:", "80"],
  ["https:", "443"],
]);

/**
 * Returns the proxy for requests to `target`; undefined if they go there directly.
 * @throws Error for a variable that names no proxy; its value, which may have a password in it, is not shown.
 */
export function proxyFor(target: URL, env: NodeJS.ProcessEnv): Setting<URL> | undefined {
  const scheme = target.protocol.slice(0, -1);
  const variable = firstSet([`${scheme}_proxy`, "all_proxy"], env);
  if (variable === undefined || isExempt(target, env)) return undefined;
  const { value, source } = variable;
  const text = value.includes("://") ? value : `http://${value}`;
  if (/^https?:\/\//i.test(text) && URL.canParse(text)) return { value: new URL(text), source };
  throw new Error(
    `${source} is no URL of an HTTP proxy, such as http://127.0.0.1:3128; NO_PROXY=${target.hostname} leaves this destination out`,
  );
}

/** The first that is set; in lower case before upper case. */
function firstSet(names: readonly string[], env: NodeJS.ProcessEnv): Setting | undefined {
  for (const source of names.flatMap((name) => [name, name.toUpperCase()])) {
    const value = env[source]?.trim();
    if (value) return { value, source };
  }
  return undefined;
}

/**
 * True if NO_PROXY names the target: `*`, a host with its subdomains (a dot or `*.` before it makes no difference), an
 * address or a range of addresses (`10.0.0.0/8`), each with or without a port. Names are not looked up, and loopback is
 * no exception of its own.
 */
function isExempt(target: URL, env: NodeJS.ProcessEnv): boolean {
  const entries =
    firstSet(["no_proxy"], env)
      ?.value.toLowerCase()
      .split(/[\s,]+/) ?? [];
  const host = withoutBrackets(target.hostname).replace(/\.$/, "");
  const port = target.port || SCHEME_PORTS.get(target.protocol);
  return entries.some((entry) => {
    if (entry === "*") return true;
    const [, name = "", entryPort] = /^(\[[^\]]*\]|[^:]*|.*)(?::(\d+))?$/.exec(entry) ?? [];
    if (entryPort !== undefined && entryPort !== port) return false;
    return isHost(host, withoutBrackets(name));
  });
}

function isHost(host: string, entry: string): boolean {
  const version = isIP(host);
  if (version !== 0) return isInRange(host, version, entry);
  const domain = entry.replace(/^\*?\.|\.$/g, "");
  return domain !== "" && (host === domain || host.endsWith(`.${domain}`));
}

function isInRange(address: string, version: number, entry: string): boolean {
  const [network = "", prefix] = entry.split("/");
  if (isIP(network) === 0) return false;
  const family = isIP(network) === 4 ? "ipv4" : "ipv6";
  const bits = prefix === undefined ? (family === "ipv4" ? 32 : 128) : Number(prefix);
  if (!Number.isInteger(bits) || bits < 0 || bits > (family === "ipv4" ? 32 : 128)) return false;
  const range = new BlockList();
  range.addSubnet(network, bits, family);
  return range.check(address, version === 4 ? "ipv4" : "ipv6");
}

function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}
