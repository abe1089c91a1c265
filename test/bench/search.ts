import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { printCompared, printValues, quantile, type Ratio, type Target } from "./figure.ts";
import { startGateway, type GatewayProcess } from "./gateway-process.ts";
import { requestOf, Sender } from "./otlp-connection.ts";
import { peerProgram } from "./peer-program.ts";
import { wallMicros, type Scale } from "./rounds.ts";
import { GatewayQueries, HttpClient } from "./search/gateway-queries.ts";
import { RecordGenerator, START_MS, type Needle } from "./search/generator.ts";
import { VictoriaLogs } from "./search/victoria-logs.ts";

/** BENCH_RECORDS is for trying things out. */
const RECORDS = Number(process.env["BENCH_RECORDS"] ?? 5_000_000);

/** The sizes of the requests: nearly all records come in full ones, most commits are small. */
const REQUEST_SIZES = [...Array<number>(20).fill(512), ...Array<number>(20).fill(32), 1, 1, 1, 1];

const CONNECTIONS = 8;

const DAY_MS = 86_400_000;
const HOUR = {
  since: new Date(START_MS + 12 * 3_600_000).toISOString(),
  until: new Date(START_MS + 13 * 3_600_000).toISOString(),
};
const VICTORIA_HOUR = `_time:[${HOUR.since}, ${HOUR.until})`;

/** An id that no record has. */
const ABSENT = "0123456789abcdef";

/** Without limits that records of this benchmark would exceed. */
const CONFIG = {
  log_level: "DEBUG",
  journal: { system_bytes: 2 ** 40, audit_bytes: 2 ** 40 },
  exporters: {},
};

interface Query {
  readonly name: string;
  readonly target: Target;
  /** Returns how many records or values were found. */
  run(gateway: GatewayQueries): Promise<number>;
  /** The same in LogsQL, if it can be asked there. */
  readonly victoria?: string;
  /** The text for `grep -F -c`, if lines with it are what the query finds. */
  readonly grep?: string;
  /** Fewer rounds for what takes seconds. */
  readonly isSlow?: boolean;
}

/**
 * Searches of the records of a day in the gateway's history, in one run with VictoriaLogs and with grep over the same
 * envelopes as lines. `--quick` takes a quarter of the records.
 */
export async function benchSearch({ rounds, share }: Scale): Promise<void> {
  const command = peerProgram("victoria-logs");
  if (command === undefined) throw new Error("VictoriaLogs is missing: npm run setup:peers");
  await using gateway = await startGateway(CONFIG);
  const client = new HttpClient(gateway.port);
  const queries = new GatewayQueries(client);
  const target = watchTarget(client, gateway.otlpPort);
  const records = Math.round(RECORDS * share);
  const needle = await fill(gateway, records);
  await merged(client);
  const idleBytes = gateway.program.residentBytes;
  printValues(
    "search.tailgate_bytes",
    "bytes/record",
    [(await journalBytes(gateway.logDir)) / records],
    "<= 55",
  );
  await using victoria = await VictoriaLogs.start(command);
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  try {
    const file = join(directory, "records.jsonl");
    const envelopeBytes = await copyLines(queries, file, victoria);
    printValues("search.victoria_bytes", "bytes/record", [
      (await victoria.storedBytes()) / records,
    ]);
    process.stderr.write(`  without a search: ${latencyText([await idleLatencies(target)])}\n`);
    for (const query of queriesFor(needle)) {
      await compare(query, { queries, victoria, file, rounds, target });
    }
    const { program } = gateway;
    await scans({ queries, program, target, bytes: envelopeBytes, rounds });
    const usedBytes = (await peakOfTwo(queries, program)) - idleBytes;
    printValues("search.memory_of_two_searches", "MB", [usedBytes / 2 ** 20], "<= 150");
  } finally {
    client.close();
    target.sender.close();
    await rm(directory, { recursive: true });
  }
}

function queriesFor(needle: Needle): Query[] {
  const { span, request, trace } = needle;
  const counts = (parameters: Record<string, string>) => async (gateway: GatewayQueries) => {
    const { matches, values } = await gateway.counts(parameters);
    return "facets" in parameters ? values : matches;
  };
  const newest = (q: string) => (gateway: GatewayQueries) => gateway.newest(q);
  return [
    {
      name: "needle_field",
      target: "<= 15",
      run: newest(`span_id:${span}`),
      victoria: `span_id:="${span}"`,
      grep: span,
    },
    {
      name: "needle_text",
      target: "<= 15",
      run: newest(request),
      victoria: `request_id:="${request}"`,
      grep: request,
    },
    {
      name: "absent",
      target: "<= 5",
      run: newest(ABSENT),
      victoria: `span_id:="${ABSENT}"`,
      grep: ABSENT,
    },
    { name: "part_of_id", target: "<= 60", run: newest(trace.slice(7, 17).toUpperCase()) },
    {
      name: "newest_of_word",
      target: "<= 10",
      run: newest("retry"),
      victoria: "retry | sort by (_time desc) limit 100",
    },
    {
      name: "newest_errors_of_logger",
      target: "<= 20",
      run: newest("logger:orchestrator.llm level:=ERROR"),
      victoria:
        '{logger=~"orchestrator.llm(\\\\..*)?"} level:="ERROR" | sort by (_time desc) limit 100',
    },
    {
      name: "histogram",
      target: "<= 20",
      run: counts({}),
      victoria: "* | stats by (_time:1m, level) count()",
    },
    {
      name: "histogram_of_word",
      target: "<= 1200",
      run: counts({ q: "retry" }),
      victoria: "retry | stats by (_time:1m) count()",
      isSlow: true,
    },
    {
      name: "facets_of_hour",
      target: "<= 30",
      run: counts({ ...HOUR, facets: "role,instance_id,tool" }),
      victoria: `${VICTORIA_HOUR} | facets`,
    },
  ];
}

