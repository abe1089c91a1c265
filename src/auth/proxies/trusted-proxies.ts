import { BlockList } from "node:net";
import { familyOf, normalizeAddress, parseNetwork } from "../../runtime/networks.ts";

/** An element of `X-Forwarded-For`: some proxies append a port, and enclose IPv6 addresses in brackets. */
const ELEMENT = /^(?:\[([0-9a-f:.]+)\]|(\d{1,3}(?:\.\d{1,3}){3}))(?::\d{1,5})?$/i;

/** The networks whose connections come from proxies that may say who their clients are. */
export class TrustedProxies {
  readonly #networks = new BlockList();

  /**
   * `networks`: addresses and networks in CIDR notation.
   * @throws TypeError for an entry that is neither.
   */
  constructor(networks: readonly string[]) {
    for (const entry of networks) {
      const network = parseNetwork(entry);
      if (network === undefined) throw new TypeError(`${JSON.stringify(entry)} is no network.`);
      const { address, prefix, family } = network;
      this.#networks.addSubnet(address, prefix, family);
    }
  }

  trusts(address: string | undefined): boolean {
    const normalized = normalizeAddress(address ?? "");
    if (normalized === undefined) return false;
    return this.#networks.check(normalized, familyOf(normalized));
  }

  /**
   * Returns the client's address according to `X-Forwarded-For`. Each proxy appends the address that it sees, so the list
   * is read from its end: the first address that is not a trusted proxy's is the client's; everything before it may be
   * made up. `peer`: the trusted proxy that has sent the request; undefined over a Unix socket.
   */
  clientOf(forwardedFor: string, peer: string | undefined): string | undefined {
    let client = normalizeAddress(peer ?? "");
    for (const element of forwardedFor.split(",").toReversed()) {
      const address = addressOf(element.trim());
      if (address === undefined) return client;
      client = address;
      if (!this.trusts(address)) return client;
    }
    return client;
  }
}

function addressOf(element: string): string | undefined {
  const [, bracketed, plain] = ELEMENT.exec(element) ?? [];
  return normalizeAddress(bracketed ?? plain ?? element);
}
