import { once } from "node:events";
import { vi } from "vitest";
import { WebSocket } from "ws";
import type { ServerMessage } from "tailgate/plugin";
import { Ledger } from "./ledger.ts";

type Kind = ServerMessage["type"];
type Message<K extends Kind> = Extract<ServerMessage, { type: K }>;

/** A client with the subprotocol that collects what it receives. */
export class SubprotocolClient {
  readonly socket: WebSocket;
  readonly texts: string[] = [];
  readonly messages: ServerMessage[] = [];
  readonly ledger: Ledger;
  readonly closed: Promise<{ code: number; reason: string }>;
  /** The first protocol violation. */
  fault: unknown;

  constructor(url: string, ledger = new Ledger()) {
    this.ledger = ledger;
    ledger.connect();
    this.socket = new WebSocket(url, ["tailgate.v1"]);
    this.socket.on("message", (data: Buffer) => this.#take(data.toString()));
    this.closed = new Promise((resolve) => {
      this.socket.on("error", () => {});
      this.socket.on("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }

  /** Resolves when it is connected. */
  static async open(url: string, ledger?: Ledger): Promise<SubprotocolClient> {
    const client = new SubprotocolClient(url, ledger);
    await once(client.socket, "open");
    return client;
  }

  /** Resolves when the subscription has caught up. */
  static async subscribe(
    url: string,
    subscription: object = {},
    ledger?: Ledger,
  ): Promise<SubprotocolClient> {
    const client = await SubprotocolClient.open(url, ledger);
    client.send({ type: "subscribe", ...subscription });
    await client.until("caught_up");
    return client;
  }

  #take(text: string): void {
    this.texts.push(text);
    const message = JSON.parse(text) as ServerMessage;
    this.messages.push(message);
    try {
      this.ledger.apply(message);
    } catch (error) {
      this.fault ??= error;
    }
  }

  send(message: unknown): void {
    this.socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  all<K extends Kind>(type: K): Message<K>[] {
    return this.messages.filter((message): message is Message<K> => message.type === type);
  }

  /** Resolves with the last of that many messages of a type. */
  async until<K extends Kind>(type: K, count = 1): Promise<Message<K>> {
    return this.poll(() => {
      const found = this.all(type);
      if (found.length < count) throw new Error(`${found.length} messages of ${type}`);
      return found[count - 1]!;
    });
  }

  /** Resolves when its position reaches the sequence. */
  async untilSequence(sequence: number): Promise<void> {
    await this.poll(() => {
      const position = this.ledger.resume?.sequence ?? 0;
      if (position < sequence) throw new Error(`The client is at ${position}.`);
    });
  }

  /** Retries until it no longer throws. */
  async poll<T>(look: () => T): Promise<T> {
    const result = await vi.waitFor(
      () => {
        if (this.fault) return undefined;
        return { found: look() };
      },
      { timeout: 20_000, interval: 5 },
    );
    if (result === undefined) throw this.fault;
    return result.found;
  }
}