interface Compared {
  readonly queries: GatewayQueries;
  readonly victoria: VictoriaLogs;
  readonly file: string;
  readonly rounds: number;
  readonly target: WatchTarget;
}

/** Runs a query in turns, and watches how long other requests take meanwhile. */
async function compare(
  query: Query,
  { queries, victoria, file, rounds, target }: Compared,
): Promise<void> {
  const { name } = query;
  const day = [
    new Date(START_MS).toISOString(),
    new Date(START_MS + DAY_MS).toISOString(),
  ] as const;
  const values: Record<string, number[]> = { [`search_${name}.tailgate`]: [] };
  const latencies: Latencies[] = [];
  const found = new Map<string, number>();
  const measure = async (variant: string, run: () => number | Promise<number>): Promise<void> => {
    const start = wallMicros();
    found.set(variant, await run());
    (values[`search_${name}.${variant}`] ??= []).push((wallMicros() - start) / 1_000);
  };
  for (let round = 0; round < (query.isSlow === true ? Math.min(rounds, 3) : rounds); round++) {
    const watch = new LatencyWatch(target);
    try {
      await measure("tailgate", () => query.run(queries));
    } finally {
      latencies.push(await watch.stop());
    }
    if (query.victoria !== undefined) {
      await measure("victoria", () => victoria.query(query.victoria!, ...day));
    }
    if (query.grep !== undefined) await measure("grep", () => grep(query.grep!, file));
  }
  const ours = `search_${name}.tailgate`;
  const ratios: Ratio<string>[] = Object.keys(values)
    .filter((other) => other !== ours)
    .map((to) => ({
      name: `${ours}_to_${to.slice(to.indexOf(".") + 1)}`,
      of: ours,
      to,
      target: to.endsWith(".grep") ? "<= 0.02" : undefined,
    }));
  printCompared("ms", values, ratios, (figure) => (figure === ours ? query.target : undefined));
  process.stderr.write(
    `  found ${JSON.stringify(Object.fromEntries(found))}, ${latencyText(latencies)}\n`,
  );
}

/** Asks for the health every few milliseconds, and now and then sends a record. */
class LatencyWatch {
  readonly #target: WatchTarget;
  readonly #health: number[] = [];
  readonly #otlp: number[] = [];
  readonly #done: Promise<void>;
  #isOver = false;

  constructor(target: WatchTarget) {
    this.#target = target;
    this.#done = this.#watch();
  }

  async #watch(): Promise<void> {
    const { client, sender, request } = this.#target;
    for (let step = 0; step === 0 || !this.#isOver; step++) {
      const start = wallMicros();
      await client.ask("/healthz");
      const middle = wallMicros();
      this.#health.push((middle - start) / 1_000);
      if (step % OTLP_EVERY === 0) {
        await sender.send(request);
        this.#otlp.push((wallMicros() - middle) / 1_000);
      }
      await wait(WATCH_EVERY_MS);
    }
  }

  async stop(): Promise<Latencies> {
    this.#isOver = true;
    await this.#done;
    return { health: this.#health, otlp: this.#otlp };
  }
}

/** How long requests took, in milliseconds. */
interface Latencies {
  readonly health: readonly number[];
  readonly otlp: readonly number[];
}

interface WatchTarget {
  readonly client: HttpClient;
  readonly sender: Sender;
  /** The request with a record. */
  readonly request: Uint8Array;
}

function watchTarget(client: HttpClient, port: number): WatchTarget {
  const record = {
    body: { stringValue: "a record of the watch" },
    timeUnixNano: `${START_MS}000000`,
  };
  const json = { resourceLogs: [{ scopeLogs: [{ logRecords: [record] }] }] };
  const request = requestOf(port, Buffer.from(JSON.stringify(json)), "json");
  return { client, sender: new Sender(port), request };
}

function latencyText(all: readonly Latencies[]): string {
  const p99 = (list: readonly number[]): string =>
    quantile(
      list.toSorted((one, other) => one - other),
      0.99,
    ).toFixed(1);
  const health = p99(all.flatMap((one) => one.health));
  return `p99 of /healthz ${health} ms, of OTLP ${p99(all.flatMap(({ otlp }) => otlp))} ms`;
}

