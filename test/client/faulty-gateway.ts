import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { vi } from "vitest";
import { WebSocketServer, type WebSocket } from "ws";

/** A server that sends whatever a test wants. */
export class FaultyGateway implements AsyncDisposable {
  readonly #server: WebSocketServer;
  /** The queries of the handshakes, and the messages received on all connections. */
  readonly queries: string[] = [];
  readonly heard: unknown[] = [];

  private constructor(server: WebSocketServer, greet: (socket: WebSocket) => void) {
    this.#server = server;
    server.on("connection", (socket, { url }) => {
      this.queries.push(url!);
      socket.on("message", (data: Buffer) => this.heard.push(JSON.parse(data.toString())));
      greet(socket);
    });
  }

  /** With the subprotocol; each connection starts with a hello of that epoch. */
  static async speaking(epoch = "e1"): Promise<FaultyGateway> {
    return FaultyGateway.#start(true, (socket) =>
      socket.send(JSON.stringify({ type: "hello", epoch, sequence: 0, durable: 0, version: 1 })),
    );
  }

  /** Without a subprotocol, as in older gateways. */
  static async older(): Promise<FaultyGateway> {
    return FaultyGateway.#start(false, () => {});
  }

  /** Accepts the subprotocol without supporting it, like servers that accept any. */
  static async mute(): Promise<FaultyGateway> {
    return FaultyGateway.#start(true, () => {});
  }

  static async #start(
    choosesSubprotocol: boolean,
    greet: (socket: WebSocket) => void,
  ): Promise<FaultyGateway> {
    const handleProtocols = (offered: Set<string>): string | false =>
      choosesSubprotocol && [...offered][0]!;
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols });
    const gateway = new FaultyGateway(server, greet);
    await once(server, "listening");
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get clients(): number {
    return this.#server.clients.size;
  }

  /** Sends to all connected clients. */
  say(...messages: unknown[]): void {
    for (const socket of this.#server.clients) {
      for (const message of messages) {
        socket.send(typeof message === "string" ? message : JSON.stringify(message));
      }
    }
  }

  cut(): void {
    for (const socket of this.#server.clients) socket.terminate();
  }

  /** Resolves with the messages once there are this many. */
  async hears(count: number): Promise<unknown[]> {
    await vi.waitFor(
      () => {
        if (this.heard.length < count) throw new Error(`${this.heard.length} messages`);
      },
      { timeout: 20_000, interval: 5 },
    );
    return this.heard;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}

export function envelope(message: string): object {
  const data = { timestamp: "2025-10-13T09:27:24.339163Z", level: "INFO", logger: "a", message };
  return { type: "system_log", data };
}
