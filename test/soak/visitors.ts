import { Agent, get } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { WebSocket } from "ws";
import { SUBPROTOCOL, type ServerMessage } from "tailgate/plugin";

/** The clients of a whole day, all at once: the number of concurrent clients of each kind. */
const STEADY = 8;
const PASSING = 12;
const STALLING = 6;
const RESUMING = 4;
const READING = 3;
const HANGING_READERS = 6;

const PASSING_MS_MAX = 4_000;
const STALLING_MS_MAX = 25_000;

const QUERIES = [
  ...[
    "",
    "level=WARNING",
    "type=audit_log",
    "q=spawned",
    "replay=200",
    "q=soak_number:7&replay=50",
  ],
  ...["logger=orchestrator", "q=-grpc&replay=1000"],
];

/** Clients that stay, come and go, stall, resume, or search; some of them never read the response. */
export class Visitors {
  readonly #port: number;
  readonly #signal: AbortSignal;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #running: Promise<void>[] = [];
  readonly faults: string[] = [];
  visits = 0;

  constructor(port: number, signal: AbortSignal) {
    this.#port = port;
    this.#signal = signal;
    const kinds: readonly (readonly [number, () => Promise<void>])[] = [
      [STEADY, () => this.#stay()],
      [PASSING, () => this.#pass()],
      [STALLING, () => this.#stall()],
      [RESUMING, () => this.#resume()],
      [READING, () => this.#read()],
      [HANGING_READERS, () => this.#neverRead()],
    ];
    for (const [count, visit] of kinds) {
      for (let index = 0; index < count; index++) this.#running.push(this.#repeat(visit));
    }
  }

  async ended(): Promise<void> {
    await Promise.all(this.#running);
    this.#agent.destroy();
  }

  async #repeat(visit: () => Promise<void>): Promise<void> {
    while (!this.#signal.aborted) {
      await visit();
      this.visits++;
      await this.#pause(200);
    }
  }

  /** Waits for a random time up to `msMax`, or until the soak ends. */
  async #pause(msMax: number): Promise<void> {
    await wait(Math.random() * msMax, undefined, { signal: this.#signal }).catch(() => {});
  }

  #open(query: string, subprotocol: string[] = []): WebSocket {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#port}/ws/logs?${query}`, subprotocol);
    socket.on("error", () => {});
    return socket;
  }

  async #stay(): Promise<void> {
    const socket = this.#open("");
    socket.on("message", (data: Buffer) => {
      const text = data.toString();
      if (!text.startsWith('{"type":"') || !text.endsWith("}}"))
        this.faults.push(text.slice(0, 99));
    });
    await ended(socket, this.#signal);
  }

  async #pass(): Promise<void> {
    const socket = this.#open(QUERIES[Math.floor(Math.random() * QUERIES.length)]!);
    await this.#pause(PASSING_MS_MAX);
    if (Math.random() < 0.5) socket.close();
    else socket.terminate();
    await ended(socket, this.#signal);
  }

  /** Reads nothing until the gateway disconnects it, or until a timeout. */
  async #stall(): Promise<void> {
    const socket = this.#open("replay=1000");
    socket.once("open", () => socket.pause());
    await Promise.race([this.#pause(2 * STALLING_MS_MAX), ended(socket, this.#signal)]);
    socket.terminate();
    await ended(socket, this.#signal);
  }

  /** Disconnects several times, and resumes after what it has received. */
  async #resume(): Promise<void> {
    let position: { epoch: string; sequence: number; durable?: number } | undefined;
    for (let visit = 0; visit < 5 && !this.#signal.aborted; visit++) {
      const socket = this.#open("", [SUBPROTOCOL]);
      let epoch = "";
      socket.on("message", (data: Buffer) => {
        const message = JSON.parse(data.toString()) as ServerMessage;
        if (message.type === "hello") {
          epoch = message.epoch;
          socket.send(JSON.stringify({ type: "subscribe", ...(position && { resume: position }) }));
        }
        if (message.type === "gap" && message.reason !== "slow") {
          this.faults.push(`a gap: ${JSON.stringify(message)}`);
        }
        if (message.type !== "batch" && message.type !== "caught_up") return;
        const expected = position && position.sequence + 1;
        if (message.type === "batch" && expected !== undefined && message.from > expected) {
          this.faults.push(`expected ${expected}, but a batch begins with ${message.from}`);
        }
        const sequence = message.type === "batch" ? message.to : message.sequence;
        position = { epoch, sequence };
      });
      await this.#pause(PASSING_MS_MAX);
      socket.terminate();
      await ended(socket, this.#signal);
    }
  }

  async #read(): Promise<void> {
    const query = QUERIES[Math.floor(Math.random() * QUERIES.length)]!.replace(/&?replay=\d+/, "");
    const path = `/api/logs?limit=1000&${query}`;
    const { promise, resolve } = Promise.withResolvers<void>();
    get({ agent: this.#agent, host: "127.0.0.1", port: this.#port, path }, (response) => {
      response.resume().on("close", resolve);
    }).on("error", () => resolve());
    await promise;
    await this.#pause(600);
  }

  async #neverRead(): Promise<void> {
    const socket: Socket = connect(this.#port, "127.0.0.1");
    socket.on("error", () => {});
    socket.pause().write("GET /api/logs?limit=1000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    await this.#pause(STALLING_MS_MAX);
    socket.destroy();
  }
}

/** Resolves when the connection is closed. The end of the soak closes it. */
function ended(socket: WebSocket, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (socket.readyState === WebSocket.CLOSED) return Promise.resolve();
  const end = (): void => socket.terminate();
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  socket.once("close", () => {
    signal.removeEventListener("abort", end);
    resolve();
  });
  return promise;
}
