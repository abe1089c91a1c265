import { once } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  naiveServer,
  rawServer,
  subprotocolServer,
  tailgateServer,
  type FanOutServer,
} from "./fan-out-servers.ts";
import { TICK_RECORDS, tickMaker, type Tick } from "./fan-out-tick.ts";
import type { ClientQuestion } from "./fan-out-clients.ts";
import { printFigures, type Target } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import { measured, type Scale, type Variant } from "./rounds.ts";

const QUICK_VIEWERS = [1, 10, 100];
const VIEWERS = [...QUICK_VIEWERS, 1000];

/** The minimum number of deliveries per slice, and the maximum number of ticks. */
const SLICE_DELIVERIES = 250_000;
const SLICE_TICKS_MAX = 500;
/** The naive server takes up to thirty times as long. */
const NAIVE_DELIVERIES = 3_200;
const NAIVE_TICKS_MAX = 60;

const RAW_TARGETS: ReadonlyMap<number, Target> = new Map([
  [100, ">= 0.85"],
  [1000, ">= 0.95"],
] as const);
const NAIVE_TARGETS: ReadonlyMap<number, Target> = new Map([[100, ">= 30"]] as const);

/**
 * What one message to one client costs the server. The clients, in a process of their own, count the bytes: a slice
 * ends when each of them has everything.
 */
export async function benchFanOut(scale: Scale): Promise<void> {
  await using clients = await HelperProcess.start(new URL("fan-out-clients.ts", import.meta.url));
  const makeTicks = await tickMaker();
  for (const count of scale.quick ? QUICK_VIEWERS : VIEWERS) {
    await benchClients({ clients, count, makeTicks }, scale);
  }
}

interface Fixture {
  readonly clients: HelperProcess;
  readonly count: number;
  makeTicks(count: number): Tick[];
}

async function benchClients(fixture: Fixture, { rounds, share }: Scale): Promise<void> {
  const { count } = fixture;
  const ticks = Math.ceil(share * ticksFor(count, SLICE_DELIVERIES, SLICE_TICKS_MAX));
  const naiveTicks = Math.ceil(share * ticksFor(count, NAIVE_DELIVERIES, NAIVE_TICKS_MAX));
  await using tailgate = await tailgateServer();
  await using subprotocol = await subprotocolServer();
  await using compressed = await subprotocolServer(true);
  await using naive = await naiveServer();
  await using raw = await rawServer();
  for (const server of [tailgate, naive, raw]) await connectClients(server, fixture);
  for (const server of [subprotocol, compressed]) {
    await connectClients(server, fixture, "tailgate.v1");
  }
  const names = {
    tailgate: `fan_out_${count}.tailgate`,
    subprotocol: `fan_out_${count}.tailgate_v1`,
    compressed: `fan_out_${count}.compressed`,
    naive: `fan_out_${count}.naive`,
    raw: `fan_out_${count}.raw`,
  };
  const samples = await measured(
    [
      variantOf(names.tailgate, tailgate, ticks, fixture),
      variantOf(names.subprotocol, subprotocol, ticks, fixture),
      variantOf(names.compressed, compressed, ticks, fixture),
      variantOf(names.naive, naive, naiveTicks, fixture),
      variantOf(names.raw, raw, ticks, fixture),
    ],
    rounds,
  );
  const ratio = { name: `fan_out_${count}.ratio`, of: names.tailgate };
  printFigures("deliveries/s", samples, [
    { ...ratio, to: names.raw, target: RAW_TARGETS.get(count) },
    { ...ratio, to: names.naive, target: NAIVE_TARGETS.get(count) },
    { ...ratio, of: names.subprotocol, to: names.tailgate, target: undefined },
    {
      ...ratio,
      of: names.compressed,
      to: names.subprotocol,
      target: count >= 100 ? ">= 0.25" : undefined,
    },
  ]);
}

function ticksFor(clients: number, deliveries: number, ticksMax: number): number {
  return Math.min(ticksMax, Math.ceil(deliveries / (clients * TICK_RECORDS)));
}

/** Connects the clients, after a client of the ws package has received what it should. */
async function connectClients(
  { port, send }: FanOutServer,
  { clients, count, makeTicks }: Fixture,
  subprotocol?: string,
): Promise<void> {
  const [tick] = makeTicks(1);
  await ask(clients, { verb: "watch", port, subprotocol });
  send(tick!);
  const texts = await ask(clients, { verb: "watched", count: TICK_RECORDS });
  if (JSON.stringify(texts) !== JSON.stringify(textsOf(tick!))) {
    throw new Error("A WebSocket client received other messages than were sent.");
  }
  await ask(clients, { verb: "connect", port, count, subprotocol });
}

function textsOf(tick: Tick): string[] {
  return Array.from({ length: tick.length }, (_, index) =>
    Buffer.from(tick.bytes(index)).toString(),
  );
}

function variantOf<Name extends string>(
  name: Name,
  server: FanOutServer,
  tickCount: number,
  { clients, count, makeTicks }: Fixture,
): Variant<Name> {
  let ticks: Tick[] = [];
  let bytesForEach = 0;
  return {
    name,
    prepare() {
      ticks = makeTicks(tickCount);
      bytesForEach += server.bytesOf(ticks);
    },
    async run() {
      const { port } = server;
      const received = ask(clients, { verb: "receive", port, bytes: bytesForEach });
      for (const tick of ticks) await deliver(server, tick);
      await received;
      return ticks.length * TICK_RECORDS * count;
    },
  };
}

/** Resolves when it is time for the next tick: filling sockets beyond their buffers helps nobody. */
export async function deliver({ send, sockets }: FanOutServer, tick: Tick): Promise<void> {
  send(tick);
  await nextTurn();
  for (const socket of sockets) if (socket.writableNeedDrain) await once(socket, "drain");
}

function ask(clients: HelperProcess, question: ClientQuestion): Promise<unknown> {
  return clients.ask(question);
}
