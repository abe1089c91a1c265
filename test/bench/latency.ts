import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";
import { WebSocketServer } from "ws";
import { cpuMicros } from "./cpu-clock.ts";
import { sdkLogger, tailgate } from "./emitters.ts";
import { tailgateServer } from "./fan-out-servers.ts";
import { printCompared, printValues } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import { naiveEnvelope } from "./naive-envelope.ts";
import { TIMESTAMP_LENGTH } from "./paced.ts";
import type { PacerQuestion } from "./pacer.ts";
import { wallMicros, type Scale } from "./rounds.ts";
import type { TailAnswer, TailQuestion } from "./tail-clients.ts";
import { LOGGER_NAME, SEVERITY_TEXT, typicalAttributes, typicalBody } from "./typical-record.ts";

const VIEWERS = 100;
const LOOK_AT_EVERY = 10;

const TICK_MICROS = 1_000;
const ROUND_TICKS = 1_500;
const ARRIVE_MS_MAX = 10_000;

/** A server that sends one message to all of its clients. */
interface Sender extends AsyncDisposable {
  readonly port: number;
  send(text: string, index: number): void;
}

const KINDS = [
  { name: "latency_1k.stringify_once", server: "once", messagesPerTick: 1 },
  { name: "latency_1k.tailgate", server: "tailgate", messagesPerTick: 1 },
  { name: "latency_10k.tailgate", server: "tailgate", messagesPerTick: 10 },
] as const;

/**
 * The latency of a message to a hundred clients, from its scheduled time until a client has read it, and the share of a
 * core that it costs. A clock process sets the pace; both servers run in this process.
 */
export async function benchLatency({ rounds, share }: Scale): Promise<void> {
  await using clients = await HelperProcess.start(new URL("tail-clients.ts", import.meta.url));
  await using pacer = await HelperProcess.start(new URL("pacer.ts", import.meta.url));
  await using theirs = await onceSender();
  await using ours = await tailgateSender();
  const senders = { once: theirs, tailgate: ours };
  for (const { port } of [theirs, ours]) {
    await ask(clients, {
      verb: "connect",
      port,
      path: "/ws/logs",
      count: VIEWERS,
      lookAtEvery: LOOK_AT_EVERY,
    });
  }
  const ticks = Math.ceil(ROUND_TICKS * share);
  const results = new Map<string, { p50: number[]; p99: number[]; core: number[] }>(
    KINDS.map(({ name }) => [name, { p50: [], p99: [], core: [] }]),
  );
  for (let round = -1; round < rounds; round++) {
    for (const { name, server, messagesPerTick } of KINDS) {
      const fixture = { clients, pacer, sender: senders[server] };
      const { p50Ms, p99Ms, core } = await paced(fixture, ticks, messagesPerTick);
      if (round < 0) continue;
      const { p50, p99, core: cores } = results.get(name)!;
      p50.push(p50Ms);
      p99.push(p99Ms);
      cores.push(core);
    }
  }
  const valuesOf = (which: "p50" | "p99") =>
    Object.fromEntries(
      KINDS.map(({ name }) => [`${name}.${which}`, results.get(name)![which]]),
    ) as Record<`${(typeof KINDS)[number]["name"]}.${typeof which}`, number[]>;
  printCompared("ms", valuesOf("p50"), []);
  printCompared("ms", valuesOf("p99"), [
    {
      name: "latency.ratio",
      of: "latency_1k.tailgate.p99",
      to: "latency_1k.stringify_once.p99",
      target: undefined,
    },
    {
      name: "latency.ratio",
      of: "latency_10k.tailgate.p99",
      to: "latency_1k.stringify_once.p99",
      target: "<= 1.5",
    },
  ]);
  for (const { name } of KINDS) {
    const target = name === "latency_10k.tailgate" ? "<= 0.6" : undefined;
    printValues(`${name}.core`, "share", results.get(name)!.core, target);
  }
}

interface Fixture {
  readonly clients: HelperProcess;
  readonly pacer: HelperProcess;
  readonly sender: Sender;
}

/** Sends this many messages at each tick of the clock; resolves when all clients have them. */
async function paced(
  { clients, pacer, sender }: Fixture,
  ticks: number,
  messagesPerTick: number,
): Promise<TailAnswer & { readonly core: number }> {
  const { port } = sender;
  await ask(clients, { verb: "begin", port });
  let sent = 0;
  await using clock = await clockServer((timestamp) => {
    for (let message = 0; message < messagesPerTick; message++) sender.send(timestamp, sent++);
  });
  const [start, cpuStart] = [wallMicros(), cpuMicros()];
  const question: PacerQuestion = { port: clock.port, ticks, everyMicros: TICK_MICROS };
  await pacer.ask(question);
  const core = (cpuMicros() - cpuStart) / (wallMicros() - start);
  const records = ticks * messagesPerTick;
  const answer = (await ask(clients, {
    verb: "end",
    port,
    records,
    waitMsMax: ARRIVE_MS_MAX,
  })) as TailAnswer;
  const { arrived, due } = answer;
  if (arrived !== due) throw new Error(`Of ${due} messages ${arrived} arrived.`);
  return { ...answer, core };
}

function ask(clients: HelperProcess, question: TailQuestion): Promise<unknown> {
  return clients.ask(question);
}

/** Calls back for each timestamp found. */
async function clockServer(
  tick: (timestamp: string) => void,
): Promise<AsyncDisposable & { readonly port: number }> {
  const server: Server = createServer((socket) => {
    let rest = "";
    socket.setEncoding("latin1").on("data", (text: string) => {
      rest += text;
      for (; rest.length >= TIMESTAMP_LENGTH; rest = rest.slice(TIMESTAMP_LENGTH)) {
        tick(rest.slice(0, TIMESTAMP_LENGTH));
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

/** From the logger to the socket, as in a gateway. */
async function tailgateSender(): Promise<Sender> {
  const server = await tailgateServer();
  const { processor } = await tailgate((batch) => {
    server.send(batch);
    return Promise.resolve();
  });
  const { emitText } = sdkLogger(processor);
  return {
    port: server.port,
    send: (timestamp, index) => emitText(`${typicalBody(index)} ${timestamp}`),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** The better of the usual ways: each message is serialized once, and sent to each client separately. */
async function onceSender(): Promise<Sender> {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    send(timestamp, index) {
      const nowMs = Date.now();
      const text = naiveEnvelope({
        seconds: Math.floor(nowMs / 1000),
        nanos: (nowMs % 1000) * 1_000_000,
        level: SEVERITY_TEXT,
        logger: LOGGER_NAME,
        message: `${typicalBody(index)} ${timestamp}`,
        attributes: typicalAttributes(),
      });
      for (const client of server.clients) client.send(text);
    },
    async [Symbol.asyncDispose]() {
      for (const client of server.clients) client.terminate();
      server.close();
      await once(server, "close");
    },
  };
}
