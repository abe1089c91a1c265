/** Where the gateway's requests come from: a port, with or without TLS, and a Unix socket. */

import { once } from "node:events";
import { chmodSync, type Stats } from "node:fs";
import { lstat, rm, stat } from "node:fs/promises";
import type { Server } from "node:http";
import type { Server as SecureServer, ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";
import { dirname } from "node:path";
import type { SocketConfig } from "../../config/config.ts";
import { createSecureServer, createServer } from "../../plugin/http.ts";
import type { HostTls } from "../../plugin/index.ts";
import { hasListener } from "../../runtime/unix-socket.ts";
import { TailgateError, textOf } from "../../wire/errors.ts";
import { urlHost } from "./guard.ts";
import { isWebSocketUpgrade } from "./routes.ts";

/** Against slow requests (reliability.md, threats), however long the response takes. Node checks every few seconds. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
const TIMEOUT_CHECK_MS = 2_000;

/** Longer than the interval of a batching OTLP exporter, which would otherwise find its connection closed. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;

const SERVER_OPTIONS: ServerOptions = {
  headersTimeout: HEADERS_TIMEOUT_MS,
  requestTimeout: REQUEST_TIMEOUT_MS,
  connectionsCheckingInterval: TIMEOUT_CHECK_MS,
  keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
  // The guard checks it, and counts and logs the request.
  requireHostHeader: false,
  shouldUpgradeCallback: isWebSocketUpgrade,
};

export interface ListenAddress {
  readonly host: string;
  /** 0 picks a free port; null opens none. */
  readonly port: number | null;
  readonly socket?: SocketConfig | undefined;
}

type MainServer = Server | SecureServer;

/** A server that does not listen yet. */
export interface Listener {
  readonly server: MainServer;
  readonly isUnixSocket: boolean;
  /** Resolves with the URL. */
  listen(): Promise<string>;
}

/** Creates the servers of an address: TLS is for the port alone. */
export function createListeners(address: ListenAddress, tls: HostTls | undefined): Listener[] {
  const { host, port, socket } = address;
  const listeners: Listener[] = [];
  if (port !== null) {
    const server = tls
      ? createSecureServer({ ...SERVER_OPTIONS, ...tls.options })
      : createServer(SERVER_OPTIONS);
    if (tls) tls.attach(server as SecureServer);
    const scheme = tls ? "https" : "http";
    const listen = () => listenOnPort(server, scheme, host, port);
    listeners.push({ server, isUnixSocket: false, listen });
  }
  if (socket !== undefined) {
    const server = createServer(SERVER_OPTIONS);
    listeners.push({ server, isUnixSocket: true, listen: () => listenOnSocket(server, socket) });
  }
  return listeners;
}

async function listenOnPort(
  server: MainServer,
  scheme: string,
  host: string,
  port: number,
): Promise<string> {
  server.listen({ port, host, exclusive: true });
  try {
    await once(server, "listening");
  } catch (error) {
    throw listenError(error, host, port);
  }
  const address = server.address() as AddressInfo;
  return `${scheme}://${urlHost(host)}:${address.port}`;
}

function listenError(error: unknown, host: string, port: number): TailgateError {
  if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") {
    const text = `Port ${port} on ${host} is already in use.`;
    return new TailgateError("PORT_IN_USE", text, { cause: error });
  }
  const text = `Cannot listen on ${urlHost(host)}:${port}: ${textOf(error)}.`;
  return new TailgateError("LISTEN_FAILED", text, { cause: error });
}

/** Node removes the socket when the server closes. */
async function listenOnSocket(server: Server, { path, mode }: SocketConfig): Promise<string> {
  if ((await checkSocketPath(path)) === "socket") await removeStaleSocket(path);
  server.listen({ path, exclusive: true });
  // Before the first connection is accepted. If the path could not be bound, it is not this server's file.
  if (server.listening) chmodSync(path, mode);
  try {
    await once(server, "listening");
  } catch (error) {
    throw socketError(path, textOf(error), error);
  }
  return `unix:${path}`;
}

/**
 * Checks that a socket can be created at the path, or is there already; creates nothing.
 * @throws TailgateError LISTEN_FAILED
 */
export async function checkSocketPath(path: string): Promise<"free" | "socket"> {
  const found = await statsOf(lstat(path), path);
  if (found?.isSocket()) return "socket";
  if (found !== undefined) throw socketError(path, "the file exists and is not a socket");
  const directory = await statsOf(stat(dirname(path)), path);
  if (directory?.isDirectory()) return "free";
  throw socketError(path, "its directory does not exist");
}

async function statsOf(stats: Promise<Stats>, path: string): Promise<Stats | undefined> {
  return stats.catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw socketError(path, textOf(error), error);
  });
}

/** Removes a socket that a gateway has left behind, which nothing listens on. */
async function removeStaleSocket(path: string): Promise<void> {
  const isUsed = await hasListener(path).catch((cause: unknown) => {
    throw socketError(path, textOf(cause), cause);
  });
  if (isUsed) {
    throw new TailgateError("PORT_IN_USE", `Another program listens on the socket ${path}.`);
  }
  await rm(path, { force: true }).catch((cause: unknown) => {
    throw socketError(path, textOf(cause), cause);
  });
}

function socketError(path: string, why: string, cause?: unknown): TailgateError {
  return new TailgateError("LISTEN_FAILED", `Cannot listen on unix:${path}: ${why}.`, { cause });
}
