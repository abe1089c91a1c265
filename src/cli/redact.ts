import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Command } from "commander";
import { resolveConfig } from "../config/config.ts";
import { createRecord } from "../plugin/index.ts";
import { printable } from "../wire/printable.ts";
import type { Redactor, RedactOptions } from "../../plugins/redact.ts";
import { print, say } from "./output.ts";

const EXAMPLES = `
Examples:
  tailgate redact < app.log                      print the lines without their secrets
  tailgate redact --test < app.log | grep -v ^-  show only what the rules find
  tailgate redact --config new.yaml --test < app.log

Reads lines of text or JSON from stdin, and uses the processors \`redact\` of the configuration; without any, the default
options. With --test, each line starts with the rules that it matches, or with "-", and a summary is written to stderr.
Nothing is stored or sent.`;

interface RedactCommandOptions {
  readonly config?: string;
  readonly test?: boolean;
}

export function addRedact(program: Command): void {
  program
    .command("redact")
    .description("remove secrets from lines on stdin, to try the rules of the processor redact")
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .option("--test", "show which rules match each line, and count them")
    .addHelpText("after", EXAMPLES)
    .action(async ({ config, test = false }: RedactCommandOptions) => {
      const redaction = await LineRedaction.create(config);
      for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
        const text = redaction.redact(line);
        const output = test ? `${redaction.lineRules}\t${printable(text)}\n` : `${text}\n`;
        if (!print(output)) await once(process.stdout, "drain");
      }
      if (test) say(redaction.summary);
    });
}

/** Runs lines through the configured processors as if they were messages. */
class LineRedaction {
  readonly #redactors: Redactor[] = [];
  readonly #totals = new Map<string, number>();
  readonly #rules = new Set<string>();
  #lines = 0;
  #changedLines = 0;

  static async create(file: string | undefined): Promise<LineRedaction> {
    const flags = { file, flags: {}, env: process.env, cwd: process.cwd() };
    const { processors } = await resolveConfig(flags);
    // Loaded here to keep the other commands fast.
    const { default: definition, Redactor: Plugin } = await import("../../plugins/redact.ts");
    const own = processors.filter(({ definition: used }) => used.open === definition.open);
    const configured =
      own.length > 0
        ? own.map(({ options }) => options as RedactOptions)
        : [definition.options.parse({})];
    const redaction = new LineRedaction();
    for (const options of configured) {
      const count = (rule: string, _action: string, secrets: number): void =>
        redaction.#count(rule, secrets);
      redaction.#redactors.push(await Plugin.open(options, count));
    }
    return redaction;
  }

  #count(rule: string, count: number): void {
    if (count === 0) return;
    this.#rules.add(rule);
    this.#totals.set(rule, (this.#totals.get(rule) ?? 0) + count);
  }

  redact(line: string): string {
    this.#rules.clear();
    this.#lines++;
    let record = createRecord({ logger: "tailgate.redact", body: line, timeMs: 0 });
    for (const redactor of this.#redactors) record = redactor.process(record);
    if (this.#rules.size > 0) this.#changedLines++;
    return record.body as string;
  }

  /** The rules that the line matched that was redacted last. */
  get lineRules(): string {
    return this.#rules.size === 0 ? "-" : [...this.#rules].join(",");
  }

  get summary(): string {
    const counts = [...this.#totals].map(([rule, count]) => `${rule} ${count}`).join(", ");
    const changed = `${this.#changedLines} of ${this.#lines} lines contain secrets`;
    return counts === "" ? `${changed}.` : `${changed}: ${counts}.`;
  }
}
