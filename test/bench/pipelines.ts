import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { startGateway } from "./gateway-process.ts";
import type { HelperProcess } from "./helper-process.ts";
import type { SinkQuestion } from "./otlp-sink.ts";
import { freePort } from "./peer-program.ts";
import { Program } from "./program.ts";

/** A server that receives OTLP, and the destination that it delivers to. */
export interface Pipeline extends AsyncDisposable {
  readonly program: Program;
  readonly otlpPort: number;
  /** Resolves when this many of all records sent to it have arrived at the destination. */
  arrived(records: number): Promise<void>;
}

/** More than is written here, since the Collector's file is not rotated either. */
const FILE_BYTES_MAX = 2 ** 40;

const LOOK_EVERY_MS = 5;

/** Records that have not arrived by then are lost. */
const ARRIVE_MS_MAX = 30_000;

/** The gateway writing to a file. */
export async function tailgateToFile(engine: "memory" | "sqlite"): Promise<Pipeline> {
  const gateway = await startGateway({
    receivers: { otlp: {} },
    exporters: { file: { max_bytes: FILE_BYTES_MAX } },
    journal: { engine },
  });
  const path = join(gateway.logDir, "orchestrator.log");
  let lineBytes: number | undefined;
  return {
    ...gateway,
    async arrived(records) {
      // All lines have the same length.
      lineBytes ??= await firstLineBytes(path);
      const lateMs = performance.now() + ARRIVE_MS_MAX;
      while ((await stat(path)).size < records * lineBytes) {
        if (performance.now() > lateMs)
          throw new Error(`${path} lacks some of ${records} records.`);
        await wait(LOOK_EVERY_MS);
      }
    },
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}

/** The gateway exporting to another server from a durable journal. */
export async function tailgateToSink(sink: HelperProcess): Promise<Pipeline> {
  const sinkPort = await listen(sink);
  const gateway = await startGateway({
    receivers: { otlp: {} },
    exporters: { otlp: { endpoint: `http://127.0.0.1:${sinkPort}` } },
    journal: { engine: "sqlite" },
  });
  return {
    ...gateway,
    arrived: (records) => receive(sink, sinkPort, records),
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}

/** The Collector without a destination: its maximum rate. */
export async function collectorAlone(otelcol: string, otlpPort?: number): Promise<Pipeline> {
  return startCollector(
    otelcol,
    () => ({ exporters: { debug: { verbosity: "basic" } }, arrived: async () => {} }),
    otlpPort,
  );
}

/** The Collector writing to a file. */
export async function collectorToFile(otelcol: string): Promise<Pipeline> {
  return startCollector(otelcol, (directory) => ({
    exporters: { file: { path: join(directory, "logs.jsonl") } },
    // The file is written before a request is answered.
    arrived: async () => {},
  }));
}

/** The Collector exporting to another server from a durable queue. */
export async function collectorToSink(otelcol: string, sink: HelperProcess): Promise<Pipeline> {
  const sinkPort = await listen(sink);
  return startCollector(otelcol, (directory) => ({
    extensions: { file_storage: { directory, fsync: true } },
    exporters: {
      otlp_http: {
        endpoint: `http://127.0.0.1:${sinkPort}`,
        compression: "none",
        sending_queue: { storage: "file_storage" },
      },
    },
    arrived: (records) => receive(sink, sinkPort, records),
  }));
}

interface CollectorSetup extends Pick<Pipeline, "arrived"> {
  readonly extensions?: object;
  readonly exporters: object;
}

async function startCollector(
  otelcol: string,
  setupIn: (directory: string) => CollectorSetup,
  givenPort?: number,
): Promise<Pipeline> {
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  const otlpPort = givenPort ?? (await freePort());
  const { extensions = {}, exporters, arrived } = setupIn(directory);
  const config = {
    receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${otlpPort}` } } } },
    extensions,
    exporters,
    service: {
      extensions: Object.keys(extensions),
      telemetry: { metrics: { level: "none" } },
      pipelines: { logs: { receivers: ["otlp"], exporters: Object.keys(exporters) } },
    },
  };
  const file = join(directory, "collector.yaml");
  await writeFile(file, JSON.stringify(config));
  const program = await Program.start({
    command: otelcol,
    args: ["--config", file],
    ready: /Everything is ready/,
  });
  return {
    program,
    otlpPort,
    arrived,
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

async function firstLineBytes(path: string): Promise<number> {
  for (;;) {
    const text = await readFile(path, "utf8").catch(() => "");
    const end = text.indexOf("\n");
    if (end >= 0) return end + 1;
    await wait(LOOK_EVERY_MS);
  }
}

async function listen(sink: HelperProcess): Promise<number> {
  return (await sink.ask({ verb: "listen" } satisfies SinkQuestion)) as number;
}

async function receive(sink: HelperProcess, port: number, records: number): Promise<void> {
  await sink.ask({ verb: "receive", port, records } satisfies SinkQuestion);
}
