import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { testHost, type TestHost } from "tailgate/testing";
import { WebSocket } from "ws";
import websocket from "../../plugins/websocket.ts";
import { CompositeBatch } from "../../src/batch/composite.ts";
import { encodeRecords, type RecordBatch } from "./records.ts";
import { MemoryJournal } from "../../src/journal/memory.ts";
import { OPEN_ACCESS } from "../../src/plugin/access.ts";
import type {
  Access,
  Batch,
  Envelope,
  Exporter,
  Host,
  HostJournal,
  Level,
  LogRecord,
  Gap,
  HostClock,
  JournalPage,
  JournalQuery,
} from "tailgate/plugin";
import { onTestFinished, expect, vi } from "vitest";

export interface HarnessOptions {
  /** Options of the exporter, as in the configuration. */
  readonly options?: Record<string, unknown>;
  readonly level?: Level;
  readonly filter?: string;
  readonly journalBytesMax?: number;
  /** Wraps the journal that the exporter reads. */
  readonly journal?: (journal: MemoryJournal) => HostJournal;
}

/** The exporter with a real HTTP server and journal; the test decides when a batch is delivered. */
export class WebSocketHarness {
  readonly journal: MemoryJournal;
  readonly exporter: Exporter;
  /** The access of clients that connect from now on. */
  access: Access = OPEN_ACCESS;
  readonly #host: TestHost;
  readonly #batches: RecordBatch[] = [];
  #closed = false;

  private constructor(
    host: TestHost,
    { options = {}, level, filter, journalBytesMax, journal }: HarnessOptions,
  ) {
    this.#host = host;
    this.journal = new MemoryJournal(journalBytesMax);
    const itsHost: Host = {
      ...host,
      level,
      filter,
      journal: journal?.(this.journal) ?? this.journal,
      http: { ...host.http, accessOf: () => this.access },
    };
    this.exporter = websocket.open(websocket.options.parse(options), itsHost) as Exporter;
  }

  static async start(options: HarnessOptions = {}): Promise<WebSocketHarness> {
    const host = await testHost("websocket");
    const harness = new WebSocketHarness(host, options);
    await host.listen();
    return harness;
  }

  get port(): number {
    return Number(new URL(this.#host.url).port);
  }

  /** The lines logged by the gateway. */
  get lines(): readonly string[] {
    return this.#host.lines;
  }

  url(query = ""): string {
    return websocketUrl(this.#host.url, query);
  }

  /** Appends to the journal without delivering. */
  append(given: readonly Partial<LogRecord>[]): RecordBatch[] {
    const batches = encodeRecords(given);
    for (const batch of batches) void this.journal.append(batch);
    this.#batches.push(...batches);
    return batches;
  }

  /** All appended records as one batch. */
  asBatch(): Batch {
    return new CompositeBatch(this.#batches);
  }

  deliver(batches: readonly Batch[]): void {
    for (const batch of batches) void this.exporter.write(batch, new AbortController().signal);
  }

  emit(given: readonly Partial<LogRecord>[]): void {
    this.deliver(this.append(given));
  }

  /** The sum over all labels, or the value for one reason. */
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

export function websocketUrl(url: string, query = ""): string {
  return `${url.replace("http", "ws")}/ws/logs${query}`;
}

/** A client that collects what it receives. */
export class Client {
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

  static async open(url: string): Promise<Client> {
    const client = new Client(url);
    await once(client.socket, "open");
    return client;
  }

  /**
   * Resolves when everything sent before this call, or before the connection closed, has arrived.
   */
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

/** A peer without a WebSocket library, which controls when it reads and what it sends. */
export class RawPeer {
  readonly socket: Socket;
  #received: Buffer[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
  }

  /** Resolves when the response headers have arrived. After that it reads only after `read`. */
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

  /** The response headers. */
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

  /** The complete frames received. */
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

/** Closed at the end of the test. */
export async function startHarness(options?: HarnessOptions): Promise<WebSocketHarness> {
  const harness = await WebSocketHarness.start(options);
  onTestFinished(() => harness.close());
  return harness;
}

/** A harness with that many records in memory; older ones are read from disk. */
export async function startPagedHarness(
  memoryRecords: number,
  options: HarnessOptions = {},
): Promise<{ harness: WebSocketHarness; journal: PagedJournal }> {
  let journal: PagedJournal | undefined;
  const harness = await startHarness({
    ...options,
    journal: (inner) => (journal = new PagedJournal(inner, memoryRecords)),
  });
  return { harness, journal: journal! };
}

/** Records whose bodies are increasing numbers. */
export function numbered(
  from: number,
  count: number,
  given: Partial<LogRecord> = {},
): Partial<LogRecord>[] {
  return Array.from({ length: count }, (_, offset) => ({ body: `${from + offset}`, ...given }));
}

/** Both included. */
export function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, offset) => from + offset);
}

export const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };

/** Records whose body is their sequence: every tenth an audit event, every seventh an ERROR. */
export function mixed(from: number, count: number, padding = ""): Partial<LogRecord>[] {
  return numbers(from, from + count - 1).map((sequence) => ({
    body: `${sequence}${padding}`,
    severityText: sequence % 7 === 0 ? "ERROR" : "INFO",
    ...(sequence % 10 === 0 && { scope: AUDIT }),
  }));
}

/** Appends {@link mixed} records after the existing ones, in batches. */
export function emitMixed(
  harness: WebSocketHarness,
  count: number,
  batchRecords = 10,
  padding = "",
): void {
  for (let done = 0; done < count; done += batchRecords) {
    const records = Math.min(batchRecords, count - done);
    harness.emit(mixed(harness.journal.newest + 1, records, padding));
  }
}

/** Consecutive numbers as texts. */
export function numberTexts(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, offset) => `${from + offset}`);
}

