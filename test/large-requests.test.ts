/**
 * Requests that would block the event loop if they were processed in one go, sent to a gateway in a process of its own.
 */

import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { gzipped, HEAVY } from "./harness/heavy-requests.ts";
import { temporaryDirectory } from "./harness/workspace.ts";

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** On an idle machine a turn takes less than 100 ms; this one may be shared. */
const TURN_CPU_MS_MAX = 500;

let gateway: ChildProcess;
let url: string;
const cleanUps: (() => Promise<unknown> | void)[] = [];

beforeAll(async () => {
  const hooks = ["--import", path("harness/source-hooks.ts")];
  gateway = fork(path("harness/turns-main.ts"), [await temporaryDirectory(cleanUps)], {
    execArgv: hooks,
  });
  ({ url } = await message<{ url: string }>("url"));
});

afterAll(async () => {
  const ended = once(gateway, "exit");
  gateway.kill("SIGKILL");
  await ended;
  for (const cleanUp of cleanUps) await cleanUp();
});

/** Returns the next message of the gateway's process that has the member. */
async function message<Message extends object>(member: string): Promise<Message> {
  for (;;) {
    const [received] = (await once(gateway, "message")) as [Message];
    if (member in received) return received;
  }
}

/** Returns the CPU time in ms of the longest turn of the event loop since the last call. */
async function longestTurn(): Promise<number> {
  const answer = message<{ longest: { cpuMs: number } }>("longest");
  gateway.send("longest");
  return (await answer).longest.cpuMs;
}

async function post(
  name: string,
  coding: "gzip" | "identity" = "gzip",
): Promise<{ status: number; text: string }> {
  const request = HEAVY[name]!;
  const headers = { "Content-Type": request.type, "Content-Encoding": coding };
  const body = new Uint8Array(coding === "gzip" ? gzipped(request) : request.body());
  const response = await fetch(`${url}/v1/logs`, { method: "POST", headers, body });
  return { status: response.status, text: await response.text() };
}

it.each([
  "20 MiB of brackets",
  "20 MiB of brackets in a record",
  "lists within lists, in JSON",
  "a million attributes in a record",
  "60 000 attributes in a record",
  "500 000 entries of a map",
  "500 000 entries of a map, in JSON",
  "empty values",
  "20 MiB of control characters",
  "4 MiB of control characters in each record",
  "escapes",
  "records of two bytes",
  "records in the reverse of their order",
  "resources without records",
  "unknown fields",
  "unknown fields in each record",
  "a large resource",
  "digits in each record",
  "a key again and again",
  "a name of 4 MB",
  "a text of 1 MiB",
])("%s: the response is final, and no turn of the event loop is long", async (name) => {
  await longestTurn();
  const { status, text } = await post(name);
  expect(HEAVY[name]!.statuses.includes(status) ? "" : text).toBe("");
  expect(await longestTurn()).toBeLessThan(TURN_CPU_MS_MAX);
});

it("20 MiB of uncompressed records: no turn of the event loop is long", async () => {
  await longestTurn();
  const sent = await post("20 MiB of ordinary records in JSON", "identity");
  expect(sent).toEqual({ status: 200, text: "{}" });
  expect(await longestTurn()).toBeLessThan(TURN_CPU_MS_MAX);
});

it("other requests are answered while a large one is processed", async () => {
  const sent = post("20 MiB of ordinary records in a rare form of JSON");
  const done = sent.then(() => true);
  let answers = 0;
  const answered = async (): Promise<false> => {
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    answers++;
    return false;
  };
  while (!(await Promise.race([done, answered()])));
  expect(await sent).toEqual({ status: 200, text: "{}" });
  expect(answers).toBeGreaterThan(5);
});
