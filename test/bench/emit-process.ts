/** A process that logs in one way and reports the time used. */

import { cpuMicros } from "./cpu-clock.ts";
import { emitInTurns, EMITTERS, type Emitter, type EmitterName } from "./emitters.ts";
import { answerQuestions } from "./helper-process.ts";

export interface EmitQuestion {
  /** The same one each time. */
  readonly emitter: EmitterName;
  readonly records: number;
}

export interface EmitAnswer {
  /** CPU time of all threads. */
  readonly micros: number;
  /** The outcome of all records so far. */
  readonly envelopeBytes: number | undefined;
  readonly dropped: number;
}

let known: Emitter | undefined;

answerQuestions(async ({ emitter, records }: EmitQuestion): Promise<EmitAnswer> => {
  known ??= await EMITTERS[emitter]();
  const start = cpuMicros();
  await emitInTurns(known.emit, records);
  const dropped = (await known.dropped?.()) ?? 0;
  return { micros: cpuMicros() - start, envelopeBytes: known.envelopeBytes?.(), dropped };
});
