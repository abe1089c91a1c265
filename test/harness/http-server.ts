import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { onTestFinished } from "vitest";
import { Counters, type PluginMetric } from "../../src/plugin/metrics.ts";
import { encodeRecords } from "./records.ts";
import { textOf } from "tailgate/plugin";
import type { AuditStatus, ComponentStatus, GatewayView } from "../../src/gateway/status.ts";
import { HttpServer, type HttpServerOptions } from "../../src/http/server/server.ts";
import type { Journal } from "../../src/journal/journal.ts";
import { MemoryJournal } from "../../src/journal/memory.ts";
import type { HostLogger, LogRecord } from "tailgate/plugin";

interface HttpHarnessOptions extends Partial<HttpServerOptions> {
  /** In memory where absent, and then as large as `tailBytesMax`. */
  readonly journal?: Journal;
  readonly tailBytesMax?: number;
}

/** The gateway as the HTTP server sees it, with a journal and counters that tests set. */
export class HttpHarness {
  readonly journal: Journal;
  readonly components: ComponentStatus[] = [];
  readonly pluginMetrics: PluginMetric[] = [];
  readonly view: GatewayView;
  /** What the server logged. */
  readonly lines: string[] = [];
  readonly server: HttpServer;
  notReady: string | undefined;
  audit: AuditStatus | undefined;
  url = "";

  constructor(options: HttpHarnessOptions = {}) {
    const { tailBytesMax, journal, ...serverOptions } = options;
    this.journal = journal ?? new MemoryJournal(tailBytesMax);
    this.view = viewOf(this);
    const log = lineLogger(this.lines);
    this.server = new HttpServer({
      host: "127.0.0.1",
      port: 0,
      allowedHosts: [],
      log,
      ...serverOptions,
    });
  }

  /** Serves until the test ends. */
  async open(): Promise<this> {
    this.server.mount(this.view);
    this.url = await this.server.listen();
    onTestFinished(() => this.server.close(AbortSignal.abort()));
    return this;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** Appends records, as one batch. */
  async log(...records: Partial<LogRecord>[]): Promise<void> {
    for (const batch of encodeRecords(records)) await this.journal.append(batch);
  }

  component(given: Partial<ComponentStatus>): Counters {
    const counters = new Counters();
    const waiting = { queueBytes: 0, queueRecords: 0, lagMs: 0 };
    const idle = { ...waiting, isDurable: true, retries: 0, lastError: undefined };
    this.components.push({ id: "file", kind: "exporter", ...idle, ...given, counters });
    return counters;
  }
}

function viewOf(harness: HttpHarness): GatewayView {
  return {
    get notReady() {
      return harness.notReady;
    },
    startedAtMs: Date.now(),
    journal: harness.journal,
    get audit() {
      return harness.audit;
    },
    components: harness.components,
    traceUrl: undefined,
    pluginMetrics: harness.pluginMetrics,
  };
}

function lineLogger(lines: string[]): HostLogger {
  return {
    info: (message) => lines.push(message),
    warning: (message) => lines.push(message),
    error: (message, cause) => lines.push(`${message} ${textOf(cause)}`),
  };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Sends exactly these headers: `fetch` cannot set Host or Origin. */
export function ask(
  url: string,
  { method = "GET", headers = {} }: { method?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const request = httpRequest(url, { method, headers, agent: false }, (response) => {
    text(response).then(
      (body) => resolve({ status: response.statusCode!, headers: response.headers, body }),
      reject,
    );
  });
  request.on("error", reject);
  request.end();
  return promise;
}

/** Sends raw bytes; returns everything received until the other side closes the connection. */
export function sendRaw(port: number, bytes: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1" });
  socket.write(bytes);
  return text(socket);
}

/** The head of a WebSocket handshake. */
export function handshake(path: string, headers: Record<string, string>): string {
  const all = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
  return `GET ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
}
