import { deliver } from "./fan-out.ts";
import { tailgateServer, type FanOutServer } from "./fan-out-servers.ts";
import { TICK_RECORDS, tickMaker, type Tick } from "./fan-out-tick.ts";
import type { ClientQuestion } from "./fan-out-clients.ts";
import { printFigures } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import { measured, type Scale, type Variant } from "./rounds.ts";

const VIEWERS = 100;

/** The number of distinct filters among the clients. */
const FILTERS = [0, 1, 10, 100];

const SLICE_TICKS = 40;

/**
 * What a record costs if a hundred clients have filters: each distinct filter is evaluated once, however many clients
 * use it. Everything matches, after all values were searched, so nothing is saved by sending less.
 */
export async function benchFanOutFilters({ rounds, share }: Scale): Promise<void> {
  await using clients = await HelperProcess.start(new URL("fan-out-clients.ts", import.meta.url));
  await using stack = new AsyncDisposableStack();
  const makeTicks = await tickMaker();
  const variants: Variant<string>[] = [];
  for (const count of FILTERS) {
    const server = stack.use(await tailgateServer());
    const queries = count === 0 ? undefined : Array.from({ length: count }, (_, n) => queryOf(n));
    const { port } = server;
    await ask(clients, {
      verb: "connect",
      port,
      count: VIEWERS,
      subprotocol: undefined,
      ...(queries && { queries }),
    });
    variants.push(
      variantOf(nameOf(count), server, clients, () => makeTicks(Math.ceil(SLICE_TICKS * share))),
    );
  }
  const samples = await measured(variants, rounds);
  printFigures(
    "ns/record",
    samples,
    FILTERS.slice(1).map((count) => ({
      name: "filters.ratio",
      of: nameOf(count),
      to: nameOf(0),
      target: undefined,
    })),
  );
}

function nameOf(filters: number): string {
  return `filters_${filters}.tailgate`;
}

/** A text that no record contains. */
function queryOf(index: number): string {
  return `?q=-absent-${index}`;
}

function variantOf(
  name: string,
  server: FanOutServer,
  clients: HelperProcess,
  makeTicks: () => Tick[],
): Variant<string> {
  let ticks: Tick[] = [];
  let bytes = 0;
  return {
    name,
    prepare() {
      ticks = makeTicks();
    },
    async run() {
      bytes += server.bytesOf(ticks);
      const received = ask(clients, { verb: "receive", port: server.port, bytes });
      for (const tick of ticks) await deliver(server, tick);
      await received;
      return ticks.length * TICK_RECORDS;
    },
  };
}

function ask(clients: HelperProcess, question: ClientQuestion): Promise<unknown> {
  return clients.ask(question);
}
