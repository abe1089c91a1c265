import { printFigures } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import type { EmitterAnswer, EmitterQuestion } from "./journal-emitter.ts";
import { BenchDirectory } from "./journal-directory.ts";
import { measured, type Scale, type Variant } from "./rounds.ts";

const SLICE_RECORDS = 4_000;

const EMITTER = new URL("journal-emitter.ts", import.meta.url);

/** The cost of logging with a journal on disk, compared with one in memory; each in its own process. */
export async function benchJournalEmit({ rounds, share }: Scale): Promise<void> {
  await using directory = await BenchDirectory.make();
  await using memory = await HelperProcess.start(EMITTER);
  await using sqlite = await HelperProcess.start(EMITTER);
  const records = Math.round(SLICE_RECORDS * share);
  for (const part of ["thread", "process"] as const) {
    // The processes report the time used.
    let micros = 0;
    const variantOf = <Name extends string>(
      name: Name,
      emitter: HelperProcess,
      path: string | undefined,
    ): Variant<Name> => ({
      name,
      async run() {
        const question: EmitterQuestion = { directory: path, records };
        micros += ((await emitter.ask(question)) as EmitterAnswer)[part];
        return records;
      },
    });
    const names = { memory: `emit_${part}.memory`, sqlite: `emit_${part}.sqlite` };
    const samples = await measured(
      [variantOf(names.memory, memory, undefined), variantOf(names.sqlite, sqlite, directory.path)],
      rounds,
      () => micros,
    );
    printFigures("ns/record", samples, [
      { name: `emit_${part}.ratio`, of: names.sqlite, to: names.memory, target: undefined },
    ]);
  }
}
