/** A process that logs into a journal of one engine and reports the time used. */

import { built } from "./built.ts";
import { cpuMicros } from "./cpu-clock.ts";
import { emitInTurns, sdkLogger, tailgate } from "./emitters.ts";
import { answerQuestions } from "./helper-process.ts";
import { openJournal } from "./journal-directory.ts";

export interface EmitterQuestion {
  /** The journal's directory; in memory if absent. */
  readonly directory: string | undefined;
  readonly records: number;
}

/** In microseconds of CPU time. */
export interface EmitterAnswer {
  /** Of the thread that logs. */
  readonly thread: number;
  /** Of all threads of the process. */
  readonly process: number;
}

let emitter: ReturnType<typeof emitterFor> | undefined;

answerQuestions(async ({ directory, records }: EmitterQuestion): Promise<EmitterAnswer> => {
  const { emit, flush } = await (emitter ??= emitterFor(directory));
  const start = { thread: threadMicros(), process: cpuMicros() };
  await emitInTurns(emit, records);
  await flush();
  return { thread: threadMicros() - start.thread, process: cpuMicros() - start.process };
});

async function emitterFor(directory: string | undefined) {
  const { MemoryJournal } =
    await built<typeof import("../../src/journal/memory.ts")>("src/journal/memory.js");
  const journal = directory === undefined ? new MemoryJournal() : await openJournal(directory);
  const { processor } = await tailgate((batch) => journal.append(batch));
  return { ...sdkLogger(processor), flush: () => processor.forceFlush() };
}

function threadMicros(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}
