import { isIP } from "node:net";
import { networkInterfaces } from "node:os";

/** An IPv4 address in IPv6 notation, which sockets that accept both report. */
const MAPPED = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i;

interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

/**
 * Parses an address or a network such as `10.0.0.0/8`; returns undefined for anything else. A network of all addresses is
 * not one of proxies.
 */
export function parseNetwork(text: string): Network | undefined {
  const [given = "", digits, ...rest] = text.split("/");
  if (isIP(given) === 0 || given.includes("%") || rest.length > 0) return undefined;
  const address = normalizeAddress(given)!;
  const family = familyOf(address);
  const bits = family === "ipv4" ? 32 : 128;
  if (digits === undefined) return { address, prefix: bits, family };
  if (!/^\d{1,3}$/.test(digits)) return undefined;
  const mappedBits = address === given ? 0 : 96;
  const prefix = Number(digits) - mappedBits;
  return prefix >= 1 && prefix <= bits ? { address, prefix, family } : undefined;
}

/** Returns the address without a zone, and IPv4 in its own notation; undefined if the text is no address. */
export function normalizeAddress(text: string): string | undefined {
  const [, mapped] = MAPPED.exec(text) ?? [];
  const [address = ""] = (mapped ?? text).split("%", 1);
  return isIP(address) === 0 ? undefined : address;
}

export function familyOf(address: string): "ipv4" | "ipv6" {
  return address.includes(":") ? "ipv6" : "ipv4";
}

interface MachineAddress {
  readonly address: string;
  readonly family: string;
  /** Whether it is one of loopback. */
  readonly internal: boolean;
}

/** Returns the machine's addresses; in a sandbox without netlink sockets, which hides them, only those of loopback. */
export function machineAddresses(): readonly MachineAddress[] {
  try {
    return Object.values(networkInterfaces()).flatMap((infos) => infos ?? []);
  } catch {
    return [
      { address: "127.0.0.1", family: "IPv4", internal: true },
      { address: "::1", family: "IPv6", internal: true },
    ];
  }
}
