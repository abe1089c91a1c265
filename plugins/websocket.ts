/**
 * Streams envelopes to browsers and other viewers, each envelope one text frame and nothing else (RFC 6455).
 *
 * Frames go past ws's sender straight to the socket, one write a client a flush. That is safe because the sender, too,
 * writes whole frames within one synchronous call: without deflate and blobs it never holds one back, so nothing of
 * its own can come to lie inside of ours, and it is asked for pings and closes only.
 */

import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  defineExporter,
  refuseUpgrade,
  textOf,
  z,
  type Batch,
  type Exporter,
  type Host,
  type Level,
} from "tailgate/plugin";
import { WebSocketServer, type WebSocket } from "ws";
import { Client, type Surroundings } from "./websocket/client.ts";
import { Flush } from "./websocket/frames.ts";
import { wishOf, type Wish } from "./websocket/handshake.ts";

/** What a viewer may send in one message; whatever it is, it is ignored. */
const MESSAGE_BYTES_MAX = 64 << 10;

/** How long a client may take to answer a close before its socket is cut. */
const CLOSE_TIMEOUT_MS = 5_000;

/** How often within the stall timeout clients are looked at. */
const STALL_CHECKS = 4;

const SERVER_OPTIONS = {
  noServer: true,
  clientTracking: false,
  perMessageDeflate: false,
  maxPayload: MESSAGE_BYTES_MAX,
  closeTimeout: CLOSE_TIMEOUT_MS,
  // By default ws selects the first subprotocol that is offered; the plain protocol has none.
  handleProtocols: (): false => false,
};

/** Close code (RFC 6455, 7.4.1). */
const GOING_AWAY = 1001;

const options = z.object({
  path: z
    .string()
    .startsWith("/")
    .default("/ws/logs")
    .describe("Path of the endpoint on the main port."),
  max_connections: z
    .int()
    .min(1)
    .default(100)
    .describe("How many viewers may be connected; more are refused with HTTP 503."),
  replay_max: z
    .int()
    .min(0)
    .default(1000)
    .describe("How many earlier records a viewer may ask for with ?replay=N."),
  client_buffer_bytes: z
    .int()
    .min(128 << 10)
    .default(256 << 10)
    .describe(
      "What the socket of one viewer may hold unsent, in bytes; what comes later waits in the journal's memory. Only a single record that is larger may exceed it.",
    ),
  stall_timeout_seconds: z
    .number()
    .positive()
    .default(10)
    .describe("How long a viewer may leave a full buffer untouched before it is disconnected."),
  ping_interval_seconds: z
    .number()
    .positive()
    .default(20)
    .describe("Time between pings; a viewer that does not answer by the next one is disconnected."),
});

type Options = z.output<typeof options>;

export default defineExporter({
  name: "websocket",
  description: "Streams envelopes live to browsers and other viewers over one WebSocket endpoint.",
  live: true,
  options,
  open: (given, host) => new WebSocketExporter(given, host),
});

class WebSocketExporter implements Exporter {
  readonly #options: Options;
  /** Delivery sees to it for live batches; what is read from the journal has all levels. */
  readonly #lowest: Level | undefined;
  readonly #server = new WebSocketServer(SERVER_OPTIONS);
  readonly #clients = new Set<Client>();
  readonly #surroundings: Surroundings;
  readonly #countAccepted: (count: number) => void;
  readonly #countRefused: (count: number, labels: { reason: RefusalReason }) => void;
  readonly #timers: readonly NodeJS.Timeout[];
  #stopping = false;

