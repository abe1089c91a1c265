import { printCompared, printValues, type Ratio } from "./figure.ts";
import { startGateway } from "./gateway-process.ts";
import { HelperProcess } from "./helper-process.ts";
import { startLoki } from "./loki.ts";
import type { PacedQuestion } from "./paced-sender.ts";
import { peerProgram } from "./peer-program.ts";
import type { Scale } from "./rounds.ts";
import type { TailAnswer, TailQuestion } from "./tail-clients.ts";

const CLIENTS = [1, 100] as const;

/** A thousand records per second, one per request. */
const EVERY_MICROS = 1_000;
const ROUND_RECORDS = 2_000;
const ROUNDS_MAX = 5;

/** A record not received by then counts as lost. */
const ARRIVE_MS_MAX = 5_000;

const LOKI_QUERY = new URLSearchParams({ query: '{service_name="orchestrator"}', limit: "10" });

/** A path from OTLP to clients' WebSockets. */
interface Tail {
  readonly name: "tailgate" | "loki";
  /** Its OTLP and WebSocket URLs. */
  readonly otlpPort: number;
  readonly otlpPath: string;
  readonly port: number;
  readonly path: string;
}

/** The latency of a record from its scheduled time over OTLP until a client has it. */
export async function benchLiveTail(scale: Scale): Promise<void> {
  await using stack = new AsyncDisposableStack();
  for (const clients of CLIENTS) await benchClients([await tailgateTail(stack)], clients, scale);
}

/** The same, compared with Loki. */
export async function benchLoki(scale: Scale): Promise<void> {
  const command = peerProgram("loki");
  if (!command) {
    process.stderr.write("There is no Loki: `LOKI=1 npm run setup:peers` builds it, in minutes.\n");
    return benchLiveTail(scale);
  }
  for (const clients of CLIENTS) {
    await using stack = new AsyncDisposableStack();
    const tails = [await tailgateTail(stack), await lokiTail(stack, command)];
    await benchClients(tails, clients, scale);
  }
}

async function tailgateTail(stack: AsyncDisposableStack): Promise<Tail> {
  const { port, otlpPort } = stack.use(await startGateway());
  return { name: "tailgate", otlpPort, otlpPath: "/v1/logs", port, path: "/ws/logs" };
}

async function lokiTail(stack: AsyncDisposableStack, command: string): Promise<Tail> {
  const { port } = stack.use(await startLoki(command));
  const path = `/loki/api/v1/tail?${LOKI_QUERY.toString()}`;
  return { name: "loki", otlpPort: port, otlpPath: "/otlp/v1/logs", port, path };
}

async function benchClients(
  tails: readonly Tail[],
  count: number,
  { rounds, share }: Scale,
): Promise<void> {
  await using clients = await HelperProcess.start(new URL("tail-clients.ts", import.meta.url));
  await using sender = await HelperProcess.start(new URL("paced-sender.ts", import.meta.url));
  for (const { port, path } of tails) {
    await ask(clients, { verb: "connect", port, path, count, lookAtEvery: 1 });
  }
  const answers = new Map<Tail, TailAnswer[]>(tails.map((tail) => [tail, []]));
  for (let round = -1; round < Math.min(rounds, ROUNDS_MAX); round++) {
    for (const tail of tails) {
      const answer = await paced({ clients, sender, tail }, Math.ceil(ROUND_RECORDS * share));
      if (round >= 0) answers.get(tail)!.push(answer);
    }
  }
  printAnswers(`live_tail_${count}`, answers);
}

interface Fixture {
  readonly clients: HelperProcess;
  readonly sender: HelperProcess;
  readonly tail: Tail;
}

async function paced({ clients, sender, tail }: Fixture, records: number): Promise<TailAnswer> {
  const { port, otlpPort, otlpPath: path } = tail;
  await ask(clients, { verb: "begin", port });
  const question: PacedQuestion = { port: otlpPort, path, records, everyMicros: EVERY_MICROS };
  await sender.ask(question);
  const end = { verb: "end", port, records, waitMsMax: ARRIVE_MS_MAX } as const;
  return (await ask(clients, end)) as TailAnswer;
}

function printAnswers(prefix: string, answers: ReadonlyMap<Tail, readonly TailAnswer[]>): void {
  const valuesOf = (suffix: string, value: (answer: TailAnswer) => number) =>
    Object.fromEntries(
      [...answers].map(([{ name }, ofTail]) => [`${prefix}.${name}.${suffix}`, ofTail.map(value)]),
    );
  const ratioOf = (suffix: string): Ratio<string>[] =>
    answers.size < 2
      ? []
      : [
          {
            name: "live_tail.ratio",
            of: `${prefix}.tailgate.${suffix}`,
            to: `${prefix}.loki.${suffix}`,
            target: undefined,
          },
        ];
  printCompared(
    "ms",
    valuesOf("p50", ({ p50Ms }) => p50Ms),
    ratioOf("p50"),
  );
  printCompared(
    "ms",
    valuesOf("p99", ({ p99Ms }) => p99Ms),
    ratioOf("p99"),
    (name) => (name.includes("tailgate") ? "<= 5" : undefined),
  );
  for (const [{ name }, ofTail] of answers) {
    const shares = ofTail.map(({ arrived, due }) => arrived / due);
    printValues(
      `${prefix}.${name}.arrived`,
      "share",
      shares,
      name === "tailgate" ? ">= 1" : undefined,
    );
  }
}

function ask(clients: HelperProcess, question: TailQuestion): Promise<unknown> {
  return clients.ask(question);
}
