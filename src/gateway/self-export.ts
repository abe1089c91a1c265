import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { TailgateError } from "../wire/errors.ts";

/** Keeps a gateway from sending records to itself, which would come back for ever. */

/** Where a component sends records. */
export interface ExportTarget {
  /** Such as `exporters.otlp`. */
  readonly component: string;
  readonly url: string;
}

const SCHEME_PORTS: ReadonlyMap<string, number> = new Map([
  ["http:", 80],
  ["https:", 443],
]);

/** Who binds to one of them takes connections to each of its machine's addresses; who connects to one reaches itself. */
const ANY_ADDRESS = new Set(["0.0.0.0", "::"]);

/**
 * `listeners`: lines that begin with a URL.
 * @throws TailgateError SENDS_TO_ITSELF
 */
export async function rejectSelfExport(
  targets: readonly ExportTarget[],
  listeners: readonly string[],
): Promise<void> {
  const own = listeners.map((line) => line.split(" ", 1)[0]!).filter((url) => URL.canParse(url));
  for (const { component, url } of targets) {
    for (const listener of own) {
      if (await isSamePlace(new URL(url), new URL(listener))) {
        const { origin } = new URL(url);
        throw new TailgateError(
          "SENDS_TO_ITSELF",
          `${component} sends to ${origin}, where this gateway itself takes records.`,
        );
      }
    }
  }
}

/** A name is looked up only where the ports are the same: that it cannot be, or that it takes long, is no matter else. */
async function isSamePlace(one: URL, other: URL): Promise<boolean> {
  if (portOf(one) !== portOf(other)) return false;
  const [addresses, others] = await Promise.all([addressesOf(one), addressesOf(other)]);
  return addresses.some((address) => others.includes(address));
}

function portOf({ port, protocol }: URL): number | undefined {
  return port === "" ? SCHEME_PORTS.get(protocol) : Number(port);
}

async function addressesOf({ hostname }: URL): Promise<string[]> {
  const name = hostname.replace(/^\[(.*)\]$/, "$1");
  if (ANY_ADDRESS.has(name)) return machineAddresses();
  if (isIP(name) !== 0) return [name];
  try {
    return (await lookup(name, { all: true })).map(({ address }) => address);
  } catch {
    return [];
  }
}

function machineAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((infos) =>
    (infos ?? []).map(({ address }) => address),
  );
}
