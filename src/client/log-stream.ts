import type { RawReader } from "./raw-json.ts";
import type { FilterQuery } from "../wire/filter.ts";
import { SUBPROTOCOL, type Start } from "../wire/protocol.ts";
import { watchPage } from "./browser-page.ts";
import { FilterChanges } from "./filter-changes.ts";
import { Gateway, type Diagnosis, type GatewayOptions } from "./gateway.ts";
import { LogHistory } from "./log-history.ts";
import { PlainSession } from "./plain-session.ts";
import { Poller } from "./polling.ts";
import { StreamPosition } from "./position.ts";
import type { SessionContext, SessionResult, StreamSession } from "./session.ts";
import { Listeners, type StreamListener, type StreamStatus } from "./stream-events.ts";
import { SubprotocolSession } from "./subprotocol-session.ts";
import { delay } from "./timing.ts";

/** A connection that has lasted this long resets the backoff. */
const STABLE_MS = 10_000;

/** After this many failed attempts in a row while plain requests are answered, the stream polls. */
const BLOCKED_ATTEMPTS = 3;

const RETRY_DELAY_MS_MIN = 500;
const RETRY_DELAY_MS_MAX = 30_000;

/** The longest delay of a timer, about 24 days: an attempt that only `retry()` makes. */
const NEVER_MS = 2 ** 31 - 1;

/** What a {@link LogStream} follows, and how. */
export interface LogStreamOptions extends GatewayOptions {
  /**
   * Returns a ticket of the gateway (`POST /api/tickets`); called before each connection. For a page of another origin,
   * whose own server requests it, so that the page has no token. Default: none.
   */
  readonly ticket?: (() => string | Promise<string>) | undefined;
  /** Default: all records. */
  readonly filter?: FilterQuery | undefined;
  /** Where to start: one of `replay`, `since` and `resume`. Default: with new records. */
  readonly start?: Start | undefined;
  /** `rawJson`: each entry also carries its envelope's JSON exactly as the gateway sent it. Default: it does not. */
  readonly raw?: RawReader | undefined;
  /**
   * Default: the platform's. `pause()` needs one that can stop reading, such as that of the package ws. Outside of a page
   * its constructor gets the URL, the subprotocols, and `{ headers }` with the credentials.
   */
  readonly WebSocket?: typeof WebSocket | undefined;
}

/** A connection attempt that failed, or a connection that was lost. */
type Failure = Pick<Diagnosis, "reason" | "code">;

/**
 * Follows a gateway's records and reconnects when the connection is lost. Its lifecycle:
 *
 * 1. Creation: it connects after the current task, so that listeners added now receive every event.
 * 2. Running: it follows the gateway until `close()`. After a connection loss it resumes where it left off; records that
 *    are no longer available are reported as a gap. Retries use exponential backoff with full jitter, up to 30 s. If the
 *    gateway rejects the credentials, it stops trying, and `retry()` continues.
 * 3. `close()`: the last event is the status `closed`.
 *
 * After construction nothing throws. It does not retain records that it has delivered to its listeners.
 */
export class LogStream {
  readonly #gateway: Gateway;
  readonly #history: LogHistory;
  readonly #listeners = new Listeners();
  readonly #context: SessionContext;
  #status: StreamStatus;
  #session: StreamSession | undefined;
  readonly #closing = new AbortController();
  #poller: Poller | undefined;
  #wasPlain = false;
  /** Attempts in a row without a stable connection, and those of them during which plain requests were answered. */
  #failures = 0;
  #blocked = 0;
  #connectedAtMs = 0;
  /** Aborted to retry at once. */
  #waiting = new AbortController();
  /** When the next attempt is due, on the monotonic clock; undefined during an attempt. */
  #retryAtMs: number | undefined;
  /** Requested during an attempt, which may have begun before the reason to retry. */
  #retriesAtOnce = false;
  #paused: PromiseWithResolvers<void> | undefined;

