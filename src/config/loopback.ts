import { BlockList, isIP } from "node:net";

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/**
 * True for 127.0.0.0/8, ::1 and localhost. A name is not looked up: what it stands for may change after the check
 * (RFC 6761, 6.3 fixes localhost alone). Nor is a zone, as in `::1%lo`: whether there is one is known to the system only.
 */
export function isLoopback(host: string): boolean {
  if (host.includes("%")) return false;
  const version = isIP(host);
  if (version === 0) return host.toLowerCase() === "localhost";
  return LOOPBACK.check(host, version === 4 ? "ipv4" : "ipv6");
}
