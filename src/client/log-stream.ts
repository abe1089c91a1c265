import type { FilterQuery } from "../wire/filter.ts";
import { type Start, SUBPROTOCOL } from "../wire/protocol.ts";
import { type Addresses, addressesOf, diagnose } from "./endpoints.ts";
import { FilterChanges } from "./filter-changes.ts";
import { Listeners, type StreamListener, type StreamStatus } from "./stream-events.ts";
import { LogHistory } from "./log-history.ts";
import { watchPage } from "./browser-page.ts";
import { PlainSession } from "./plain-session.ts";
import { Poller } from "./polling.ts";
import { Position } from "./position.ts";
import type { Session, SessionEnd, Surroundings } from "./session.ts";
import { SubprotocolSession } from "./subprotocol-session.ts";

/** A connection that has lasted so long was a good one: the next attempt comes soon. */
const STABLE_MS = 10_000;

/** After so many attempts in a row that fail while plain requests are answered, records are asked for that way. */
const BLOCKED_ATTEMPTS = 3;

export interface LogStreamOptions {
  /** Such as `http://127.0.0.1:8001` or `ws://127.0.0.1:8001/ws/logs`; on a page of the gateway `/`. */
  readonly url: string | URL;
  readonly filter?: FilterQuery | undefined;
  /** Where it starts, in one of three ways; from now on where absent. */
  readonly start?: Start | undefined;
  /** Those of the platform where absent. */
  readonly WebSocket?: typeof WebSocket | undefined;
  readonly fetch?: typeof fetch | undefined;
}

/** Why an attempt has ended. */
interface Trouble {
  readonly reason: string;
  /** Plain requests would be answered. */
  readonly canPoll: boolean;
}

/**
 * The records of a gateway, live, over all losses of the connection. Its life:
 *
 * 1. `new LogStream(options)`; it connects when the present task is done, so that a listener that is added now hears
 *    everything.
 * 2. It follows the gateway until `close()`. After a loss it goes on behind what it has; what cannot be had any more it
 *    tells as a gap. It waits longer from attempt to attempt, up to 30 s, each time a random part of that.
 * 3. `close()`: the last event is the status `closed`.
 *
 * Nothing here throws once it is made. It holds no record after its listeners have heard of it.
 */
export class LogStream {
  readonly #addresses: Addresses;
  readonly #fetch: typeof fetch;
  readonly #history: LogHistory;
  readonly #listeners = new Listeners();
  readonly #surroundings: Surroundings;
  readonly #unwatch: () => void;
  #status: StreamStatus;
  #session: Session | undefined;
  readonly #closing = new AbortController();
  #polling: Poller | undefined;
  #wasPlain = false;
  /** Attempts in a row without a connection that has lasted, and among them those while plain requests were answered. */
  #failures = 0;
  #blocked = 0;
  #connectedAtMs = 0;
  /** Before the next attempt. */
  readonly #pause = new Pause();
  /** Asked for while an attempt was under way, which may have begun before what made its end worth another one. */
  #wantsAnother = false;

