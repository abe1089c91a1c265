import { lookup } from "node:dns/promises";
import { isIP, isIPv6 } from "node:net";
import { machineAddresses } from "../runtime/networks.ts";
import { TailgateError } from "../wire/errors.ts";

/** Detects a gateway that would send records to itself: each would come back forever. */

export interface ExportTarget {
  /** Such as `exporters.otlp`. */
  readonly component: string;
  readonly url: string;
}

const SCHEME_PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

/** A listener on one of them accepts connections to every address of the machine; a client of one reaches the machine. */
const ANY_ADDRESS = new Set(["0.0.0.0", "::"]);

/**
 * Checks that no target is one of the gateway's own listeners, given as lines that start with a URL.
 * @throws TailgateError SENDS_TO_ITSELF
 */
export async function rejectSelfExport(
  targets: readonly ExportTarget[],
  listeners: readonly string[],
): Promise<void> {
  const own = listeners.map((line) => line.split(" ", 1)[0]!).filter((url) => URL.canParse(url));
  for (const { component, url } of targets) {
    for (const listener of own) {
      if (await isSameEndpoint(new URL(url), new URL(listener))) {
        const { origin } = new URL(url);
        throw new TailgateError(
          "SENDS_TO_ITSELF",
          `${component} sends to ${origin}, where this gateway itself accepts records.`,
        );
      }
    }
  }
}

/** Returns the listeners with a fixed port. A free port (0) that the system will pick is nobody's target. */
export function fixedListeners(host: string, ports: readonly (number | null)[]): string[] {
  const name = isIPv6(host) ? `[${host}]` : host;
  return ports.filter((port) => port).map((port) => `http://${name}:${port}`);
}

/** Resolves names only if the ports are equal, so that a slow or failing look-up does not matter otherwise. */
async function isSameEndpoint(one: URL, other: URL): Promise<boolean> {
  if (effectivePort(one) !== effectivePort(other)) return false;
  const [addresses, others] = await Promise.all([resolveAddresses(one), resolveAddresses(other)]);
  return addresses.some((address) => others.includes(address));
}

function effectivePort({ port, protocol }: URL): number | undefined {
  return port === "" ? SCHEME_PORTS[protocol] : Number(port);
}

async function resolveAddresses({ hostname }: URL): Promise<string[]> {
  const name = hostname.replace(/^\[(.*)\]$/, "$1");
  if (ANY_ADDRESS.has(name)) return machineAddresses().map(({ address }) => address);
  if (isIP(name) !== 0) return [name];
  try {
    return (await lookup(name, { all: true })).map(({ address }) => address);
  } catch {
    return [];
  }
}
