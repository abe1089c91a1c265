/** Sends one record per request at an even rate, in a process of its own. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { answerQuestions } from "./helper-process.ts";
import { timestampText, nowMicros, sleepUntil } from "./paced.ts";
import { requestOf, Sender } from "./otlp-connection.ts";
import { textRequest } from "./otlp-request.ts";

export interface PacedQuestion {
  readonly port: number;
  readonly path: string;
  readonly records: number;
  readonly everyMicros: number;
}

const CONNECTIONS = 8;
const LEAD_MICROS = 20_000;

const TEXT = "Instance inst-1001 finished step 12 of 40 with exit status 0";

/** If it is late it sends the next one at once; each record contains its scheduled time. */
answerQuestions(async ({ port, path, records, everyMicros }: PacedQuestion): Promise<void> => {
  const senders = Array.from({ length: CONNECTIONS }, () => new Sender(port));
  const free = [...senders];
  const waiting: number[] = [];
  const { promise: allTaken, resolve, reject } = Promise.withResolvers<void>();
  let taken = 0;
  const sendOne = async (sender: Sender, due: number): Promise<void> => {
    await sender.send(requestAt(due, port, path));
    free.push(sender);
    if (++taken === records) resolve();
    sendNext();
  };
  const sendNext = (): void => {
    while (free.length > 0 && waiting.length > 0) {
      sendOne(free.pop()!, waiting.shift()!).catch(reject);
    }
  };
  const start = nowMicros() + LEAD_MICROS;
  for (let index = 0; index < records; index++) {
    const due = start + index * everyMicros;
    sleepUntil(due);
    waiting.push(due);
    sendNext();
    // Reads the responses.
    await nextTurn();
  }
  await allTaken;
  for (const sender of senders) sender.close();
});

function requestAt(micros: number, port: number, path: string): Uint8Array {
  return requestOf(port, textRequest(`${TEXT} ${timestampText(micros)}`), "protobuf", { path });
}