export function scope(name: string): LogRecord["scope"] {
  return { name, version: "", attributes: new Map() };
}

export function twice(...messages: string[]): string[] {
  return [...messages, ...messages];
}

/** The numbers before the padding. */
export function firstWords(messages: readonly string[]): string[] {
  return messages.map((message) => message.split(" ")[0]!);
}

/** Resolves when the client has that many frames. */
export async function untilReceived(client: Client, count: number): Promise<void> {
  await vi.waitFor(() => expect(client.texts.length).toBeGreaterThanOrEqual(count), 10_000);
}

export const LARGE = "x".repeat(60_000);

/**
 * A journal on disk: memory holds only the newest batches, the rest is read in pages. Records that
 * the disk rejected are a gap in both.
 */
export class PagedJournal implements HostJournal {
  readonly #inner: MemoryJournal;
  readonly #memoryRecords: number;
  readonly gaps: Gap[] = [];
  /** The last sequence shared with each earlier epoch. */
  readonly sharedByEpoch = new Map<string, number>();
  /** The last durable sequence; undefined means all are durable. */
  durableTo: number | undefined;
  reads = 0;

  constructor(inner: MemoryJournal, memoryRecords = Infinity) {
    this.#inner = inner;
    this.#memoryRecords = memoryRecords;
  }

  get epoch(): string {
    return this.#inner.epoch;
  }

  get newest(): number {
    return this.#inner.newest;
  }

  get durable(): number {
    return this.durableTo ?? this.newest;
  }

  get oldest(): number {
    return Math.max(this.#inner.oldest, this.newest - this.#memoryRecords + 1);
  }

  get clock(): HostClock {
    return this.#inner.clock;
  }

  /** Only whole batches. */
  rejectWrites(from: number, to: number): void {
    this.gaps.push({ from, to, reason: "not_stored" });
  }

  #gapAt(sequence: number): Gap | undefined {
    return this.gaps.find(({ from, to }) => from <= sequence && sequence <= to);
  }

  readFrom(sequence: number): ReturnType<HostJournal["readFrom"]> {
    if (sequence < this.oldest || this.#gapAt(sequence)) return undefined;
    return this.#inner.readFrom(sequence);
  }

  async read(query: JournalQuery): Promise<JournalPage> {
    this.reads++;
    await new Promise((resolve) => setImmediate(resolve));
    const { from, order = "asc" } = query;
    const hole = this.#gapAt(from);
    if (hole === undefined) return this.#inner.read(query);
    const [first, last] = order === "asc" ? [from, hole.to] : [hole.from, from];
    const gap = { ...hole, from: first, to: last };
    return { from: first, to: last, records: undefined, gaps: [gap] };
  }

  uidOf(sequence: number): string {
    return this.#inner.uidOf(sequence);
  }

  sharedUpTo(epoch: string, sequence: number): number | undefined {
    const shared = this.sharedByEpoch.get(epoch);
    return shared === undefined
      ? this.#inner.sharedUpTo(epoch, sequence)
      : Math.min(shared, sequence);
  }
}
