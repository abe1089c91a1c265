/** The Unix socket by which commands on the same machine control a running gateway: one line of JSON, and one in return. */

import { once } from "node:events";
import { chmodSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { HostLogger } from "../plugin/index.ts";
import { hasListener, SOCKET_PATH_BYTES_MAX } from "../runtime/unix-socket.ts";
import { textOf } from "../wire/errors.ts";
import { formatChange } from "./reload-event.ts";
import type { ReloadCause, ReloadResult } from "./reloader.ts";
import type { ReloadOutcome } from "./status.ts";

const REQUEST_BYTES_MAX = 4096;
const REQUEST_MS_MAX = 10_000;

/** What a command sends. */
export interface ControlRequest {
  readonly command: "reload";
  /** The user id of the command. */
  readonly uid?: number | undefined;
}

/** What it gets. */
export interface ControlResponse {
  readonly outcome: ReloadOutcome;
  /** One line each. */
  readonly changes: readonly string[];
  readonly error?: { readonly code: string; readonly message: string } | undefined;
}

export function controlSocketPath(logDir: string): string {
  return join(logDir, "control.sock");
}

export interface ControlSocketOptions {
  readonly logDir: string;
  readonly log: HostLogger;
  /** Never rejects. */
  reload(cause: ReloadCause): Promise<ReloadResult>;
}

/** Accessible to the gateway's own user and root alone. */
export class ControlSocket {
  readonly #options: ControlSocketOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(options: ControlSocketOptions) {
    this.#options = options;
    this.#server = createServer((socket) => void this.#serve(socket));
    this.#server.unref();
  }

  /** Resolves with undefined if the socket cannot be used, which is logged: the gateway works without it. */
  static async open(options: ControlSocketOptions): Promise<ControlSocket | undefined> {
    const control = new ControlSocket(options);
    try {
      await control.#listen(controlSocketPath(options.logDir));
      return control;
    } catch (error) {
      options.log.warning("`tailgate reload` cannot reach this gateway:", textOf(error));
      return undefined;
    }
  }

  async #listen(path: string): Promise<void> {
    const bytes = Buffer.byteLength(path);
    if (bytes > SOCKET_PATH_BYTES_MAX) {
      const text = `the path of a socket must not be longer than ${SOCKET_PATH_BYTES_MAX} bytes, and ${path} has ${bytes}; use SIGHUP or --watch`;
      throw new Error(text);
    }
    if (await hasListener(path)) throw new Error(`another gateway listens on ${path}`);
    await rm(path, { force: true });
    this.#server.listen({ path, exclusive: true });
    // Before the first connection is accepted.
    if (this.#server.listening) chmodSync(path, 0o600);
    await once(this.#server, "listening");
    this.#server.on("error", (error) => {
      this.#options.log.error("The control socket reported an error.", error);
    });
  }

  async #serve(socket: Socket): Promise<void> {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {});
    socket.setTimeout(REQUEST_MS_MAX, () => socket.destroy());
    try {
      const request = parseRequest(await readLine(socket));
      socket.setTimeout(0);
      if (request === undefined) return void socket.destroy();
      const result = await this.#options.reload({ by: "tailgate reload", uid: request.uid });
      socket.end(`${JSON.stringify(toResponse(result))}\n`);
    } catch {
      // The client has left.
      socket.destroy();
    }
  }

  /** Removes the socket. Commands that wait for an answer get none. */
  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

async function readLine(socket: Socket): Promise<string> {
  let text = "";
  socket.setEncoding("utf8");
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += chunk as string;
    if (text.includes("\n") || text.length > REQUEST_BYTES_MAX) break;
  }
  return text.split("\n", 1)[0]!;
}

/** Returns undefined for anything that no command sends. */
function parseRequest(line: string): ControlRequest | undefined {
  try {
    const { command, uid } = JSON.parse(line) as Partial<ControlRequest>;
    if (command !== "reload") return undefined;
    return { command, uid: Number.isSafeInteger(uid) ? uid : undefined };
  } catch {
    return undefined;
  }
}

function toResponse({ outcome, changes, error }: ReloadResult): ControlResponse {
  return {
    outcome,
    changes: changes.map(formatChange),
    error: error && { code: error.code, message: error.message },
  };
}
