import { machineAddresses } from "../../runtime/networks.ts";
import { urlHost } from "./guard.ts";

const WILDCARDS: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);

interface LoginLinkOptions {
  /** The URL that the gateway listens on. */
  readonly url: string;
  /** The address that the gateway binds to. */
  readonly host: string;
  readonly allowedHosts: readonly string[];
  /** The names and addresses of the gateway's certificate, as Node shows them; undefined without TLS. */
  readonly subjectAltName?: string | undefined;
  /** "" or the path below which the gateway serves everything. */
  readonly basePath: string;
  readonly code: string;
}

/**
 * Returns the links that sign a user in, one for each address under which the gateway may be reached: a wildcard address is
 * none. The code is in the fragment, which browsers do not send.
 */
export function loginLinks(options: LoginLinkOptions): string[] {
  const { url, host, allowedHosts, subjectAltName = "", basePath, code } = options;
  const { protocol, port } = new URL(url);
  const known = [...namesOf(allowedHosts), ...certifiedNames(subjectAltName)];
  const names = WILDCARDS.has(host) ? [...new Set([...known, ...addresses(host)])] : [host];
  const authorities = names.map((name) => `${urlHost(name)}${port === "" ? "" : `:${port}`}`);
  return authorities.map((authority) => `${protocol}//${authority}${basePath}/login#${code}`);
}

/** Entries with a port or a scheme are those of proxies and of other pages. */
function namesOf(allowedHosts: readonly string[]): string[] {
  return allowedHosts.filter((entry) => !/[:/]/.test(entry));
}

/** Node quotes names that could be mistaken for others (CVE-2021-44532); they and wildcards are no host names. */
function certifiedNames(subjectAltName: string): string[] {
  const entries = subjectAltName.split(", ").filter((entry) => entry.startsWith("DNS:"));
  return entries.map((entry) => entry.slice(4)).filter((name) => /^[A-Za-z0-9.-]+$/.test(name));
}

/** The addresses of the machine for others first, then loopback. Link-local ones need a zone, which URLs do not have. */
function addresses(wildcard: string): string[] {
  const usable = machineAddresses().filter(
    ({ family, address }) =>
      (family === "IPv4" || wildcard === "::") && !address.toLowerCase().startsWith("fe80:"),
  );
  const ordered = usable.toSorted((one, other) => Number(one.internal) - Number(other.internal));
  return ordered.map(({ address }) => address);
}
