/**
 * `npm run fuzz -- [TARGET...] [--runs N] [--seed N] [--from N] [--seconds N] [--input FILE]`: feeds malformed and hostile
 * inputs to the gateway's decoders, parsers and listeners, and checks their invariants: no crash, no hang, no 5xx, no turn
 * of the event loop above 100 ms, no altered data. The same seed generates the same inputs. `--from` starts at another
 * index, `--input` runs a saved input.
 */

import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { campaign, type CampaignOptions, type CampaignReport } from "./campaign.ts";
import { TARGET_NAMES } from "./target.ts";

const RUNS = 500_000;

/** Exit codes: an invariant is violated, or the usage is wrong (sysexits(3)). */
const FAILED = 1;
const USAGE = 64;

/** Widths of the table's columns. */
const WIDTHS = [14, 9, 9, 9, 12, 8];

interface Invocation {
  readonly targets: readonly string[];
  readonly options: CampaignOptions;
}

await main(process.argv.slice(2));

async function main(args: string[]): Promise<void> {
  let invocation: Invocation;
  try {
    invocation = invocationOf(args);
  } catch (error) {
    process.stderr.write(`fuzz: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = USAGE;
    return;
  }
  const { targets, options } = invocation;
  process.stdout.write(`seed ${options.seed}\n\n`);
  process.stdout.write(row(["target", "inputs", "seconds", "inputs/s", "worst turn", "failures"]));
  for (const target of targets) {
    const report = await campaign(target, options);
    process.stdout.write(row(cellsOf(report)));
    if (report.failures.length === 0) continue;
    process.exitCode = FAILED;
    printFailures(report, options.seed);
  }
}

function invocationOf(args: string[]): Invocation {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      runs: { type: "string" },
      seed: { type: "string" },
      from: { type: "string" },
      seconds: { type: "string" },
      input: { type: "string" },
    },
  });
  for (const name of positionals) {
    if (!TARGET_NAMES.includes(name)) {
      throw new RangeError(
        `Unknown target ${JSON.stringify(name)}. The targets are ${TARGET_NAMES.join(", ")}.`,
      );
    }
  }
  if (values.input !== undefined && positionals.length !== 1) {
    throw new RangeError("--input needs exactly one target.");
  }
  const input = values.input === undefined ? undefined : readFileSync(values.input);
  return {
    targets: positionals.length > 0 ? positionals : TARGET_NAMES,
    options: {
      seed: numberOf("--seed", values.seed, Math.floor(Math.random() * 2 ** 31)),
      runs: input ? 1 : numberOf("--runs", values.runs, RUNS),
      from: numberOf("--from", values.from, 0),
      secondsMax:
        values.seconds === undefined ? undefined : numberOf("--seconds", values.seconds, 0),
      input,
    },
  };
}

function numberOf(option: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new RangeError(`${option} must be a whole number.`);
}

function row(cells: readonly string[]): string {
  const padded = cells.map((cell, index) =>
    index === 0 ? cell.padEnd(WIDTHS[0]!) : cell.padStart(WIDTHS[index]!),
  );
  return `${padded.join("  ")}\n`;
}

function cellsOf({ target, inputs, seconds, worstTurnMs, failures }: CampaignReport): string[] {
  const rate = Math.round(inputs / Math.max(seconds, 0.001));
  const turn = `${worstTurnMs.toFixed(1)} ms`;
  const count = failures.length;
  return [target, String(inputs), seconds.toFixed(1), String(rate), turn, String(count)];
}

/** Prints the failures, and how to reproduce them. */
function printFailures({ target, failures }: CampaignReport, seed: number): void {
  const directory = mkdtempSync(join(tmpdir(), `tailgate-fuzz-${target}-`));
  for (const { index, message, input, shrunk } of failures) {
    const path = join(directory, String(index));
    writeFileSync(path, shrunk ?? input);
    if (shrunk !== undefined) writeFileSync(`${path}.whole`, input);
    process.stdout.write(
      `\n  ${target}, seed ${seed}, index ${index}, ${(shrunk ?? input).length} bytes of ${input.length}:\n` +
        `  ${message.replaceAll("\n", "\n  ")}\n` +
        `  npm run fuzz -- ${target} --input ${path}\n\n`,
    );
  }
}
