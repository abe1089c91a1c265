import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LoggerProvider } from "@opentelemetry/sdk-logs";
import { built } from "./built.ts";
import { cpuMicros } from "./cpu-clock.ts";
import { emitOf, tailgate } from "./emitters.ts";
import { deliver } from "./fan-out.ts";
import { tailgateServer as fanOutServer } from "./fan-out-servers.ts";
import { TICK_RECORDS, tickMaker } from "./fan-out-tick.ts";
import type { ClientQuestion } from "./fan-out-clients.ts";
import { printFigures, type Target, type Unit } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import { batchMaker, BenchDirectory, openJournal } from "./journal-directory.ts";
import type { SenderQuestion } from "./otlp-http-senders.ts";
import { measured, wallMicros, type Scale, type Variant } from "./rounds.ts";

/** The cost of one record may not grow with their number; the margin allows for noise of a shared machine. */
const TARGET: Target = "<= 1.5";

const GROWTH = 10;
const ROUNDS_MAX = 5;

/** The cost per item at one size and at ten times that size, for everything that can grow. */
export async function benchGrowth(scale: Scale): Promise<void> {
  const smaller = { ...scale, rounds: Math.min(scale.rounds, ROUNDS_MAX) };
  for (const grow of [records, connectedClients, loggers, exporters, journal]) await grow(smaller);
}

/** Measures a variant at both sizes and prints how much its cost has grown. */
async function compare(
  name: string,
  unit: Unit,
  variantOf: (size: 1 | typeof GROWTH, name: string) => Promise<Variant<string>>,
  { rounds }: Scale,
  clock = cpuMicros,
): Promise<void> {
  const [one, ten] = [`growth_${name}_1x.tailgate`, `growth_${name}_10x.tailgate`];
  const variants = [await variantOf(1, one), await variantOf(GROWTH, ten)];
  const samples = await measured(variants, rounds, clock);
  printFigures(unit, samples, [{ name: "growth.ratio", of: ten, to: one, target: TARGET }]);
}

const FEWER_RECORDS = 2_048;
const REQUEST_RECORDS = 512;

/** Ten times the records at once, through the whole gateway into its file. */
async function records(scale: Scale): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const senders = stack.use(
    await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url)),
  );
  await compare(
    "records",
    "ns/record",
    async (size, name) => {
      const { otlpPort: port, flush } = stack.use(await embedded({ file: {} }));
      const requests = (size * FEWER_RECORDS) / REQUEST_RECORDS;
      return {
        name,
        async run() {
          await senders.ask({ port, format: "protobuf", requests } satisfies SenderQuestion);
          await flush();
          return requests * REQUEST_RECORDS;
        },
      };
    },
    scale,
  );
}

const FEWER_CLIENTS = 100;
const CLIENT_TICKS = 40;

async function connectedClients({ quick, ...scale }: Scale): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const clients = stack.use(
    await HelperProcess.start(new URL("fan-out-clients.ts", import.meta.url)),
  );
  const makeTicks = await tickMaker();
  await compare(
    "clients",
    "ns/delivery",
    async (size, name) => {
      const server = stack.use(await fanOutServer());
      const { port } = server;
      const count = size * FEWER_CLIENTS;
      const ask = (question: ClientQuestion): Promise<unknown> => clients.ask(question);
      await ask({ verb: "connect", port, count, subprotocol: undefined });
      let bytes = 0;
      return {
        name,
        async run() {
          const ticks = makeTicks(CLIENT_TICKS);
          bytes += server.bytesOf(ticks);
          const received = ask({ verb: "receive", port, bytes });
          for (const tick of ticks) await deliver(server, tick);
          await received;
          return ticks.length * TICK_RECORDS * count;
        },
      };
    },
    { quick, ...scale },
  );
}

const FEWER_LOGGERS = 100;
const EMITTED = 4_000;

