/**
 * `npm run bench -- [emit] [fan-out] [otlp] [files] [journal] [dashboard] [--rounds N] [--quick] [--full]`: measures the package that
 * `npm run build` made, all of it where nothing is named. Figures go to stdout, one JSON line each, and a table of
 * them to stderr. Targets are shown and not enforced: a busy machine is no fault of the code.
 */

import { parseArgs } from "node:util";
import { benchDashboard } from "./dashboard.ts";
import { benchEmit } from "./emit.ts";
import { benchFanOut } from "./fan-out.ts";
import { benchFiles } from "./files.ts";
import { benchJournalCommit } from "./journal-commit.ts";
import { benchJournalEmit } from "./journal-emit.ts";
import { benchJournalOtlp } from "./journal-otlp.ts";
import { benchJournalRate } from "./journal-rate.ts";
import { benchJournalReplay } from "./journal-replay.ts";
import { benchOtlpDecode } from "./otlp-decode.ts";
import { benchOtlpHttp } from "./otlp-http.ts";
import type { Scale } from "./rounds.ts";

type Benchmark = (scale: Scale) => Promise<void>;

const BENCHMARKS = new Map<string, readonly Benchmark[]>([
  ["emit", [benchEmit]],
  ["fan-out", [benchFanOut]],
  ["otlp", [benchOtlpDecode, benchOtlpHttp]],
  ["files", [benchFiles]],
  [
    "journal",
    [benchJournalCommit, benchJournalRate, benchJournalReplay, benchJournalEmit, benchJournalOtlp],
  ],
  ["dashboard", [benchDashboard]],
]);

const ROUNDS = 11;
const QUICK_ROUNDS = 5;
/** What `--quick` does of the work of a round. */
const QUICK_SHARE = 0.25;

/** Exit codes: something broke, and wrong usage as sysexits(3) has it. */
const FAILED = 1;
const USAGE = 64;

interface Invocation {
  readonly benchmarks: readonly Benchmark[];
  readonly scale: Scale;
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
    for (const benchmark of invocation.benchmarks) await benchmark(invocation.scale);
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
      full: { type: "boolean", default: false },
    },
  });
  const { quick, full } = values;
  const rounds = Number(values.rounds ?? (quick ? QUICK_ROUNDS : ROUNDS));
  if (!Number.isInteger(rounds) || rounds < 1) {
    throw new RangeError("--rounds takes a whole number from 1 on.");
  }
  const names = positionals.length > 0 ? positionals : [...BENCHMARKS.keys()];
  return {
    benchmarks: names.flatMap(benchmarksOf),
    scale: { rounds, share: quick ? QUICK_SHARE : 1, full },
  };
}

function benchmarksOf(name: string): readonly Benchmark[] {
  const benchmarks = BENCHMARKS.get(name);
  if (benchmarks) return benchmarks;
  const names = [...BENCHMARKS.keys()].join(", ");
  throw new RangeError(`There is no benchmark ${JSON.stringify(name)}; there are ${names}.`);
}

function fail(error: unknown, exitCode: number): void {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = exitCode;
}
