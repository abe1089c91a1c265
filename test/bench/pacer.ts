/** A clock in a process of its own: writes the time of each tick to a socket when it is due. */

import { once } from "node:events";
import { connect } from "node:net";
import { answerQuestions } from "./helper-process.ts";
import { timestampText, nowMicros, sleepUntil } from "./paced.ts";

export interface PacerQuestion {
  readonly port: number;
  readonly ticks: number;
  readonly everyMicros: number;
}

/** The time from the connection to the first tick. */
const LEAD_MICROS = 20_000;

answerQuestions(async ({ port, ticks, everyMicros }: PacerQuestion): Promise<void> => {
  const socket = connect(port, "127.0.0.1").setNoDelay(true);
  await once(socket, "connect");
  const start = nowMicros() + LEAD_MICROS;
  for (let tick = 0; tick < ticks; tick++) {
    const due = start + tick * everyMicros;
    sleepUntil(due);
    socket.write(timestampText(due));
  }
  socket.end();
  await once(socket, "close");
});
