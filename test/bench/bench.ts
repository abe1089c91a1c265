/**
 * `npm run bench -- [NAME...] [--rounds N] [--quick] [--json FILE] [--record] [--compare]`: measures the package built
 * by `npm run build`; without a name, everything that needs no third-party program. Prints one JSON line per figure to
 * stdout, and a table of them to stderr. Targets are shown but not enforced, because a busy machine is not the code's
 * fault.
 */

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { benchCollector, hasCollector } from "./collector.ts";
import { benchDashboard } from "./dashboard.ts";
import { benchEmit } from "./emit.ts";
import { benchExport } from "./export.ts";
import { benchFanOut } from "./fan-out.ts";
import { benchFanOutFilters } from "./fan-out-filters.ts";
import { printed } from "./figure.ts";
import { benchFiles } from "./files.ts";
import { benchGrowth } from "./growth.ts";
import { benchJournalCommit } from "./journal-commit.ts";
import { benchJournalEmit } from "./journal-emit.ts";
import { benchJournalOtlp } from "./journal-otlp.ts";
import { benchJournalRate } from "./journal-rate.ts";
import { benchJournalReplay } from "./journal-replay.ts";
import { benchLatency } from "./latency.ts";
import { benchLiveTail, benchLoki } from "./live-tail.ts";
import { benchOtlpAccess } from "./otlp-access.ts";
import { benchOtlpDecode } from "./otlp-decode.ts";
import { benchOtlpHttp } from "./otlp-http.ts";
import { benchParts } from "./parts.ts";
import { benchProcessors } from "./processors.ts";
import { benchProfile } from "./profile.ts";
import { benchTokenCheck } from "./token-check.ts";
import { benchReload } from "./reload.ts";
import { comparison, record } from "./recorded.ts";
import type { Scale } from "./rounds.ts";
import { benchSearch } from "./search.ts";
import { benchSubscriptions } from "./search/subscriptions.ts";
import { benchInstall, benchSmall } from "./small.ts";
import { tableOf } from "./table.ts";

type Benchmark = (scale: Scale) => Promise<void>;

const BENCHMARKS = new Map<string, readonly Benchmark[]>([
  ["emit", [benchEmit]],
  ["fan-out", [benchFanOut, benchFanOutFilters]],
  ["latency", [benchLatency]],
  ["live-tail", [benchLiveTail]],
  ["otlp", [benchOtlpDecode, benchOtlpHttp, benchOtlpAccess]],
  ["processors", [benchProcessors]],
  ["files", [benchFiles]],
  [
    "journal",
    [benchJournalCommit, benchJournalRate, benchJournalReplay, benchJournalEmit, benchJournalOtlp],
  ],
  ["growth", [benchGrowth]],
  ["reload", [benchReload]],
  ["search", [benchSearch]],
  ["subscriptions", [benchSubscriptions]],
  ["small", [benchSmall, benchInstall]],
  ["collector", [benchCollector]],
  ["export", [benchExport]],
  ["loki", [benchLoki]],
  ["dashboard", [benchDashboard]],
  ["profile", [benchParts, benchProfile]],
  ["token-check", [benchTokenCheck]],
]);

/** Benchmarks that need third-party programs or minutes; they run only if named. */
const NAMED_ONLY: ReadonlySet<string> = new Set([
  "loki",
  "dashboard",
  "export",
  "profile",
  "search",
  "token-check",
]);
const QUICK: ReadonlySet<string> = new Set(["emit", "fan-out", "otlp", "files", "journal"]);

const ROUNDS = 7;
const QUICK_ROUNDS = 5;
/** The share of a round's work that `--quick` does. */
const QUICK_SHARE = 0.25;

/** Exit codes: failure, and wrong usage as in sysexits(3). */
const FAILED = 1;
const USAGE = 64;

interface Invocation {
  readonly benchmarks: readonly Benchmark[];
  readonly scale: Scale;
  /** Also write the figures here, as one JSON document. */
  readonly file: string | undefined;
  readonly isRecording: boolean;
  readonly isComparing: boolean;
}

await main(process.argv.slice(2));

async function main(args: string[]): Promise<void> {
  let invocation: Invocation;
  try {
    invocation = invocationOf(args);
  } catch (error) {
    return fail(error, USAGE);
  }
  try {
    for (const benchmark of invocation.benchmarks) {
      const startMs = performance.now();
      await benchmark(invocation.scale);
      const seconds = Math.round((performance.now() - startMs) / 1000);
      process.stderr.write(`(${benchmark.name}: ${seconds} s)\n`);
    }
    finish(invocation);
  } catch (error) {
    fail(error, FAILED);
  }
}

function invocationOf(args: string[]): Invocation {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      rounds: { type: "string" },
      quick: { type: "boolean", default: false },
      json: { type: "string" },
      record: { type: "boolean", default: false },
      compare: { type: "boolean", default: false },
    },
  });
  const { quick } = values;
  const rounds = Number(values.rounds ?? (quick ? QUICK_ROUNDS : ROUNDS));
  if (!Number.isInteger(rounds) || rounds < 1) {
    throw new RangeError("--rounds takes a whole number from 1 on.");
  }
  const names = positionals.length > 0 ? positionals : defaultNames(quick);
  return {
    benchmarks: names.flatMap(benchmarksOf),
    scale: { rounds, share: quick ? QUICK_SHARE : 1, quick },
    file: values.json,
    isRecording: values.record,
    isComparing: values.compare,
  };
}

function defaultNames(quick: boolean): string[] {
  return [...BENCHMARKS.keys()].filter((name) => {
    if (name === "collector" && !hasCollector()) return false;
    return quick ? QUICK.has(name) : !NAMED_ONLY.has(name);
  });
}

function benchmarksOf(name: string): readonly Benchmark[] {
  const benchmarks = BENCHMARKS.get(name);
  if (benchmarks) return benchmarks;
  const names = [...BENCHMARKS.keys()].join(", ");
  throw new RangeError(`There is no benchmark ${JSON.stringify(name)}; there are ${names}.`);
}

function finish({ file, isRecording, isComparing }: Invocation): void {
  const { figures, ratios } = printed();
  const table = tableOf(figures, ratios);
  process.stderr.write(`\n${table}`);
  if (file) writeFileSync(file, `${JSON.stringify({ figures, ratios }, undefined, 2)}\n`);
  if (isRecording) record(ratios, table);
  if (isComparing) process.stderr.write(`\n${comparison(ratios)}`);
}

function fail(error: unknown, exitCode: number): void {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = exitCode;
}