  /** @throws TypeError where the address is none. */
  constructor({ url, filter = {}, start = {}, ...given }: LogStreamOptions) {
    this.#addresses = addressesOf(url);
    this.#fetch = given.fetch ?? fetch;
    this.#history = new LogHistory({ url, fetch: this.#fetch });
    const reason = `Connecting to ${this.#addresses.socket.host}.`;
    this.#status = { state: "connecting", reason, since: Date.now(), transport: SUBPROTOCOL };
    this.#surroundings = {
      position: new Position(start.resume),
      filters: new FilterChanges(filter),
      start,
      dial: { WebSocket: given.WebSocket ?? WebSocket, url: this.#addresses.socket },
      tell: (events) => this.#listeners.tell(events),
      enter: (state, text, transport) => this.#enter({ state, reason: text, transport }),
      connected: () => this.#connected(),
    };
    this.#unwatch = watchPage(() => this.#awake());
    queueMicrotask(() => void this.#follow());
  }

  get status(): StreamStatus {
    return { ...this.#status, ...this.#surroundings.position.resume };
  }

  /** Answers the function that takes the listener off. One that throws disturbs nobody; it is told on the console. */
  listen(listener: StreamListener): () => void {
    return this.#listeners.add(listener);
  }

  /**
   * Replaces the filter, on the connection that there is or from the next one on. Answers the version that the filter
   * event will have, or the event `refused`.
   */
  setFilter(filter: FilterQuery): number {
    const { filters } = this.#surroundings;
    const isAwaited = filters.isRefused;
    const version = filters.want(filter);
    if (this.#session) this.#session.filterChanged();
    else if (isAwaited) this.retry();
    this.#polling?.askAgain();
    return version;
  }

  /** Does not wait any longer for the next attempt. */
  retry(): void {
    const { state } = this.#status;
    this.#wantsAnother = state !== "live" && state !== "catching-up";
    this.#pause.end();
  }

  /** Ends it. Safe to call again. */
  close(): void {
    if (this.#isClosed) return;
    this.#unwatch();
    this.#closing.abort();
    this.#stopPolling();
    this.#session?.end();
    this.#pause.end();
    this.#enter({ state: "closed", reason: "It was closed here." });
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  #awake(): void {
    this.#session?.check();
    this.#polling?.askAgain();
    this.retry();
  }

  async #follow(): Promise<void> {
    while (!this.#isClosed) {
      const trouble = await this.#attempt().catch(faultOf);
      if (trouble && !this.#isClosed) await this.#rest(trouble);
    }
  }

  /** One connection, or none; undefined where the next one is to come at once. */
  async #attempt(): Promise<Trouble | undefined> {
    this.#wantsAnother = false;
    if (!this.#polling) this.#enter({ state: "connecting", reason: this.#status.reason });
    const end = await this.#run(new SubprotocolSession(this.#surroundings));
    if (end.wasOpen) return this.#lost(end);
    const finding = await diagnose(this.#addresses.endpoint, this.#fetch, this.#closing.signal);
    const mayBeOlder = finding.kind === "hidden" ? this.#failures > 0 : finding.kind === "older";
    if (mayBeOlder && !this.#isClosed) {
      const plain = await this.#run(new PlainSession(this.#surroundings, !this.#wasPlain));
      this.#wasPlain ||= plain.wasOpen;
      if (plain.isReplaced) return undefined;
      if (plain.wasOpen) return this.#lost(plain);
    }
    const isBlocked = finding.kind === "willing" || finding.kind === "older";
    this.#blocked = isBlocked ? this.#blocked + 1 : 0;
    return { reason: finding.reason, canPoll: this.#blocked >= BLOCKED_ATTEMPTS };
  }

  async #run(session: Session): Promise<SessionEnd> {
    this.#session = session;
    const end = await session.ended;
    this.#session = undefined;
    return end;
  }

  #connected(): void {
    this.#connectedAtMs = performance.now();
    this.#blocked = 0;
    this.#stopPolling();
  }

  #lost({ reason }: SessionEnd): Trouble {
    if (performance.now() - this.#connectedAtMs >= STABLE_MS) this.#failures = 0;
    return { reason, canPoll: false };
  }

  /** Until the next attempt. */
  async #rest({ reason, canPoll }: Trouble): Promise<void> {
    const retryInMs = this.#wantsAnother ? 0 : backoffMs(this.#failures++);
    const over = this.#pause.wait(retryInMs);
    if (canPoll && !this.#polling && !this.#surroundings.filters.isRefused) void this.#poll();
    if (this.#polling) this.#enter({ state: "polling", reason, retryInMs, transport: "polling" });
    else this.#enter({ state: "waiting", reason, retryInMs });
    await over;
  }

  /** Until a WebSocket opens or plain requests fail, too. */
  async #poll(): Promise<void> {
    const poller = new Poller(this.#history, this.#surroundings);
    this.#polling = poller;
    const reason = await poller.run();
    if (this.#polling !== poller) return;
    this.#polling = undefined;
    if (this.#surroundings.filters.isRefused) return this.#enter({ state: "waiting", reason });
    const { leftMs: retryInMs } = this.#pause;
    if (retryInMs === undefined) this.#enter({ state: "connecting", reason });
    else this.#enter({ state: "waiting", reason, retryInMs });
  }

  #stopPolling(): void {
    this.#polling?.end();
    this.#polling = undefined;
  }

  #enter(change: Pick<StreamStatus, "state" | "reason"> & Partial<StreamStatus>): void {
    const { state, since, transport } = this.#status;
    this.#status = {
      transport,
      since: change.state === state ? since : Date.now(),
      ...change,
    };
    this.#listeners.tell([{ type: "status", status: this.status }]);
  }
}

function faultOf(error: unknown): Trouble {
  return { reason: `The client has a fault: ${String(error)}.`, canPoll: false };
}

/** A time of waiting, which somebody can end. */
export class Pause {
  #end: () => void = () => {};
  /** In ms of the monotonic clock. */
  #endMs: number | undefined;

  /** How much of it is left; undefined while nobody waits. */
  get leftMs(): number | undefined {
    return this.#endMs === undefined ? undefined : Math.max(0, this.#endMs - performance.now());
  }

  async wait(durationMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, durationMs);
    this.#end = resolve;
    this.#endMs = performance.now() + durationMs;
    await promise;
    clearTimeout(timer);
    this.#endMs = undefined;
  }

  /** Without effect while nobody waits. */
  end(): void {
    this.#end();
  }
}

const FIRST_DELAY_MS = 500;
const DELAY_MS_MAX = 30_000;

/** How long to wait before the next attempt: full jitter, doubling up to 30 s. `failures` counts from 0. */
export function backoffMs(failures: number): number {
  return Math.random() * Math.min(DELAY_MS_MAX, FIRST_DELAY_MS * 2 ** failures);
}
