import type { Envelope, EnvelopeType } from "../envelope.ts";
import type { FilterQuery } from "../filter.ts";
import type { ServerMessage } from "../../plugins/websocket/protocol.ts";

/** Until src/client is there: the same types, on a connection that is opened again and resumed. */
export interface LogEntry {
  readonly sequence: number;
  readonly envelope: Envelope;
}

type GapReason = "retention" | "not_stored" | "damaged" | "slow" | "hole" | "unknown";

export interface MissingRange {
  readonly from: number;
  readonly to: number;
  readonly reason: GapReason;
  readonly lane?: EnvelopeType;
}

export type StreamEvent =
  | {
      readonly type: "records";
      readonly entries: readonly LogEntry[];
      readonly from: number;
      readonly to: number;
    }
  | { readonly type: "gap"; readonly gap: MissingRange }
  | { readonly type: "caught_up"; readonly sequence: number }
  | { readonly type: "filter"; readonly version: number }
  | { readonly type: "refused"; readonly version: number; readonly reason: string }
  | {
      readonly type: "reset";
      readonly epoch: string;
      readonly from: number;
      readonly to: number;
      readonly reason: string;
    }
  | { readonly type: "status"; readonly status: StreamStatus };

export interface StreamStatus {
  readonly state: "connecting" | "catching-up" | "live" | "waiting" | "polling" | "closed";
  readonly reason: string;
  readonly since: number;
  readonly retryInMs?: number;
  readonly transport: "tailgate.v1" | "plain" | "polling";
  readonly epoch?: string;
  readonly sequence?: number;
}

export class LogStream {
  readonly #url: string;
  readonly #listeners = new Set<(event: StreamEvent) => void>();
  #socket: WebSocket | undefined;
  #filter: FilterQuery;
  #version = 0;
  #epoch = "";
  #to = 0;
  #start: object;
  status: StreamStatus = {
    state: "connecting",
    reason: "",
    since: Date.now(),
    transport: "tailgate.v1",
  };

  constructor(options: { url: string | URL; filter?: FilterQuery; start?: { replay?: number } }) {
    this.#url = String(options.url);
    this.#filter = options.filter ?? {};
    this.#start = options.start ?? {};
    this.#connect();
  }

  listen(listener: (event: StreamEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  setFilter(filter: FilterQuery): number {
    this.#filter = filter;
    this.#version++;
    this.#send({ type: "filter", filter, version: this.#version });
    return this.#version;
  }

  close(): void {
    this.#listeners.clear();
    this.#socket?.close();
  }

  #connect(): void {
    const socket = new WebSocket(this.#url, ["tailgate.v1"]);
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)));
    socket.addEventListener("close", () => {
      if (this.#listeners.size === 0) return;
      this.#say("waiting", "The gateway does not answer.");
      setTimeout(() => this.#connect(), 1000);
    });
  }

  #send(message: object): void {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #say(state: StreamStatus["state"], reason = ""): void {
    this.status = { ...this.status, state, reason, since: Date.now() };
    this.#emit({ type: "status", status: this.status });
  }

  #emit(event: StreamEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  #take(message: ServerMessage): void {
    switch (message.type) {
      case "hello": {
        const resume =
          this.#to > 0 ? { resume: { epoch: this.#epoch, sequence: this.#to } } : this.#start;
        this.#epoch = message.epoch;
        this.#send({
          type: "subscribe",
          filter: this.#filter,
          version: this.#version,
          ...resume,
        });
        return this.#say("catching-up");
      }
      case "batch": {
        const { from, to, envelopes, sequences } = message;
        this.#to = to;
        const entries = envelopes.map((envelope, index) => ({
          sequence: sequences?.[index] ?? from + index,
          envelope,
        }));
        return this.#emit({ type: "records", entries, from, to });
      }
      case "gap": {
        const { type: _, ...gap } = message as { type: "gap" } & MissingRange;
        this.#to = gap.to;
        return this.#emit({ type: "gap", gap });
      }
      case "caught_up":
        this.#say("live");
        return this.#emit(message);
      case "filter":
        return this.#emit(message);
      default:
        return;
    }
  }
}

export interface HistoryQuery {
  readonly filter?: FilterQuery;
  readonly order: "asc" | "desc";
  readonly limit: number;
  readonly from?: number;
  readonly since?: string | number;
  readonly until?: string | number;
  readonly cursor?: string;
  readonly epoch?: string | undefined;
}

export interface HistoryPage {
  readonly entries: readonly LogEntry[];
  readonly gaps: readonly MissingRange[];
  readonly nextCursor: string | null;
}

export class LogHistory {
  readonly #url: string;
  #epoch: string | undefined;

  constructor({ url }: { url: string | URL }) {
    this.#url = String(url);
  }

  async page({ filter, from, epoch, ...rest }: HistoryQuery): Promise<HistoryPage> {
    const cursor =
      rest.cursor ??
      (from === undefined ? undefined : `${epoch ?? (await this.#epochNow())}:${from}`);
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries({ ...filter, ...rest, cursor })) {
      if (value !== undefined) query.set(name, String(value));
    }
    const answer = await (await fetch(`${this.#url}?${query}`)).json();
    if (answer.error) throw new Error(answer.error.message);
    return {
      entries: answer.records.map(({ sequence, ...envelope }: LogEntry & Envelope) => ({
        sequence,
        envelope,
      })),
      gaps: answer.gaps,
      nextCursor: answer.next_cursor,
    };
  }

  async #epochNow(): Promise<string> {
    this.#epoch ??= (await (await fetch(`${this.#url}?limit=1`)).json()).epoch as string;
    return this.#epoch;
  }
}
