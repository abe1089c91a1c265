/**
 * Streams envelopes to browsers and other clients: each envelope as one text frame and nothing else (RFC 6455), or, for
 * clients that offer the subprotocol `tailgate.v1`, in batches with sequences and control messages.
 *
 * Frames bypass the sender of ws and go straight to the socket, one write per client and batch. This is safe because
 * the sender, too, writes whole frames within one synchronous call: it defers only messages that it compresses itself, and
 * blobs, so frames cannot be interleaved. It is used for pings and close frames only.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  defineExporter,
  parseFilter,
  refuseUpgrade,
  PLAIN_SUBPROTOCOL,
  SUBPROTOCOL,
  textOf,
  z,
  type Batch,
  type Exporter,
  type Host,
  type RouteAccess,
} from "tailgate/plugin";
import { WebSocketServer } from "ws";
import { Client, type ClientContext, type Peer } from "./websocket/client.ts";
import { CLOSE_REASONS, GOING_AWAY } from "./websocket/connection.ts";
import type { SubscriptionCursor } from "./websocket/cursor.ts";
import { compressedEncoder, DEFLATE_EXTENSION, readsCompressed } from "./websocket/compression.ts";
import { batchEncoder, createPlainEncoder, type Encoder } from "./websocket/encoders.ts";
import { createPageReader } from "./websocket/history.ts";
import { Matcher } from "./websocket/matcher.ts";
import { NotStoredWatch } from "./websocket/not-stored.ts";
import { SharedFrames } from "./websocket/shared-frames.ts";
import { parseHandshake, type HandshakeQuery } from "./websocket/subscription.ts";

/** The maximum size of a client's message. Without the subprotocol, messages are ignored. */
const MESSAGE_BYTES_MAX = 64 << 10;

/** How long a client may take to answer a close frame before its socket is destroyed. */
const CLOSE_TIMEOUT_MS = 5_000;

/** How often clients are checked within the stall timeout. */
const STALL_CHECKS = 4;

/** How often subscribers are sent their progress, and gaps for records that could not be stored. */
const PROGRESS_INTERVAL_MS = 500;

/** Which principals may connect; the filter of their access limits what they get. */
const READ: RouteAccess = ["read:system", "read:audit"];

/** Clients without `tailgate.v1` need no subprotocol, unless they offer a ticket: browsers require that one is selected. */
const SUBPROTOCOLS = [SUBPROTOCOL, PLAIN_SUBPROTOCOL];

const SERVER_OPTIONS = {
  noServer: true,
  clientTracking: false,
  maxPayload: MESSAGE_BYTES_MAX,
  closeTimeout: CLOSE_TIMEOUT_MS,
  // By default ws selects the first subprotocol that is offered, which may be a ticket: it must not be sent back.
  handleProtocols: (offered: Set<string>) =>
    SUBPROTOCOLS.find((name) => offered.has(name)) ?? false,
};

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
    .describe("Maximum number of connected clients; further ones are rejected with HTTP 503."),
  replay_max: z
    .int()
    .min(0)
    .default(1000)
    .describe("Maximum number of earlier records that a client may request with ?replay=N."),
  default_replay: z
    .int()
    .min(0)
    .default(0)
    .describe(
      "Number of earlier records for clients that do not say where to start; at most replay_max.",
    ),
  client_buffer_bytes: z
    .int()
    .min(128 << 10)
    .default(256 << 10)
    .describe(
      "Maximum number of unsent bytes in a client's socket; later records stay in the journal. Only a single larger record may exceed it.",
    ),
  stall_timeout_seconds: z
    .number()
    .positive()
    .default(10)
    .describe("Time after which a client that reads nothing from a full buffer is disconnected."),
  ping_interval_seconds: z
    .number()
    .positive()
    .default(20)
    .describe(
      "Interval between pings; a client that does not answer by the next one is disconnected.",
    ),
  compression: z
    .boolean()
    .default(false)
    .describe(
      "Whether clients that support permessage-deflate get compressed messages. Clients that get the same records share them. On a network, whoever can log and sees the sizes of messages may guess secrets in other records.",
    ),
  compression_threshold_bytes: z
    .int()
    .min(0)
    .default(1024)
    .describe("Minimum size of a message that is compressed."),
});

