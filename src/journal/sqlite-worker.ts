/** The thread in which the journal's disk work is done: requests one after the other, in their order. */

import { parentPort, workerData } from "node:worker_threads";
import { openDatabase, StoringThread } from "./storing-thread.ts";
import type { Answer, Numbered, Request, WorkerSetup } from "./messages.ts";

/** How often a journal that nobody writes to looks whether its files are there. */
const LOOK_MS = 1_000;

const setup = workerData as WorkerSetup;
const port = parentPort!;

function send(id: number, message: Answer): void {
  const numbered: Numbered<Answer> = { id, message };
  setup.answers.postMessage(numbered, memoryOf(message));
}

/** What goes to the other thread without being copied. */
function memoryOf(message: Answer): readonly ArrayBuffer[] {
  if (message.kind === "committed") return message.memory;
  return message.kind === "rows" ? message.rows.rows.map(({ bytes }) => bytes.buffer) : [];
}

const { answer, database } = openDatabase(setup);
send(0, answer);
if (database === undefined) port.close();
else {
  const thread = new StoringThread(setup, database, (message) => send(0, message));
  const looking = setInterval(() => thread.look(), LOOK_MS);
  port.on("message", ({ id, message }: Numbered<Request>) => {
    const reply = thread.answer(message);
    send(id, reply);
    if (reply.kind === "failed") Atomics.store(setup.done, 1, id);
    Atomics.store(setup.done, 0, id);
    Atomics.notify(setup.done, 0);
    if (message.kind === "close") {
      clearInterval(looking);
      port.close();
    } else thread.tidy();
  });
}