  constructor(given: Options, host: Host) {
    this.#options = given;
    this.#lowest = host.level;
    this.#surroundings = surroundingsOf(host, given, (client) => this.#clients.delete(client));
    const { metrics } = host;
    metrics.gauge("clients", "Viewers that are connected.", () => this.#clients.size);
    metrics.gauge("clients_unsent_bytes", "What the sockets of all viewers hold unsent.", () =>
      sum(this.#clients, (client) => client.unsentBytes),
    );
    this.#countAccepted = metrics.counter("clients_accepted", "Viewers that were connected.");
    this.#countRefused = metrics.counter("clients_refused", "Viewers that were turned away.");
    const stallMs = 1000 * given.stall_timeout_seconds;
    this.#timers = [
      setInterval(() => this.#pingAll(), 1000 * given.ping_interval_seconds).unref(),
      setInterval(() => this.#endTooSlow(stallMs), stallMs / STALL_CHECKS).unref(),
    ];
    host.http.upgrade(given.path, (request, socket, head) => this.#upgrade(request, socket, head));
  }

  write(batch: Batch): void {
    if (batch.length === 0) return;
    const flush = new Flush(batch);
    for (const client of this.#clients) client.take(flush);
  }

  /** Says goodbye to all viewers; those that have not answered when the signal aborts are cut off. */
  async close(signal: AbortSignal): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#timers) clearInterval(timer);
    const clients = [...this.#clients];
    const ends = clients.map((client) => client.ended(signal));
    for (const client of clients) client.close("stopping", GOING_AWAY, "gateway is stopping");
    await Promise.allSettled(ends);
    for (const client of this.#clients) client.terminate("stopping");
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { max_connections: connectionsMax, replay_max: replayMax } = this.#options;
    if (this.#stopping) return this.#refuse(socket, 503, "stopping", "The gateway is stopping.");
    if (this.#clients.size >= connectionsMax) {
      const text = `All ${connectionsMax} connections are taken. Close another viewer, or raise max_connections.`;
      return this.#refuse(socket, 503, "full", text);
    }
    let wish: Wish;
    try {
      wish = wishOf(request.url ?? "", { replayMax, lowest: this.#lowest });
    } catch (error) {
      return this.#refuse(socket, 400, "bad_request", textOf(error));
    }
    this.#server.handleUpgrade(request, socket, head, (ws) => this.#admit(ws, socket, wish));
  }

  #refuse(socket: Duplex, status: 400 | 503, reason: RefusalReason, text: string): void {
    this.#countRefused(1, { reason });
    refuseUpgrade(socket, status, text);
  }

  #admit(ws: WebSocket, socket: Duplex, { filter, replay }: Wish): void {
    const client = new Client(ws, socket, filter, this.#surroundings);
    this.#clients.add(client);
    this.#countAccepted(1);
    client.start(replay);
  }

  #pingAll(): void {
    for (const client of this.#clients) client.ping();
  }

  #endTooSlow(stallMs: number): void {
    for (const client of this.#clients) client.endIfTooSlow(stallMs);
  }
}

type RefusalReason = "full" | "stopping" | "bad_request";

function surroundingsOf(
  host: Host,
  { client_buffer_bytes: bufferBytesMax }: Options,
  gone: (client: Client) => void,
): Surroundings {
  const { metrics } = host;
  const countClosed = metrics.counter("clients_closed", "Connections that ended, by reason.");
  const countMissed = metrics.counter(
    "records_missed",
    "Records that were still due, before its filter, to a viewer whose connection the gateway ended.",
  );
  return {
    journal: host.journal,
    log: host.log,
    bufferBytesMax,
    turn: turnTaker(),
    sent: sentCounter(host),
    missed: (records, reason) => countMissed(records, { reason }),
    gone(client, reason) {
      gone(client);
      countClosed(1, { reason });
    },
  };
}

/** Gives out the turns of the event loop one after the other. */
function turnTaker(): () => Promise<void> {
  let last = Promise.resolve();
  return () => (last = last.then(() => nextTurn()));
}

/** Adds up what all clients were sent in one go: a metric's counter costs as much as some percent of a write. */
function sentCounter({ metrics }: Host): Surroundings["sent"] {
  const countFrames = metrics.counter("frames_sent", "Frames handed to viewers' sockets.");
  const countBytes = metrics.counter("bytes_sent", "Bytes of frames handed to viewers' sockets.");
  let frameSum = 0;
  let byteSum = 0;
  const report = (): void => {
    countFrames(frameSum);
    countBytes(byteSum);
    frameSum = 0;
    byteSum = 0;
  };
  return (frames, bytes) => {
    if (frameSum === 0) queueMicrotask(report);
    frameSum += frames;
    byteSum += bytes;
  };
}

function sum(clients: Iterable<Client>, bytesOf: (client: Client) => number): number {
  let total = 0;
  for (const client of clients) total += bytesOf(client);
  return total;
}
