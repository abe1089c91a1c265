/** Sends requests at an even rate, in a process of its own. */

import { setTimeout as wait } from "node:timers/promises";
import { answerQuestions } from "./helper-process.ts";
import { requestOf, Sender } from "./otlp-connection.ts";
import { otlpRequest } from "./otlp-request.ts";

/** Answered with the milliseconds until everything was accepted. */
export interface SteadyQuestion {
  readonly port: number;
  readonly requests: number;
  /** Records per request. */
  readonly records: number;
  readonly everyMs: number;
}

const CONNECTIONS = 8;

/** If it is late it sends the next one at once. */
answerQuestions(async ({ port, requests, records, everyMs }: SteadyQuestion): Promise<number> => {
  const request = requestOf(port, otlpRequest(records).protobuf, "protobuf");
  const startMs = performance.now();
  let next = 0;
  const sendInTurn = async (): Promise<void> => {
    const sender = new Sender(port);
    while (next < requests) {
      const dueMs = startMs + everyMs * next++;
      await wait(Math.max(0, dueMs - performance.now()));
      await sender.send(request);
    }
    sender.close();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, sendInTurn));
  return performance.now() - startMs;
});
