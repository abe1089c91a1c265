/**
 * Starts a gateway that keeps its records in memory, sends some kinds of traffic through it, one after the other, and
 * prints how much its heap and its memory beside the heap have grown after each. Run with `--expose-gc`.
 */

import { request as httpRequest, Agent } from "node:http";
import { setImmediate } from "node:timers/promises";
import { LoggingManager } from "tailgate";
import { textRequest } from "../bench/otlp-request.ts";

type Traffic = (count: number) => Promise<void>;

const lines: string[] = [];
const manager = await LoggingManager.start({
  port: 0,
  logLevel: "INFO",
  journal: { engine: "memory" },
  receivers: { otlp: { port: 0 } },
  exporters: {},
  registerGlobally: false,
  write: (line: string) => void lines.push(line),
});
const url = `${manager.url}/v1/logs`;
const logger = manager.getLogger("orchestrator.memory");
const agent = new Agent({ keepAlive: true });

function post(body: Buffer, type: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const headers = { "Content-Type": type, "Content-Length": body.length };
  const request = httpRequest(url, { method: "POST", agent, headers }, (response) => {
    response.resume();
    response.on("end", () =>
      response.statusCode === 200 ? resolve() : reject(new Error(`${response.statusCode}`)),
    );
  });
  request.on("error", reject);
  request.end(body);
  return promise;
}

async function emit(times: number, call: (index: number) => void, aTurn = 1): Promise<void> {
  for (let index = 0; index < times; index++) {
    call(index);
    if (index % aTurn === aTurn - 1) await setImmediate();
  }
}

function requestOf(records: readonly object[]): Buffer {
  return Buffer.from(
    JSON.stringify({
      resourceLogs: [
        { scopeLogs: [{ scope: { name: "orchestrator.memory" }, logRecords: records }] },
      ],
    }),
  );
}

const JSON_TYPE = "application/json";
const PROTOBUF = "application/x-protobuf";

const traffic: Record<string, Traffic> = {
  /** Of each request one record is kept, the others are below the level. */
  filtered: async (times) => {
    const text = "x".repeat(2000);
    const body = requestOf(
      Array.from({ length: 400 }, (_, index) => ({
        severityNumber: index === 7 ? 9 : 5,
        body: { stringValue: text },
      })),
    );
    for (let index = 0; index < times; index++) await post(body, JSON_TYPE);
  },
  /** The same, in a form of JSON that is rare. */
  "filtered-rare": async (times) => {
    const text = "x".repeat(2000);
    const body = requestOf(
      Array.from({ length: 100 }, (_, index) => ({
        severityNumber: index === 7 ? 9 : 5,
        body: { stringValue: text },
        attributes: null,
      })),
    );
    for (let index = 0; index < times; index++) await post(body, JSON_TYPE);
  },
  /** Lists of the caller's, of texts, of numbers and of objects. */
  lists: (times) =>
    emit(times, (index) =>
      logger.info("with a list", {
        texts: Array.from({ length: 1000 }, (_, place) => `text ${index} ${place}`),
        objects: Array.from({ length: 1000 }, (_, place) => ({ place, index: index + 0.5 })),
      }),
    ),
  burst: (times) =>
    emit(
      times,
      (index) =>
        logger.info("with a list", { lists: Array.from({ length: 1000 }, () => [index, {}]) }),
      times,
    ),
  /** Short pieces of long texts. */
  slices: (times) =>
    emit(times, (index) => {
      const text = `${index}`.padStart(500_000, "some words and ");
      logger.info(text.slice(100, 130), { piece: text.slice(200, 240) });
    }),
  /** One small record a turn. */
  single: (times) =>
    emit(times, (index) => logger.info(`record ${index}`, { index, role: "engineer" })),
  many: (times) =>
    emit(times, (index) => logger.info(`record ${index}`, { index, role: "engineer" }), 500),
  small: async (times) => {
    for (let index = 0; index < times; index++)
      await post(textRequest(`record ${index}`), PROTOBUF);
  },
  "small-rare": async (times) => {
    for (let index = 0; index < times; index++) {
      await post(
        requestOf([{ body: { stringValue: `record ${index}` }, attributes: null }]),
        JSON_TYPE,
      );
    }
  },
  /** Texts for which a piece of the envelopes' memory has hardly room, or none. */
  large: (times) => emit(times, (index) => logger.info(`${index}`.padStart(300_000, "x"))),
  larger: (times) => emit(times, (index) => logger.info(`${index}`.padStart(700_000, "x"))),
  "large-otlp": async (times) => {
    for (let index = 0; index < times; index++)
      await post(textRequest(`${index}`.padStart(60_000, "x")), PROTOBUF);
  },
};

/** Memory beside the heap is given back by another thread, after a collection. */
async function held(): Promise<number> {
  let bytes = Infinity;
  for (;;) {
    globalThis.gc!();
    await setImmediate();
    const { heapUsed, external } = process.memoryUsage();
    if (heapUsed + external > bytes - (1 << 16)) return bytes;
    bytes = heapUsed + external;
  }
}

// What is compiled and cached once is no growth.
for (const send of Object.values(traffic)) await send(2);
await setImmediate();
const before = await held();
const grown: Record<string, number> = {};
for (const [kind, times] of Object.entries(JSON.parse(process.argv[2]!) as object)) {
  await traffic[kind]!(times as number);
  await setImmediate();
  await setImmediate();
  grown[kind] = (await held()) - before;
}
console.log(JSON.stringify(grown));
process.exit(0);