type WebSocketOptions = z.output<typeof options>;

export default defineExporter({
  name: "websocket",
  description: "Streams envelopes live to browsers and other clients over one WebSocket endpoint.",
  live: true,
  options,
  plan: ({ path }) => ({ paths: [path] }),
  open: (given, host) => new WebSocketExporter(given, host),
});

class WebSocketExporter implements Exporter {
  readonly #options: WebSocketOptions;
  readonly #server: WebSocketServer;
  /** For clients with and without compression. */
  readonly #encoders: Readonly<Record<"plain" | "compressed", Encoders>>;
  readonly #clients = new Set<Client>();
  readonly #cursors = new Set<SubscriptionCursor>();
  readonly #context: ClientContext;
  readonly #notStored: NotStoredWatch;
  readonly #host: Host;
  readonly #countAccepted: (count: number) => void;
  readonly #countRejected: (count: number, labels: { reason: RejectionReason }) => void;
  readonly #timers: readonly NodeJS.Timeout[];
  #isStopping = false;

  constructor(given: WebSocketOptions, host: Host) {
    this.#options = given;
    this.#host = host;
    const perMessageDeflate = given.compression && DEFLATE_EXTENSION;
    this.#server = new WebSocketServer({ ...SERVER_OPTIONS, perMessageDeflate });
    this.#encoders = createEncoders(given, host);
    this.#context = createContext(host, given, this.#cursors, (client) =>
      this.#clients.delete(client),
    );
    this.#notStored = new NotStoredWatch(host.journal, this.#context.readPage);
    const { metrics } = host;
    metrics.gauge("clients", "Connected clients.", () => this.#clients.size);
    metrics.gauge("clients_subscribed", "Clients with a subscription.", () => this.#cursors.size);
    metrics.gauge("clients_unsent_bytes", "Unsent bytes in the sockets of all clients.", () =>
      [...this.#clients].reduce((sum, { connection }) => sum + connection.unsentBytes, 0),
    );
    this.#countAccepted = metrics.counter("clients_accepted", "Clients that were connected.");
    this.#countRejected = metrics.counter("clients_refused", "Clients that were rejected.");
    this.#countAccepted(0);
    for (const reason of REJECTION_REASONS) this.#countRejected(0, { reason });
    const stallMs = 1000 * given.stall_timeout_seconds;
    this.#timers = [
      setInterval(
        () => this.#clients.forEach(({ connection }) => connection.ping()),
        1000 * given.ping_interval_seconds,
      ).unref(),
      setInterval(
        () => this.#clients.forEach((client) => client.checkSpeed(stallMs)),
        stallMs / STALL_CHECKS,
      ).unref(),
      setInterval(() => this.#reportProgress(), PROGRESS_INTERVAL_MS).unref(),
    ];
    this.#server.on("wsClientError", rejectHandshake);
    const { http } = host;
    const access = { access: READ };
    http.upgrade(
      given.path,
      (request, socket, head) => this.#upgrade(request, socket, head),
      access,
    );
    http.route("*", given.path, (request, response) => this.#explain(request, response), access);
  }

  write(batch: Batch): void {
    if (batch.length === 0) return;
    const shared = new SharedFrames(this.#host.journal, this.#context.matcher, batch);
    // Clients without a filter do not wait for the matches of the others.
    for (const cursor of this.#cursors) if (!cursor.isFiltered) cursor.deliver(shared);
    for (const cursor of this.#cursors) if (cursor.isFiltered) cursor.deliver(shared);
  }

  /** Closes all connections; clients that have not answered when the signal aborts are cut off. */
  async close(signal: AbortSignal): Promise<void> {
    this.#isStopping = true;
    for (const timer of this.#timers) clearInterval(timer);
    const clients = [...this.#clients];
    const ends = clients.map(({ connection }) => connection.ended(signal));
    for (const client of clients) client.close("stopping", GOING_AWAY, "gateway is stopping");
    await Promise.allSettled(ends);
    for (const { connection } of this.#clients) connection.terminate("stopping");
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { rejection, query } = this.#admit(request);
    if (rejection) {
      this.#countRejected(1, { reason: rejection.reason });
      return refuseUpgrade(socket, rejection.status, rejection.text);
    }
    const access = this.#host.http.accessOf(request);
    this.#server.handleUpgrade(request, socket, head, (ws) => {
      const offered = request.headers["sec-websocket-extensions"];
      const isCompressed = readsCompressed(ws.extensions, offered);
      this.#connect({ ws, socket, access, request }, query, isCompressed);
    });
  }

  /**
   * Answers a plain request like a handshake, because browsers do not tell pages why a WebSocket was rejected. If the
   * handshake would be accepted, the response names the subprotocol.
   */
  #explain(request: IncomingMessage, response: ServerResponse): void {
    const { rejection } = this.#admit(request);
    if (rejection) {
      const { status, text: reason } = rejection;
      this.#host.http.rejected(request, { protocol: "http", status, reason });
    }
    response.writeHead(rejection?.status ?? 426, {
      "Content-Type": "text/plain; charset=utf-8",
      "X-Content-Type-Options": "nosniff",
      "Cache-Control": "no-store",
      // RFC 9110, sections 15.5.22 and 7.8.
      ...(!rejection && {
        Upgrade: "websocket",
        Connection: "Upgrade",
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
      }),
    });
    response.end(`${rejection?.text ?? "Connect to this path with a WebSocket."}\n`);
  }

  #admit(request: IncomingMessage): Admission {
    const { max_connections: connectionsMax, replay_max: replayMax } = this.#options;
    if (this.#isStopping) return reject(503, "stopping", "The gateway is stopping.");
    if (this.#clients.size >= connectionsMax) {
      const text = `All ${connectionsMax} connections are in use. Close another client, or raise max_connections.`;
      return reject(503, "full", text);
    }
    try {
      return {
        query: parseHandshake(request.url ?? "", { replayMax, selection: this.#context.selection }),
      };
    } catch (error) {
      return reject(400, "bad_request", textOf(error));
    }
  }

  #connect(peer: Peer, { isEmpty, filter, replay }: HandshakeQuery, isCompressed: boolean): void {
    this.#countAccepted(1);
    const isPlain = peer.ws.protocol !== SUBPROTOCOL;
    const encoders = this.#encoders[isCompressed ? "compressed" : "plain"];
    const client = new Client(peer, isPlain ? encoders.single : encoders.batch, this.#context);
    this.#clients.add(client);
    if (isPlain || !isEmpty) client.subscribe(filter, { replay });
  }

  #reportProgress(): void {
    const subscribers = [...this.#cursors].filter(({ reportsGaps }) => reportsGaps);
    if (subscribers.length === 0) return this.#notStored.skip();
    for (const cursor of subscribers) cursor.reportProgress();
    this.#notStored
      .check((gap) => {
        for (const cursor of this.#cursors) cursor.reportNotStored(gap);
      })
      .catch((error: unknown) => this.#host.log.error("The journal could not be read.", error));
  }
}

const REJECTION_REASONS = ["full", "stopping", "bad_request"] as const;

type RejectionReason = (typeof REJECTION_REASONS)[number];

interface HandshakeRejection {
  readonly status: 400 | 503;
  readonly reason: RejectionReason;
  readonly text: string;
}

type Admission =
  | { readonly rejection: HandshakeRejection; readonly query?: undefined }
  | { readonly rejection?: undefined; readonly query: HandshakeQuery };

function reject(status: 400 | 503, reason: RejectionReason, text: string): Admission {
  return { rejection: { status, reason, text } };
}

/** Responds to a handshake that ws rejects; the header names the supported versions (RFC 6455, section 4.4). */
function rejectHandshake({ message }: Error, socket: Duplex, { method }: IncomingMessage): void {
  const status = method === "GET" ? 400 : 405;
  refuseUpgrade(socket, status, message, { "Sec-WebSocket-Version": "13, 8" });
}

/** For clients without the subprotocol and for those with it. */
interface Encoders {
  readonly single: Encoder;
  readonly batch: Encoder;
}

function createEncoders(
  { client_buffer_bytes: bufferBytesMax, compression_threshold_bytes: bytes }: WebSocketOptions,
  { metrics }: Host,
): Readonly<Record<"plain" | "compressed", Encoders>> {
  const single = createPlainEncoder(bufferBytesMax);
  const countSaved = metrics.counter(
    "compression_saved_bytes",
    "Bytes by which compression has made messages smaller, counted once for all clients that share them.",
  );
  countSaved(0);
  const compressed = (encoder: Encoder): Encoder =>
    compressedEncoder(encoder, { thresholdBytes: bytes, countSaved });
  return {
    plain: { single, batch: batchEncoder },
    compressed: { single: compressed(single), batch: compressed(batchEncoder) },
  };
}

function createContext(
  { journal, level, filter, log, metrics, http }: Host,
  { default_replay: defaultReplay, replay_max: replayMax }: WebSocketOptions,
  cursors: Set<SubscriptionCursor>,
  forget: (client: Client) => void,
): ClientContext {
  const countClosed = metrics.counter("clients_closed", "Connections that ended, by reason.");
  const countMissed = metrics.counter(
    "records_missed",
    "Records that clients had not received when the gateway closed their connections, counted before filtering.",
  );
  const countUnavailable = metrics.counter(
    "records_unavailable",
    "Records that the journal no longer had for clients without the subprotocol, counted before filtering.",
  );
  const countSkipped = metrics.counter(
    "records_skipped",
    "System logs that slow clients received as a gap, counted before filtering.",
  );
  const countMatching = metrics.counter(
    "matching_seconds",
    "Time spent on matching records against the filters of clients.",
  );
  const countExpensive = metrics.counter(
    "filters_too_expensive",
    "How often a client lagged behind the journal's memory because its filter takes too long to match.",
  );
  for (const reason of CLOSE_REASONS) {
    countClosed(0, { reason });
    countMissed(0, { reason });
  }
  for (const count of [countUnavailable, countSkipped, countMatching, countExpensive]) count(0);
  return {
    journal,
    readPage: createPageReader(journal),
    matcher: new Matcher(journal, (ms) => countMatching(ms / 1000)),
    cursors,
    log,
    selection: parseFilter({ level, q: filter }),
    replayMax,
    defaultReplay: Math.min(defaultReplay, replayMax),
    messageBytesMax: MESSAGE_BYTES_MAX,
    nextTurn: createTurnQueue(),
    countSent: createSentCounter(metrics),
    recordsRead: (request, records) => http.recordsRead(request, records),
    reportExpensiveFilter(cost) {
      countExpensive(1);
      log.warning(
        `A client missed records because its filter is too expensive: matching takes ${cost}.`,
      );
    },
    countMissed: (records, reason) => countMissed(records, { reason }),
    countUnavailable,
    countSkipped,
    closed(client, reason) {
      forget(client);
      countClosed(1, { reason });
    },
  };
}

/** Returns a function that resolves in a turn of the event loop of its own for each call, in the order of the calls. */
function createTurnQueue(): () => Promise<void> {
  let last = Promise.resolve();
  return () => (last = last.then(() => nextTurn()));
}

/** Sums up what all clients are sent in one go, because updating a metric costs several percent of a write. */
function createSentCounter(metrics: Host["metrics"]): ClientContext["countSent"] {
  const countFrames = metrics.counter("frames_sent", "Frames written to clients' sockets.");
  const countBytes = metrics.counter("bytes_sent", "Bytes of frames written to clients' sockets.");
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
