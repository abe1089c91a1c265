import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { WebSocketServer } from "ws";
import type { Host } from "tailgate/plugin";
import { built } from "./built.ts";
import type { Tick } from "./fan-out-tick.ts";

/** A server that sends ticks to all of its clients. */
export interface FanOutServer extends AsyncDisposable {
  readonly port: number;
  /** Open clients. */
  readonly sockets: ReadonlySet<Socket>;
  send(tick: Tick): void;
  /** The number of bytes that each client gets when these ticks are sent next. */
  bytesOf(ticks: readonly Tick[]): number;
}

/** No limit on clients, and no pings, which would disturb the byte counts. */
const EXPORTER_OPTIONS = { max_connections: 100_000, ping_interval_seconds: 3_600 };

const QUEUE_BYTES_MAX = 64 << 20;
const WRITE_TIMEOUT_MS = 30_000;

/** The same for clients with the subprotocol: a tick is one message. */
export async function subprotocolServer(isCompressed = false): Promise<FanOutServer> {
  const { batchEncoder } = await built<typeof import("../../plugins/websocket/encoders.ts")>(
    "plugins/websocket/encoders.js",
  );
  const { compressedEncoder } = await built<
    typeof import("../../plugins/websocket/compression.ts")
  >("plugins/websocket/compression.js");
  const server = await tailgateServer({ compression: isCompressed });
  const compression = { thresholdBytes: 1024, countSaved: () => {} };
  const encoder = isCompressed ? compressedEncoder(batchEncoder, compression) : batchEncoder;
  let newest = 0;
  return {
    ...server,
    send(tick) {
      newest += tick.length;
      server.send(tick);
    },
    bytesOf(ticks) {
      let to = newest;
      let bytes = 0;
      for (const records of ticks) {
        const from = to + 1;
        to += records.length;
        const range = { from, to, records, isFiltered: false, gaps: [], durable: to };
        for (const chunk of encoder.encode(range)) bytes += chunk.bytes.length;
      }
      return bytes;
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function frameBytes(ticks: readonly Tick[]): number {
  return ticks.reduce((sum, tick) => sum + tick.frames().length, 0);
}

/** The websocket exporter with delivery and the journal, as in a gateway. */
export async function tailgateServer(options: object = {}): Promise<FanOutServer> {
  const { default: plugin } =
    await built<typeof import("../../plugins/websocket.ts")>("plugins/websocket.js");
  const { testHost } =
    await built<typeof import("../../src/testing/host.ts")>("src/testing/host.js");
  const { createLiveDelivery } = await built<typeof import("../../src/delivery/live-queue.ts")>(
    "src/delivery/live-queue.js",
  );
  const host = await testHost("websocket");
  const sockets = new Set<Socket>();
  const exporter = await plugin.open(
    plugin.options.parse({ ...EXPORTER_OPTIONS, ...options }),
    watching(host, (socket) => keep(sockets, socket)),
  );
  const { delivery, offer } = createLiveDelivery(exporter, {
    type: undefined,
    level: undefined,
    queueBytesMax: QUEUE_BYTES_MAX,
    timeoutMs: WRITE_TIMEOUT_MS,
    log: host.log,
  });
  const url = new URL(await host.listen());
  return {
    port: Number(url.port),
    sockets,
    send(tick) {
      void host.journal.append(tick);
      offer(tick);
    },
    bytesOf: frameBytes,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await delivery.close(AbortSignal.timeout(WRITE_TIMEOUT_MS));
      await host.close();
    },
  };
}

/** The host, which reports each upgraded socket. */
function watching(host: Host, upgraded: (socket: Socket) => void): Host {
  return {
    ...host,
    http: {
      route: (method, path, handler) => host.http.route(method, path, handler),
      refusal: (request) => host.http.refusal(request),
      refusalOf: (request) => host.http.refusalOf(request),
      accessOf: (request) => host.http.accessOf(request),
      rejected: (request, rejection) => host.http.rejected(request, rejection),
      charge: (request, bytes) => host.http.charge(request, bytes),
      recordsRead: (request, records) => host.http.recordsRead(request, records),
      protect: (server) => host.http.protect(server),
      upgrade: (path, handler) =>
        host.http.upgrade(path, (request, socket, head) => {
          upgraded(socket as Socket);
          handler(request, socket, head);
        }),
    },
  };
}

/** The common use of `ws`: every message is serialized and sent for each client. */
export async function naiveServer(): Promise<FanOutServer> {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  await once(server, "listening");
  const sockets = new Set<Socket>();
  server.on("connection", (_, { socket }) => keep(sockets, socket));
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    send(tick) {
      for (let index = 0; index < tick.length; index++) {
        const envelope = tick.envelope(index);
        for (const client of server.clients) client.send(JSON.stringify(envelope));
      }
    },
    bytesOf: frameBytes,
    async [Symbol.asyncDispose]() {
      for (const client of server.clients) client.terminate();
      server.close();
      await once(server, "close");
    },
  };
}

/** The limit: the same bytes, written to plain sockets. */
export async function rawServer(): Promise<FanOutServer> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    socket.once("data", (request) => {
      socket.write(handshakeAnswer(request.toString("latin1")));
      keep(sockets, socket);
      socket.resume();
    });
    socket.on("error", () => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    send(tick) {
      const frames = tick.frames();
      for (const socket of sockets) socket.write(frames);
    },
    bytesOf: frameBytes,
    [Symbol.asyncDispose]: () => closed(server, sockets),
  };
}

function keep(sockets: Set<Socket>, socket: Socket): void {
  sockets.add(socket);
  socket.once("close", () => sockets.delete(socket));
}

async function closed(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  for (const socket of sockets) socket.destroy();
  server.close();
  await once(server, "close");
}

/** RFC 6455, 4.2.2. */
const ACCEPT_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

function handshakeAnswer(request: string): string {
  const key = /^sec-websocket-key: *(\S+)/im.exec(request)?.[1] ?? "";
  const accept = createHash("sha1")
    .update(key + ACCEPT_GUID)
    .digest("base64");
  return [
    "HTTP/1.1 101 Switching Protocols",
    "Connection: Upgrade",
    "Upgrade: websocket",
    `Sec-WebSocket-Accept: ${accept}`,
    "\r\n",
  ].join("\r\n");
}