const WATCH_EVERY_MS = 5;
/** Records are sent less often: many small commits would be merged meanwhile. */
const OTLP_EVERY = 20;
const IDLE_MS = 3_000;

/** Returns what the watch measures while nothing is searched for. */
async function idleLatencies(target: WatchTarget): Promise<Latencies> {
  const watch = new LatencyWatch(target);
  await wait(IDLE_MS);
  return watch.stop();
}

interface Scans {
  readonly queries: GatewayQueries;
  readonly program: GatewayProcess["program"];
  readonly target: WatchTarget;
  /** The size of all envelopes. */
  readonly bytes: number;
  readonly rounds: number;
}

const SCANS = [
  { name: "search_substring.tailgate", q: '"ard 1"', target: ">= 1200" },
  { name: "search_regex.tailgate", q: "/[a-c][0-9]+[x-z]/", target: ">= 60" },
] as const;

/** What no index helps with, in envelopes read for each second of the gateway's CPU time: several threads search. */
async function scans({ queries, program, target: watched, bytes, rounds }: Scans): Promise<void> {
  for (const { name, q, target } of SCANS) {
    const rates: number[] = [];
    const latencies: Latencies[] = [];
    for (let round = 0; round < Math.min(rounds, 3); round++) {
      const watch = new LatencyWatch(watched);
      const start = program.cpuMicros;
      await queries.counts({ q });
      rates.push(bytes / (program.cpuMicros - start));
      latencies.push(await watch.stop());
    }
    printValues(name, "MB/s", rates, target);
    process.stderr.write(`  ${latencyText(latencies)}\n`);
  }
}

/** Returns the resident size of the gateway while two searches read everything. */
async function peakOfTwo(
  queries: GatewayQueries,
  program: GatewayProcess["program"],
): Promise<number> {
  let peak = 0;
  const sampling = setInterval(() => {
    peak = Math.max(peak, program.residentBytes);
  }, 10);
  await Promise.all(SCANS.map(({ q }) => queries.counts({ q })));
  clearInterval(sampling);
  return peak;
}

function grep(text: string, file: string): number {
  const { stdout } = spawnSync("grep", ["-F", "-c", text, file], { env: { LC_ALL: "C" } });
  return Number(stdout.toString());
}

/** Sends the records. Returns what to look for: ids in the middle of them. */
async function fill({ otlpPort, program }: GatewayProcess, records: number): Promise<Needle> {
  const generator = new RecordGenerator(records);
  const senders = Array.from({ length: CONNECTIONS }, () => new Sender(otlpPort));
  const requests = generator.requests(REQUEST_SIZES);
  const cpuStart = program.cpuMicros;
  const sendAll = async (sender: Sender): Promise<void> => {
    for (let next = requests.next(); !next.done; next = requests.next()) {
      await sender.send(requestOf(otlpPort, next.value, "protobuf"));
    }
  };
  await Promise.all(senders.map(sendAll));
  for (const sender of senders) sender.close();
  printValues("search.tailgate_intake", "ns/record", [
    (1_000 * (program.cpuMicros - cpuStart)) / records,
  ]);
  return generator.needles[generator.needles.length >> 1]!;
}

/** Waits until the journal is merged. */
async function merged(client: HttpClient): Promise<void> {
  const valueOf = (metrics: string, name: string): number =>
    Number(new RegExp(`^tailgate_journal_${name}_sequence (\\d+)$`, "m").exec(metrics)?.[1]);
  for (;;) {
    const { body } = await client.ask("/metrics");
    const metrics = body.toString();
    if (valueOf(metrics, "newest") - valueOf(metrics, "merged") < UNMERGED_MAX) return;
    await wait(1_000);
  }
}

/** What waits for more records. */
const UNMERGED_MAX = 20_000;

async function journalBytes(logDir: string): Promise<number> {
  const names = (await readdir(logDir)).filter((name) => /^(journal|history)\.db/.test(name));
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(logDir, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Writes all envelopes to a file and to VictoriaLogs. Returns their size. */
async function copyLines(
  queries: GatewayQueries,
  path: string,
  victoria: VictoriaLogs,
): Promise<number> {
  const file = createWriteStream(path);
  let bytes = 0;
  let chunks: Buffer[] = [];
  let size = 0;
  const flush = async (): Promise<void> => {
    const lines = Buffer.concat(chunks);
    chunks = [];
    size = 0;
    if (lines.length > 0) await victoria.add(lines);
  };
  for await (const lines of queries.lines()) {
    bytes += lines.length;
    chunks.push(lines);
    size += lines.length;
    if (!file.write(lines)) await once(file, "drain");
    if (size >= INSERT_BYTES) await flush();
  }
  await flush();
  file.end();
  await once(file, "close");
  return bytes;
}

const INSERT_BYTES = 8 << 20;
