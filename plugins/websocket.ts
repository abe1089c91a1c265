/**
 * Streams envelopes to browsers and other viewers: each envelope one text frame and nothing else (RFC 6455), or, for
 * those that ask for the subprotocol `tailgate.v1`, in batches with their sequences and with control messages.
 *
 * Frames go past ws's sender straight to the socket, one write a client a flush. That is safe because the sender, too,
 * writes whole frames within one synchronous call: without deflate and blobs it never holds one back, so nothing of
 * its own can come to lie inside of ours, and it is asked for pings and closes only.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  defineExporter,
  refuseUpgrade,
  SUBPROTOCOL,
  textOf,
  z,
  type Batch,
  type Exporter,
  type Host,
} from "tailgate/plugin";
import { WebSocketServer, type WebSocket } from "ws";
import { Client } from "./websocket/client.ts";
import {
  CLOSE_REASONS,
  GOING_AWAY,
  type Surroundings,
  type Viewer,
} from "./websocket/connection.ts";
import { Flush } from "./websocket/frames.ts";
import { wishOf, type Wish } from "./websocket/handshake.ts";
import { HoleWatch } from "./websocket/hole-watch.ts";
import { Matcher } from "./websocket/matcher.ts";
import { OrderlyJournal } from "./websocket/orderly-journal.ts";
import { SharedRuns } from "./websocket/shared-runs.ts";
import { Subscriber, type SubscriberSurroundings } from "./websocket/subscriber.ts";

/** What a viewer may send in one message. Without the subprotocol it is ignored, whatever it is. */
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
  handleProtocols: (offered: Set<string>) => offered.has(SUBPROTOCOL) && SUBPROTOCOL,
};

/** How often viewers with the subprotocol are told how far they are, and what was not stored after it was sent. */
const TELL_MS = 500;

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
  default_replay: z
    .int()
    .min(0)
    .default(0)
    .describe(
      "How many earlier records a client gets that does not say where to start; at most replay_max.",
    ),
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
  plan: ({ path }) => ({ paths: [path] }),
  open: (given, host) => new WebSocketExporter(given, host),
});

class WebSocketExporter implements Exporter {
  readonly #options: Options;
  readonly #server = new WebSocketServer(SERVER_OPTIONS);
  /** Without the subprotocol and without a filter. */
  readonly #clients = new Set<Client>();
  /** Without the subprotocol, with a filter. */
  readonly #filteredClients = new Set<Client>();
  /** Those with the subprotocol. */
  readonly #subscribers = new Set<Subscriber>();
  readonly #surroundings: SubscriberSurroundings;
  readonly #holes: HoleWatch;
  readonly #host: Host;
  readonly #countAccepted: (count: number) => void;
  readonly #countRefused: (count: number, labels: { reason: RefusalReason }) => void;
  readonly #timers: readonly NodeJS.Timeout[];
  #stopping = false;

