import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { testHost, type TestHost } from "tailgate/testing";
import { WebSocket } from "ws";
import websocket from "../../plugins/websocket.ts";
import { CompositeBatch } from "../../src/batch/composite.ts";
import { EnvelopeEncoder, partsOfRecord } from "../../src/envelope/encoder.ts";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { RecordOrigin } from "../../src/batch/origin.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { MemoryJournal } from "../../src/journal/memory.ts";
import type {
  Batch,
  Envelope,
  Exporter,
  Host,
  HostJournal,
  Level,
  LogRecord,
} from "tailgate/plugin";
import { recordOf } from "tailgate/testing";

export interface RigOptions {
  /** Options of the exporter, as the configuration has them. */
  readonly options?: Record<string, unknown>;
  readonly level?: Level;
  readonly journalBytesMax?: number;
  /** Stands between the exporter and the journal. */
  readonly journal?: (journal: MemoryJournal) => HostJournal;
}

/** The exporter behind the real HTTP server and over the real journal; the test decides when a batch is delivered. */
export class Rig {
  readonly journal: MemoryJournal;
  readonly exporter: Exporter;
  readonly #host: TestHost;
  readonly #batches: RecordBatch[] = [];
  #closed = false;

  private constructor(
    host: TestHost,
    { options = {}, level, journalBytesMax, journal }: RigOptions,
  ) {
    this.#host = host;
    this.journal = new MemoryJournal(journalBytesMax);
    const itsHost: Host = { ...host, level, journal: journal?.(this.journal) ?? this.journal };
    this.exporter = websocket.open(websocket.options.parse(options), itsHost) as Exporter;
  }

  static async start(options: RigOptions = {}): Promise<Rig> {
    const host = await testHost("websocket");
    const rig = new Rig(host, options);
    await host.listen();
    return rig;
  }

  get port(): number {
    return Number(new URL(this.#host.url).port);
  }

  /** The gateway's own lines. */
  get lines(): readonly string[] {
    return this.#host.lines;
  }

  url(query = ""): string {
    return viewerUrl(this.#host.url, query);
  }

  /** Into the journal and nowhere else yet. */
  append(given: readonly Partial<LogRecord>[]): RecordBatch[] {
    const batches = encoded(given);
    for (const batch of batches) void this.journal.append(batch);
    this.#batches.push(...batches);
    return batches;
  }

  /** All that was appended, as one batch. */
  whole(): Batch {
    return new CompositeBatch(this.#batches);
  }

  deliver(batches: readonly Batch[]): void {
    for (const batch of batches) void this.exporter.write(batch, new AbortController().signal);
  }

  emit(given: readonly Partial<LogRecord>[]): void {
    this.deliver(this.append(given));
  }

  /** The sum over all labels, or the value of one reason. */
  metric(name: string, reason?: string): number {
    const metric = this.#host.pluginMetrics.find((known) => known.name === name)!;
    const samples = [...metric.read()];
    return samples
      .filter(({ labels }) => reason === undefined || labels["reason"] === reason)
      .reduce((total, { value }) => total + value, 0);
  }

  async close(signal = AbortSignal.timeout(1000)): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.exporter.close?.(signal);
    await this.#host.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

export function viewerUrl(url: string, query = ""): string {
  return `${url.replace("http", "ws")}/ws/logs${query}`;
}

function encoded(given: readonly Partial<LogRecord>[]): RecordBatch[] {
  const open = new BatchBuilder();
  const encoder = new EnvelopeEncoder(open, 0);
  for (const part of given) {
    const record = recordOf(part);
    encoder.encode(partsOfRecord(record), new RecordOrigin([record]), 0);
  }
  return open.take();
}

/** A viewer that keeps what it gets. */
export class Viewer {
  readonly texts: string[] = [];
  readonly socket: WebSocket;
  readonly closed: Promise<{ code: number; reason: string }>;

  constructor(url: string) {
    this.socket = new WebSocket(url);
    this.socket.on("message", (data: Buffer, isBinary) => {
      if (isBinary) throw new Error("A binary frame is not part of the protocol.");
      this.texts.push(data.toString());
    });
    this.closed = new Promise((resolve) => {
      this.socket.on("error", () => {});
      this.socket.on("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }

  static async open(url: string): Promise<Viewer> {
    const viewer = new Viewer(url);
    await once(viewer.socket, "open");
    return viewer;
  }

  /** Resolves when all has arrived that was sent before this call, or before the connection ended. */
  async settled(): Promise<void> {
    if (this.socket.readyState !== WebSocket.OPEN) return void (await this.closed);
    const pong = once(this.socket, "pong");
    this.socket.ping();
    await Promise.race([pong, this.closed]);
  }

  get envelopes(): Envelope[] {
    return this.texts.map((text) => JSON.parse(text) as Envelope);
  }

  get messages(): string[] {
    return this.envelopes.map(({ data }) => data.message);
  }
}

interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** A peer without a WebSocket library: it reads when it likes, and sends what it likes. */
export class RawPeer {
  readonly socket: Socket;
  #received: Buffer[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
  }

  /** Resolves when the head of the answer has arrived. From then on it reads only after `read`. */
  static async open(port: number, query = "", headers = ""): Promise<RawPeer> {
    const socket = connect(port, "127.0.0.1");
    const peer = new RawPeer(socket);
    socket.write(
      `GET /ws/logs${query} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\n` +
        `Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${headers}\r\n`,
    );
    const [first] = (await once(socket, "data")) as [Buffer];
    peer.#received.push(first);
    socket.pause();
    return peer;
  }

  /** The head of the answer. */
  get head(): string {
    const text = Buffer.concat(this.#received).toString("latin1");
    return text.slice(0, text.indexOf("\r\n\r\n"));
  }

  get body(): string {
    const text = Buffer.concat(this.#received).toString();
    return text.slice(text.indexOf("\r\n\r\n") + 4);
  }

  read(): void {
    this.socket.on("data", (data) => this.#received.push(data));
    this.socket.resume();
  }

  /** What has arrived in whole frames. */
  get frames(): Frame[] {
    const bytes = Buffer.concat(this.#received);
    const frames: Frame[] = [];
    let position = bytes.indexOf("\r\n\r\n") + 4;
    while (position + 2 <= bytes.length) {
      let length = bytes[position + 1]!;
      let start = position + 2;
      if (length === 126 && start + 2 <= bytes.length) {
        length = bytes.readUInt16BE(start);
        start += 2;
      } else if (length === 127 && start + 8 <= bytes.length) {
        length = Number(bytes.readBigUInt64BE(start));
        start += 8;
      }
      if (start + length > bytes.length) break;
      frames.push({
        opcode: bytes[position]! & 0x0f,
        payload: bytes.subarray(start, start + length),
      });
      position = start + length;
    }
    return frames;
  }

  /** The messages of the envelopes in text frames. */
  get messages(): string[] {
    const texts = this.frames.filter(({ opcode }) => opcode === 1);
    return texts.map(({ payload }) => (JSON.parse(payload.toString()) as Envelope).data.message);
  }

  get closeFrame(): { code: number; reason: string } | undefined {
    const frame = this.frames.find(({ opcode }) => opcode === 8);
    return (
      frame && { code: frame.payload.readUInt16BE(0), reason: frame.payload.toString("utf8", 2) }
    );
  }
}

/** Any 16 bytes (RFC 6455, 1.3). */
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
