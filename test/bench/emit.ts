import { EMITTERS, type EmitterName } from "./emitters.ts";
import type { EmitAnswer, EmitQuestion } from "./emit-process.ts";
import { printFigures } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import { measured, type Scale, type Variant } from "./rounds.ts";

const SLICE_RECORDS = 20_000;

const EMIT_PROCESS = new URL("emit-process.ts", import.meta.url);

/**
 * What one logger call costs its caller, including the resulting flushes. Each way runs in its own process, as programs
 * use one way to log: in a shared process each would pay for the garbage of the others, and shared code would be
 * compiled for all of them.
 */
export async function benchEmit({ rounds, share }: Scale): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const processes: EmitProcess[] = [];
  for (const name of Object.keys(EMITTERS) as EmitterName[]) {
    const helper = stack.use(await HelperProcess.start(EMIT_PROCESS));
    processes.push(new EmitProcess(name, helper, Math.round(SLICE_RECORDS * share)));
  }
  const samples = await measured(processes, rounds, () =>
    processes.reduce((sum, { micros }) => sum + micros, 0),
  );
  checkSameBytes(processes);
  printFigures("ns/record", samples, [
    { name: "emit.ratio", of: "emit.tailgate", to: "emit.sdk_noop", target: "<= 1.35" },
    { name: "emit.ratio", of: "emit.tailgate", to: "emit.sdk_stringify", target: "<= 0.55" },
    { name: "emit.ratio", of: "emit.tailgate", to: "emit.pino", target: "<= 0.8" },
    { name: "emit.ratio", of: "emit.tailgate_provider", to: "emit.sdk_noop", target: undefined },
    { name: "emit.ratio", of: "emit.tailgate_direct", to: "emit.sdk_noop", target: "<= 1.35" },
    { name: "emit.ratio", of: "emit.tailgate_direct", to: "emit.sdk_stringify", target: "<= 0.55" },
    { name: "emit.ratio", of: "emit.tailgate_direct", to: "emit.pino", target: "<= 0.8" },
    { name: "emit.ratio", of: "emit.tailgate", to: "emit.sdk_batch", target: undefined },
    { name: "emit.ratio", of: "emit.tailgate", to: "emit.winston", target: undefined },
  ]);
}

/** One way to log, in its own process. */
class EmitProcess implements Variant<EmitterName> {
  readonly name: EmitterName;
  readonly #helper: HelperProcess;
  readonly #records: number;
  /** CPU time of everything logged so far. */
  micros = 0;
  /** Undefined if no envelopes are built. */
  envelopeBytes: number | undefined;

  constructor(name: EmitterName, helper: HelperProcess, records: number) {
    this.name = name;
    this.#helper = helper;
    this.#records = records;
  }

  /** @throws Error if records were dropped, which costs less. */
  async run(): Promise<number> {
    const question: EmitQuestion = { emitter: this.name, records: this.#records };
    const answer = (await this.#helper.ask(question)) as EmitAnswer;
    if (answer.dropped > 0) throw new Error(`${this.name} has dropped ${answer.dropped} records.`);
    this.micros += answer.micros;
    this.envelopeBytes = answer.envelopeBytes;
    return this.#records;
  }
}

/** Checks that no way saves work by leaving something out. */
function checkSameBytes(processes: readonly EmitProcess[]): void {
  const sums = processes
    .map(({ envelopeBytes }) => envelopeBytes)
    .filter((sum) => sum !== undefined);
  if (new Set(sums).size !== 1) throw new Error(`The envelopes' bytes differ: ${sums.join(", ")}.`);
}