async function loggers(scale: Scale): Promise<void> {
  await compare(
    "loggers",
    "ns/record",
    async (size, name) => {
      const { processor } = await tailgate(() => Promise.resolve());
      const provider = new LoggerProvider({ processors: [processor] });
      const emitters = Array.from({ length: size * FEWER_LOGGERS }, (_, index) =>
        emitOf(provider.getLogger(`orchestrator.instance_${index}`)),
      );
      return {
        name,
        async run() {
          for (let index = 0; index < EMITTED; index++) emitters[index % emitters.length]!(index);
          await processor.forceFlush();
          return EMITTED;
        },
      };
    },
    scale,
  );
}

/** For each exporter, compared with a gateway without any. */
async function exporters(scale: Scale): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const senders = stack.use(
    await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url)),
  );
  await compare(
    "exporters",
    "ns/delivery",
    async (size, name) => {
      const files = Array.from({ length: size }, (_, index) => [
        `file/${index}`,
        { path: `${index}.log` },
      ]);
      const { otlpPort: port, flush } = stack.use(await embedded(Object.fromEntries(files)));
      const requests = FEWER_RECORDS / REQUEST_RECORDS;
      return {
        name,
        async run() {
          await senders.ask({ port, format: "protobuf", requests } satisfies SenderQuestion);
          await flush();
          return requests * REQUEST_RECORDS * size;
        },
      };
    },
    scale,
  );
}

const FEWER_STORED = 51_200;
const APPENDED_BATCHES = 16;

/** The cost of a commit and of the newest page if the journal holds ten times as much. */
async function journal(scale: Scale): Promise<void> {
  await using small = await BenchDirectory.make();
  await using large = await BenchDirectory.make();
  const makeBatch = await batchMaker(REQUEST_RECORDS);
  const filled = async (directory: string, size: number) => {
    const stored = await openJournal(directory);
    for (let count = (size * FEWER_STORED) / REQUEST_RECORDS; count > 0; count--) {
      await stored.append(makeBatch());
    }
    // After reopening, nothing is cached in memory.
    await stored.close();
    return openJournal(directory);
  };
  const journals = { 1: await filled(small.path, 1), [GROWTH]: await filled(large.path, GROWTH) };
  await compare(
    "journal_read",
    "ns/record",
    async (size, name) => ({
      name,
      async run() {
        const stored = journals[size];
        const page = await stored.read({ from: stored.newest - REQUEST_RECORDS });
        return page.records?.length ?? 0;
      },
    }),
    scale,
    wallMicros,
  );
  await compare(
    "journal_append",
    "ns/record",
    async (size, name) => ({
      name,
      async run() {
        const batches = Array.from({ length: APPENDED_BATCHES }, makeBatch);
        await Promise.all(batches.map((batch) => journals[size].append(batch)));
        return APPENDED_BATCHES * REQUEST_RECORDS;
      },
    }),
    scale,
    wallMicros,
  );
  for (const stored of Object.values(journals)) await stored.close();
}

interface Embedded extends AsyncDisposable {
  readonly otlpPort: number;
  /** Resolves when all exporters have everything. */
  flush(): Promise<void>;
}

const FLUSH_MS_MAX = 30_000;

/** A gateway in this process. */
async function embedded(files: object): Promise<Embedded> {
  const { resolveConfig, startTailgate } =
    await built<typeof import("../../src/index.ts")>("src/index.js");
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  const config = await resolveConfig({
    base: "embedded",
    document: { receivers: { otlp: { port: 0 } }, exporters: { ...files } },
    flags: { port: 0, logDir: join(directory, "logs") },
    env: { XDG_CONFIG_HOME: directory },
    cwd: directory,
  });
  const { gateway, listeners, stop } = await startTailgate(config, { write: () => {} });
  const url = listeners.map((line) => /^http\S+\/v1\/logs(?= )/.exec(line)?.[0]).find(Boolean)!;
  return {
    otlpPort: Number(new URL(url).port),
    flush: () => gateway.flush(AbortSignal.timeout(FLUSH_MS_MAX)),
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(directory, { recursive: true });
    },
  };
}
