import { printCompared, printValues, type Target } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import type { SenderAnswer, SenderQuestion } from "./otlp-http-senders.ts";
import { peerProgram } from "./peer-program.ts";
import {
  collectorToFile,
  collectorToSink,
  tailgateToFile,
  tailgateToSink,
  type Pipeline,
} from "./pipelines.ts";
import { wallMicros, type Scale } from "./rounds.ts";

const PROGRAM = "otelcol";

/** A round writes some hundred megabytes to disk. */
const ROUNDS_MAX = 7;
const WARM_UP_ROUNDS = 2;

/**
 * Requests per slice; fewer if the Collector syncs each one. The gateway's in-memory journal holds more than a slice,
 * or a slow disk would cause it to lose records.
 */
const SIZES = [
  { records: 512, requests: 128, syncedRequests: 128 },
  { records: 32, requests: 2_000, syncedRequests: 1_000 },
  { records: 1, requests: 8_000, syncedRequests: 1_000 },
] as const;

const PEAK_TARGET: Target = "<= 160";

/** Compared with the Collector's plain file pipeline, and with its queue with fsync. */
const TARGETS: Readonly<Record<(typeof SIZES)[number]["records"], readonly [Target, Target]>> = {
  512: [">= 2", ">= 3"],
  32: [">= 2", ">= 5"],
  1: [">= 0.9", ">= 5"],
};

export function hasCollector(): boolean {
  return peerProgram(PROGRAM) !== undefined;
}

/**
 * Compares the gateway with the OpenTelemetry Collector, each in its own process with all cores: the same client with
 * eight connections and the same requests, alternately. Measures the CPU time of the server until it has delivered the
 * records. In the second half of each comparison, acknowledged records are durable.
 */
export async function benchCollector(scale: Scale): Promise<void> {
  const otelcol = peerProgram(PROGRAM);
  if (!otelcol) throw new Error("There is no Collector: run `npm run setup:peers` first.");
  for (const size of SIZES) await benchSize(otelcol, size, scale);
}

type Names = ReturnType<typeof namesOf>;

async function benchSize(
  otelcol: string,
  { records, requests, syncedRequests }: (typeof SIZES)[number],
  { rounds, share }: Scale,
): Promise<void> {
  await using sink = await HelperProcess.start(new URL("otlp-sink.ts", import.meta.url));
  await using senders = await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url));
  await using stack = new AsyncDisposableStack();
  const names = namesOf(records);
  const runnerOf = (name: string, pipeline: Pipeline, count: number = requests): Runner =>
    new Runner({
      name,
      pipeline: stack.use(pipeline),
      senders,
      records,
      requests: Math.ceil(count * share),
    });
  const runners = [
    runnerOf(names.memory, await tailgateToFile("memory")),
    runnerOf(names.collector, await collectorToFile(otelcol)),
    runnerOf(names.sqlite, await tailgateToFile("sqlite")),
    runnerOf(names.sqliteToSink, await tailgateToSink(sink)),
    runnerOf(names.collectorQueue, await collectorToSink(otelcol, sink), syncedRequests),
  ];
  for (let round = -WARM_UP_ROUNDS; round < Math.min(rounds, ROUNDS_MAX); round++) {
    const inTurn = round % 2 === 0 ? runners : runners.toReversed();
    for (const runner of inTurn) await runner.run(round >= 0);
  }
  printSize(names, runners, TARGETS[records]);
}

function namesOf(records: number) {
  const prefix = `collector_${records}`;
  return {
    memory: `${prefix}.tailgate_memory_file`,
    collector: `${prefix}.collector_file`,
    sqlite: `${prefix}.tailgate_sqlite_file`,
    sqliteToSink: `${prefix}.tailgate_sqlite_otlp`,
    collectorQueue: `${prefix}.collector_fsync_otlp`,
  } as const;
}

function printSize(
  names: Names,
  runners: readonly Runner[],
  [fileTarget, durableTarget]: readonly [Target, Target],
): void {
  const name = "collector.ratio";
  printCompared("records/CPU-s", valuesOf(runners, "perCpuSecond"), [
    { name, of: names.memory, to: names.collector, target: fileTarget },
    { name, of: names.sqlite, to: names.collectorQueue, target: durableTarget },
    { name, of: names.sqliteToSink, to: names.collectorQueue, target: undefined },
  ]);
  printCompared("records/s", valuesOf(runners, "perSecond", ".rate"), [
    { name, of: `${names.memory}.rate`, to: `${names.collector}.rate`, target: undefined },
    { name, of: `${names.sqlite}.rate`, to: `${names.collectorQueue}.rate`, target: undefined },
  ]);
  printCompared("ms", valuesOf(runners, "p50Ms", ".p50"), [
    { name, of: `${names.memory}.p50`, to: `${names.collector}.p50`, target: undefined },
    { name, of: `${names.sqlite}.p50`, to: `${names.collectorQueue}.p50`, target: "<= 1" },
  ]);
  printCompared("ms", valuesOf(runners, "p99Ms", ".p99"), []);
  for (const { name: figure, peakBytes } of runners) {
    const target = figure.includes("tailgate") ? PEAK_TARGET : undefined;
    printValues(`${figure}.peak`, "MB", [peakBytes / 1e6], target);
  }
}

type Results = { readonly [K in "perCpuSecond" | "perSecond" | "p50Ms" | "p99Ms"]: number[] };

function valuesOf(
  runners: readonly Runner[],
  kind: keyof Results,
  suffix = "",
): Record<string, readonly number[]> {
  return Object.fromEntries(runners.map(({ name, results }) => [name + suffix, results[kind]]));
}

interface RunnerSetup {
  readonly name: string;
  readonly pipeline: Pipeline;
  readonly senders: HelperProcess;
  readonly records: number;
  readonly requests: number;
}

/** Sends slices to one pipeline. */
class Runner {
  readonly name: string;
  readonly results: Results = { perCpuSecond: [], perSecond: [], p50Ms: [], p99Ms: [] };
  readonly #setup: RunnerSetup;
  #sent = 0;

  constructor(setup: RunnerSetup) {
    this.#setup = setup;
    this.name = setup.name;
  }

  get peakBytes(): number {
    return this.#setup.pipeline.program.peakBytes;
  }

  async run(isCounted: boolean): Promise<void> {
    const { pipeline, senders, records, requests } = this.#setup;
    const { program, otlpPort: port } = pipeline;
    const question: SenderQuestion = { port, format: "protobuf", requests, records };
    const sent = requests * records;
    this.#sent += sent;
    const [cpuStart, start] = [program.cpuMicros, wallMicros()];
    const { p50Ms, p99Ms } = (await senders.ask(question)) as SenderAnswer;
    const tookMicros = wallMicros() - start;
    await pipeline.arrived(this.#sent);
    const cpuMicros = program.cpuMicros - cpuStart;
    if (!isCounted) return;
    this.results.perCpuSecond.push((1e6 * sent) / cpuMicros);
    this.results.perSecond.push((1e6 * sent) / tookMicros);
    this.results.p50Ms.push(p50Ms);
    this.results.p99Ms.push(p99Ms);
  }
}