  constructor(given: Options, host: Host) {
    this.#options = given;
    this.#host = host;
    this.#surroundings = surroundingsOf(host, given, (viewer) => this.#forget(viewer));
    this.#holes = new HoleWatch(this.#surroundings.journal);
    const { metrics } = host;
    metrics.gauge("clients", "Viewers that are connected.", () => this.#viewers.length);
    metrics.gauge(
      "clients_subscribed",
      "Viewers that have said what they want to get.",
      () =>
        this.#clients.size +
        this.#filteredClients.size +
        [...this.#subscribers].filter(({ isSubscribed }) => isSubscribed).length,
    );
    metrics.gauge("clients_unsent_bytes", "What the sockets of all viewers hold unsent.", () =>
      this.#viewers.reduce((sum, { connection }) => sum + connection.unsentBytes, 0),
    );
    this.#countAccepted = metrics.counter("clients_accepted", "Viewers that were connected.");
    this.#countRefused = metrics.counter("clients_refused", "Viewers that were turned away.");
    this.#countAccepted(0);
    for (const reason of REFUSAL_REASONS) this.#countRefused(0, { reason });
    const stallMs = 1000 * given.stall_timeout_seconds;
    this.#timers = [
      setInterval(() => this.#pingAll(), 1000 * given.ping_interval_seconds).unref(),
      setInterval(() => this.#endTooSlow(stallMs), stallMs / STALL_CHECKS).unref(),
      setInterval(() => this.#tell(), TELL_MS).unref(),
    ];
    this.#server.on("wsClientError", refuseHandshake);
    host.http.upgrade(given.path, (request, socket, head) => this.#upgrade(request, socket, head));
    host.http.route("*", given.path, (request, response) => this.#explain(request, response));
  }

  get #viewers(): Viewer[] {
    return [...this.#clients, ...this.#filteredClients, ...this.#subscribers];
  }

  write(batch: Batch): void {
    if (batch.length === 0) return;
    const { matcher } = this.#surroundings;
    const flush = new Flush(batch, matcher);
    const shared = new SharedRuns(this.#host.journal, matcher);
    // Clients without a filter do not wait for the matches of the others.
    for (const client of this.#clients) client.take(flush);
    for (const subscriber of this.#subscribers) {
      if (!subscriber.isFiltered) subscriber.wake(shared);
    }
    for (const client of this.#filteredClients) client.take(flush);
    for (const subscriber of this.#subscribers) {
      if (subscriber.isFiltered) subscriber.wake(shared);
    }
  }

  /** Says goodbye to all viewers; those that have not answered when the signal aborts are cut off. */
  async close(signal: AbortSignal): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#timers) clearInterval(timer);
    const viewers = this.#viewers;
    const ends = viewers.map(({ connection }) => connection.ended(signal));
    for (const viewer of viewers) viewer.close("stopping", GOING_AWAY, "gateway is stopping");
    await Promise.allSettled(ends);
    for (const { connection } of this.#viewers) connection.terminate("stopping");
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { refusal, wish } = this.#admission(request);
    if (refusal) {
      this.#countRefused(1, { reason: refusal.reason });
      return refuseUpgrade(socket, refusal.status, refusal.text);
    }
    this.#server.handleUpgrade(request, socket, head, (ws) => this.#admit(ws, socket, wish));
  }

  /**
   * Answers a plain request as it would a handshake: a browser does not tell its page why a WebSocket was refused. Where
   * it would not be, the answer names the subprotocol.
   */
  #explain(request: IncomingMessage, response: ServerResponse): void {
    const { refusal } = this.#admission(request);
    if (refusal) {
      const { status, text: reason } = refusal;
      this.#host.http.rejected(request, { protocol: "http", status, reason });
    }
    response.writeHead(refusal?.status ?? 426, {
      "Content-Type": "text/plain; charset=utf-8",
      "X-Content-Type-Options": "nosniff",
      "Cache-Control": "no-store",
      // RFC 9110, 15.5.22 and 7.8.
      ...(!refusal && {
        Upgrade: "websocket",
        Connection: "Upgrade",
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
      }),
    });
    response.end(`${refusal?.text ?? "Connect to this path with a WebSocket."}\n`);
  }

  #admission(request: IncomingMessage): Admission {
    const { max_connections: connectionsMax, replay_max: replayMax } = this.#options;
    if (this.#stopping) return refusalOf(503, "stopping", "The gateway is stopping.");
    if (this.#viewers.length >= connectionsMax) {
      const text = `All ${connectionsMax} connections are taken. Close another viewer, or raise max_connections.`;
      return refusalOf(503, "full", text);
    }
    try {
      return { wish: wishOf(request.url ?? "", { replayMax, lowest: this.#host.level }) };
    } catch (error) {
      return refusalOf(400, "bad_request", textOf(error));
    }
  }

  #admit(ws: WebSocket, socket: Duplex, wish: Wish): void {
    this.#countAccepted(1);
    if (ws.protocol === SUBPROTOCOL) return this.#admitSubscriber(ws, socket, wish);
    const client = new Client(ws, socket, wish.filter, this.#surroundings);
    const clients = wish.filter.key === "" ? this.#clients : this.#filteredClients;
    clients.add(client);
    client.start(wish.replay ?? this.#surroundings.defaultReplay);
  }

  /** Where its address asks for something it need not send a message for it. */
  #admitSubscriber(ws: WebSocket, socket: Duplex, { query, replay }: Wish): void {
    const subscriber = new Subscriber(ws, socket, this.#surroundings);
    this.#subscribers.add(subscriber);
    const isAsking = (replay ?? 0) > 0 || Object.values(query).some((term) => term !== undefined);
    if (isAsking) subscriber.subscribe(query, { replay });
  }

  #forget(viewer: Viewer): void {
    if (viewer instanceof Client) {
      this.#clients.delete(viewer);
      this.#filteredClients.delete(viewer);
    }
    if (viewer instanceof Subscriber) this.#subscribers.delete(viewer);
  }

  #pingAll(): void {
    for (const { connection } of this.#viewers) connection.ping();
  }

  #endTooSlow(stallMs: number): void {
    for (const viewer of this.#viewers) viewer.endIfTooSlow(stallMs);
  }

  #tell(): void {
    if (this.#subscribers.size === 0) return this.#holes.skip();
    for (const subscriber of this.#subscribers) subscriber.tellProgress();
    this.#holes
      .check((gap) => {
        for (const subscriber of this.#subscribers) subscriber.tellRefused(gap);
      })
      .catch((error: unknown) => this.#host.log.error("The journal could not be read.", error));
  }
}

const REFUSAL_REASONS = ["full", "stopping", "bad_request"] as const;

type RefusalReason = (typeof REFUSAL_REASONS)[number];

/** Responds to a handshake that ws rejects; the header names the supported versions (RFC 6455, 4.4). */
function refuseHandshake({ message }: Error, socket: Duplex, { method }: IncomingMessage): void {
  const status = method === "GET" ? 400 : 405;
  refuseUpgrade(socket, status, message, { "Sec-WebSocket-Version": "13, 8" });
}

interface Refusal {
  readonly status: 400 | 503;
  readonly reason: RefusalReason;
  readonly text: string;
}

type Admission =
  | { readonly refusal: Refusal; readonly wish?: undefined }
  | { readonly refusal?: undefined; readonly wish: Wish };

function refusalOf(status: 400 | 503, reason: RefusalReason, text: string): Admission {
  return { refusal: { status, reason, text } };
}

function surroundingsOf(
  host: Host,
  given: Options,
  gone: (viewer: Viewer) => void,
): SubscriberSurroundings {
  const { client_buffer_bytes: bufferBytesMax, replay_max: replayMax } = given;
  const { metrics } = host;
  const countClosed = metrics.counter("clients_closed", "Connections that ended, by reason.");
  const countMissed = metrics.counter(
    "records_missed",
    "Records that were still due, before its filter, to a viewer whose connection the gateway ended.",
  );
  const countUnavailable = metrics.counter(
    "records_unavailable",
    "Records that the journal has lost, before its filter, to a viewer without the subprotocol.",
  );
  const countSkipped = metrics.counter(
    "records_skipped",
    "System logs that a slow viewer was told of in a gap, before its filter.",
  );
  const countMatchMs = metrics.counter(
    "matching_ms",
    "Milliseconds spent on matching records against the filters of clients.",
  );
  const countExpensive = metrics.counter(
    "filters_too_expensive",
    "How often a client fell out of the journal's memory because its filter takes too long to match.",
  );
  for (const reason of CLOSE_REASONS) {
    countClosed(0, { reason });
    countMissed(0, { reason });
  }
  for (const count of [countUnavailable, countSkipped, countMatchMs, countExpensive]) count(0);
  const journal = new OrderlyJournal(host.journal);
  return {
    journal,
    matcher: new Matcher(journal, (ms) => countMatchMs(ms)),
    log: host.log,
    lowest: host.level,
    replayMax,
    defaultReplay: Math.min(given.default_replay, replayMax),
    messageBytesMax: MESSAGE_BYTES_MAX,
    bufferBytesMax,
    turn: turnTaker(),
    sent: sentCounter(host),
    tooExpensive(cost) {
      countExpensive(1);
      host.log.warning(
        `A client missed records because its filter is too expensive: matching takes ${cost}.`,
      );
    },
    missed: (records, reason) => countMissed(records, { reason }),
    unavailable: (records) => countUnavailable(records),
    skipped: (records) => countSkipped(records),
    gone(viewer, reason) {
      gone(viewer);
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
  countFrames(0);
  countBytes(0);
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
