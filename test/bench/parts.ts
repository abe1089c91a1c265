import { setTimeout as wait } from "node:timers/promises";
import { printCompared } from "./figure.ts";
import { startGateway, type GatewayProcess } from "./gateway-process.ts";
import { HelperProcess } from "./helper-process.ts";
import type { SenderQuestion } from "./otlp-http-senders.ts";
import type { Program } from "./program.ts";
import type { Scale } from "./rounds.ts";

const RECORDS = 512;
const SLICE_REQUESTS = 128;

const ROUNDS_MAX = 5;
const WARM_UP_ROUNDS = 2;

/** A process without CPU time for this long is idle. */
const IDLE_MS = 60;

const FILE = { file: { max_bytes: 2 ** 40 } };

/** Each adds one part to the previous one; undefined is the default, with the client endpoint, console and audit. */
const CONFIGS = [
  { name: "parts.tailgate_in_memory", config: { journal: { engine: "memory" }, exporters: {} } },
  { name: "parts.tailgate_durable", config: { exporters: {} } },
  { name: "parts.tailgate_and_file", config: { exporters: FILE } },
  { name: "parts.tailgate_default", config: undefined },
] as const;

/** The cost of a record, received in a request of 512, with each part of the gateway: CPU time of all threads. */
export async function benchParts({ rounds, share }: Scale): Promise<void> {
  await using senders = await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url));
  await using stack = new AsyncDisposableStack();
  const gateways = new Map<string, GatewayProcess>();
  for (const { name, config } of CONFIGS) {
    const whole = config && { receivers: { otlp: {} }, ...config };
    gateways.set(name, stack.use(await startGateway(whole)));
  }
  const requests = Math.ceil(SLICE_REQUESTS * share);
  const nanos = new Map<string, number[]>(CONFIGS.map(({ name }) => [name, []]));
  for (let round = -WARM_UP_ROUNDS; round < Math.min(rounds, ROUNDS_MAX); round++) {
    for (const [name, { program, otlpPort: port }] of gateways) {
      const start = program.cpuMicros;
      const question = { port, format: "protobuf", requests, records: RECORDS } as const;
      await senders.ask(question satisfies SenderQuestion);
      await idle(program);
      const micros = program.cpuMicros - start;
      if (round >= 0) nanos.get(name)!.push((1_000 * micros) / (requests * RECORDS));
    }
  }
  printCompared("ns/record", Object.fromEntries(nanos), []);
}

async function idle(program: Program): Promise<void> {
  for (let before = -1; before !== program.cpuMicros;) {
    before = program.cpuMicros;
    await wait(IDLE_MS);
  }
}