  /** @throws TypeError if `url` is not a gateway's URL. */
  constructor({ filter = {}, start = {}, raw, ...options }: LogStreamOptions) {
    this.#gateway = new Gateway(options);
    this.#history = new LogHistory(options);
    const reason = `Connecting to ${this.#gateway.endpoints.socket.host}.`;
    this.#status = { state: "connecting", reason, since: Date.now(), transport: SUBPROTOCOL };
    this.#context = {
      gateway: this.#gateway,
      position: new StreamPosition(start.resume),
      filters: new FilterChanges(filter),
      start,
      raw,
      emit: (events) => this.#listeners.emit(events),
      enter: (state, text, transport) => this.#enter({ state, reason: text, transport }),
      connected: () => this.#connected(),
      resumed: () => this.#paused?.promise,
    };
    watchPage(() => this.#awake(), this.#closing.signal);
    queueMicrotask(() => void this.#follow());
  }

  /** The current state, with the position up to which records were delivered. */
  get status(): StreamStatus {
    return { ...this.#status, ...this.#context.position.resume };
  }

  /** Adds a listener of all events. Returns the function that removes it. Exceptions thrown by a listener are isolated and logged. */
  listen(listener: StreamListener): () => void {
    return this.#listeners.add(listener);
  }

  /** Replaces the filter in place. Returns the version that the event `filter` or `refused` will have. */
  setFilter(filter: FilterQuery): number {
    const { filters } = this.#context;
    const wasRejected = filters.isRejected;
    const version = filters.set(filter);
    if (this.#session) this.#session.filterChanged();
    else if (wasRejected) this.retry();
    this.#poller?.askAgain();
    return version;
  }

  /**
   * Stops reading until `resume()`, for a consumer that cannot keep up: the gateway then holds records back, and reports
   * those that it has to drop as a gap. It needs a WebSocket class with `pause` and `resume`, such as that of the ws
   * package; browsers have none.
   */
  pause(): void {
    this.#paused ??= Promise.withResolvers();
    this.#session?.pause();
  }

  /** Continues reading after `pause()`. */
  resume(): void {
    this.#paused?.resolve();
    this.#paused = undefined;
    this.#session?.resume();
  }

  /** Retries now instead of waiting for the next attempt. */
  retry(): void {
    const { state } = this.#status;
    this.#retriesAtOnce = state !== "live" && state !== "catching-up";
    this.#waiting.abort();
  }

  /** Ends the stream. Safe to call again. */
  close(): void {
    if (this.#isClosed) return;
    this.#closing.abort();
    this.#stopPolling();
    this.#session?.end();
    this.#waiting.abort();
    this.#enter({ state: "closed", reason: "Closed." });
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  #awake(): void {
    this.#session?.check();
    this.#poller?.askAgain();
    this.retry();
  }

  async #follow(): Promise<void> {
    while (!this.#isClosed) {
      const failure = await this.#attempt().catch((error: unknown) => ({
        reason: `The client failed: ${String(error)}`,
      }));
      if (failure && !this.#isClosed) await this.#waitForRetry(failure);
    }
  }

  /** Makes one connection. Resolves when it has ended, with undefined if the next one is due at once. */
  async #attempt(): Promise<Failure | undefined> {
    this.#retriesAtOnce = false;
    if (!this.#poller) this.#enter({ state: "connecting", reason: this.#status.reason });
    const { signal } = this.#closing;
    const answer = await this.#gateway.authenticate(signal);
    if (answer?.code || signal.aborted) return answer;
    const result = await this.#run(new SubprotocolSession(this.#context));
    if (result.wasOpen) return this.#lost(result);
    const diagnosis = await this.#gateway.diagnose(signal);
    const mayBeOlder =
      diagnosis.kind === "hidden" ? this.#failures > 0 : diagnosis.kind === "older";
    if (mayBeOlder && !this.#isClosed) {
      const plain = await this.#run(new PlainSession(this.#context, !this.#wasPlain));
      this.#wasPlain ||= plain.wasOpen;
      if (plain.isReplaced) return undefined;
      if (plain.wasOpen) return this.#lost(plain);
    }
    const isBlocked = diagnosis.kind !== undefined && diagnosis.kind !== "hidden";
    this.#blocked = isBlocked ? this.#blocked + 1 : 0;
    return diagnosis;
  }

  async #run(session: StreamSession): Promise<SessionResult> {
    this.#session = session;
    const result = await session.ended;
    this.#session = undefined;
    return result;
  }

  #connected(): void {
    this.#connectedAtMs = performance.now();
    this.#blocked = 0;
    this.#stopPolling();
  }

  #lost({ reason }: SessionResult): Failure {
    if (performance.now() - this.#connectedAtMs >= STABLE_MS) this.#failures = 0;
    return { reason };
  }

  async #waitForRetry({ reason, code }: Failure): Promise<void> {
    if (code) {
      this.#stopPolling();
      const elapsed = this.#wait(NEVER_MS);
      this.#listeners.emit([{ type: "error", code, message: reason }]);
      this.#enter({ state: "unauthorized", reason });
      return elapsed;
    }
    const retryInMs = this.#retriesAtOnce ? 0 : backoffMs(this.#failures++);
    const elapsed = this.#wait(retryInMs);
    const canPoll = this.#blocked >= BLOCKED_ATTEMPTS && !this.#context.filters.isRejected;
    if (canPoll && !this.#poller) void this.#poll();
    if (this.#poller) this.#enter({ state: "polling", reason, retryInMs, transport: "polling" });
    else this.#enter({ state: "waiting", reason, retryInMs });
    await elapsed;
  }

  async #wait(delayMs: number): Promise<void> {
    this.#waiting = new AbortController();
    this.#retryAtMs = performance.now() + delayMs;
    await delay(delayMs, this.#waiting.signal);
    this.#retryAtMs = undefined;
  }

  /** Polls until a WebSocket opens or plain requests fail, too. */
  async #poll(): Promise<void> {
    const poller = new Poller(this.#history, this.#context);
    this.#poller = poller;
    const reason = await poller.run();
    if (this.#poller !== poller) return;
    this.#poller = undefined;
    if (this.#context.filters.isRejected) return this.#enter({ state: "waiting", reason });
    const retryInMs = this.#retryAtMs && Math.max(0, this.#retryAtMs - performance.now());
    this.#enter({ state: retryInMs === undefined ? "connecting" : "waiting", reason, retryInMs });
  }

  #stopPolling(): void {
    this.#poller?.end();
    this.#poller = undefined;
  }

  #enter(change: Pick<StreamStatus, "state" | "reason"> & Partial<StreamStatus>): void {
    const { state, since, transport } = this.#status;
    this.#status = { transport, since: change.state === state ? since : Date.now(), ...change };
    this.#listeners.emit([{ type: "status", status: this.status }]);
  }
}

/** Returns the delay before the next attempt: full jitter, doubling up to 30 s. `failures` counts from 0. */
function backoffMs(failures: number): number {
  return Math.random() * Math.min(RETRY_DELAY_MS_MAX, RETRY_DELAY_MS_MIN * 2 ** failures);
}
