import { isIPv6 } from "node:net";

const MAPPED = /^::ffff:(?=\d+\.)/i;

/**
 * Returns what counts as one client: the address, of IPv6 the first 64 bits, because whoever has one address there has all
 * of them (RFC 6177). IPv4 addresses in IPv6 notation are the same as in their own.
 */
export function networkOf(address: string): string {
  const plain = address.replace(MAPPED, "").replace(/%.*$/, "");
  if (!isIPv6(plain)) return plain;
  const [head = "", tail] = plain.toLowerCase().split("::");
  const left = groupsOf(head);
  const right = groupsOf(tail ?? "");
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => "0");
  const groups = tail === undefined ? left : [...left, ...zeros, ...right];
  const network = groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(":")}::/64`;
}

/** Returns the groups of a part of an address. An IPv4 address, which can only be at the end, stands for two. */
function groupsOf(part: string): string[] {
  if (part === "") return [];
  return part.split(":").flatMap((group) => (group.includes(".") ? ["0", "0"] : [group]));
}
