/** Reads HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, upper or lower case, as curl does. */

import { BlockList, isIP } from "node:net";
import type { Setting } from "./setting.ts";

const SCHEME_PORTS: ReadonlyMap<string, string> = new Map([
  ["http:", "80"],
  ["https:", "443"],
]);

/**
 * Returns the proxy for requests to `target`, or undefined if none is used.
 * @throws Error if a variable is not a proxy's URL. The error does not show the value, which may contain a password.
 */
export function findProxy(target: URL, env: NodeJS.ProcessEnv): Setting<URL> | undefined {
  const scheme = target.protocol.slice(0, -1);
  const variable = firstSet([`${scheme}_proxy`, "all_proxy"], env);
  if (variable === undefined || isExempt(target, env)) return undefined;
  const { value, source } = variable;
  const text = value.includes("://") ? value : `http://${value}`;
  if (/^https?:\/\//i.test(text) && URL.canParse(text)) return { value: new URL(text), source };
  throw new Error(
    `${source} is not the URL of an HTTP proxy such as http://127.0.0.1:3128; NO_PROXY=${target.hostname} excludes this destination`,
  );
}

/** Returns the first variable that is set; lower case takes precedence. */
function firstSet(names: readonly string[], env: NodeJS.ProcessEnv): Setting | undefined {
  for (const source of names.flatMap((name) => [name, name.toUpperCase()])) {
    const value = env[source]?.trim();
    if (value) return { value, source };
  }
  return undefined;
}

/**
 * True if NO_PROXY matches the target: `*`, a host with its subdomains (with or without a leading dot or `*.`), an
 * address or a range of addresses (`10.0.0.0/8`), each with an optional port. Names are not resolved, and loopback is
 * not exempt by itself.
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
    return matchesHost(host, withoutBrackets(name));
  });
}

function matchesHost(host: string, entry: string): boolean {
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

/** Node supports proxies from 22.21 and 24.5 on. */
function supportsProxy(): boolean {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  return major > 22 ? major > 24 || (major === 24 && minor >= 5) : major === 22 && minor >= 21;
}

/** Returns the proxy for requests to `target`, as {@link findProxy} does, if Node can use it. */
export function resolveProxy(target: URL): Setting<URL> | undefined {
  const proxy = findProxy(target, process.env);
  if (proxy === undefined || supportsProxy()) return proxy;
  throw new Error(
    `${proxy.source} names a proxy, which requires Node 22.21 or later; NO_PROXY=${target.hostname} excludes this destination`,
  );
}
