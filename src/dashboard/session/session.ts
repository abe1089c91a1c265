import {
  LogHistory,
  LogStream,
  type LogEntry,
  type LogStreamOptions,
  type StreamEvent,
} from "../../client/index.ts";
import { ENVELOPE_TYPES, type EnvelopeType } from "../../wire/envelope.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import { PanelStore, type PanelOptions } from "../panel/panel-store.ts";
import type { IdentityStore } from "../sign-in/identity.ts";
import { FieldCatalog } from "../search/field-catalog.ts";
import { Correlation } from "./correlation.ts";
import type { GatewayClock } from "./gateway-clock.ts";
import { GatewayStats } from "./gateway-stats.ts";
import { JournalCounts } from "./journal-counts.ts";
import { LiveStats } from "./live-stats.ts";
import {
  DEFAULT_VIEW,
  filterKey,
  isSliding,
  isValidFilter,
  toBounds,
  toFilter,
  type TimeBounds,
  type TimeRange,
  type View,
  type ViewStore,
} from "./view.ts";

/** How many records a panel starts with; older ones are loaded when the user scrolls up. */
const REPLAY = 200;

const SLIDE_INTERVAL_MS = 1000;

/** The gateway that served the page, relative to the page: a proxy may add a path prefix. */
const GATEWAY_URL = "./";

interface SessionOptions {
  readonly clock: GatewayClock;
  readonly identity: IdentityStore;
}

/** For a panel whose records the user may not read. */
const NO_STREAM: PanelOptions["stream"] = {
  status: { state: "closed", reason: "", since: 0, transport: "tailgate.v1" },
  listen: () => () => {},
  setFilter: () => 0,
};

/**
 * The dashboard's connection to the gateway: the history API, and one stream for each panel, so that each panel starts
 * with the newest records of its type, and audit events do not queue behind system logs.
 */
export class DashboardSession {
  readonly history: LogHistory;
  readonly panels: Readonly<Record<EnvelopeType, PanelStore>>;
  /** The types of records that the user may read; panels of others are empty. */
  readonly types: readonly EnvelopeType[];
  readonly identity: IdentityStore;
  readonly clock: GatewayClock;
  readonly live: LiveStats;
  readonly stats: GatewayStats;
  readonly counts: JournalCounts;
  readonly correlation: Correlation;
  /** What the search box suggests. */
  readonly catalog: FieldCatalog;
  readonly #connections: LogStream[] = [];
  readonly #streams: BoundedStream[] = [];
  #range: TimeRange;

  constructor(view: View, { clock, identity }: SessionOptions) {
    this.clock = clock;
    this.identity = identity;
    this.types = ENVELOPE_TYPES.filter((type) => identity.mayRead(type));
    this.live = new LiveStats(clock.now);
    this.stats = new GatewayStats(clock, identity.fetch);
    const { q } = isValidFilter(view.q) ? view : DEFAULT_VIEW;
    this.history = new LogHistory({ url: GATEWAY_URL, fetch: identity.fetch });
    this.#range = view.range;
    const [system, audit] = ENVELOPE_TYPES.map((type) => this.#openPanel(type, { ...view, q }));
    this.panels = { system_log: system!, audit_log: audit! };
    this.correlation = new Correlation(this.panels);
    this.catalog = new FieldCatalog({ panels: this.panels, fetch: identity.fetch });
    this.counts = new JournalCounts({
      scope: { filter: toFilter({ ...view, q }), range: view.range },
      received: () => this.#anyPanel.counts.received,
      fetch: identity.fetch,
      epoch: () => this.epoch,
      now: clock.now,
      isHidden: () => document.hidden,
    });
    setInterval(() => this.#slide(), SLIDE_INTERVAL_MS);
  }

  /** The present bounds of the view's time range. */
  get bounds(): TimeBounds {
    return toBounds(this.#range, this.clock.now());
  }

  /** The epoch of the gateway's journal; undefined before the first connection. */
  get epoch(): string | undefined {
    return this.#anyPanel.status.epoch;
  }

  /** Either stream reports all sequences. */
  get #anyPanel(): PanelStore {
    return this.panels[this.types[0] ?? "system_log"];
  }

  /** Connects the streams that are waiting to reconnect, or for the user to sign in. */
  reconnect(): void {
    for (const connection of this.#connections) {
      const { retryInMs, state } = connection.status;
      if (retryInMs !== undefined || state === "unauthorized") connection.retry();
    }
  }

  /** Applies the view whenever it changes, unless its filter is not valid. */
  follow(views: ViewStore): void {
    views.epoch = () => this.epoch;
    let applied = filterKey(views.get());
    views.subscribe(() => {
      const view = views.get();
      const key = filterKey(view);
      if (key === applied || !isValidFilter(view.q)) return;
      applied = key;
      this.#apply(view);
    });
  }

  #apply(view: View): void {
    this.#range = view.range;
    this.counts.show({ filter: toFilter(view), range: view.range });
    for (const stream of this.#streams) stream.nextRange = view.range;
    for (const type of ENVELOPE_TYPES) this.panels[type].setFilter(toFilter(view));
  }

  /** Drops the records that have left a sliding range. */
  #slide(): void {
    const { sinceMs } = this.bounds;
    if (sinceMs === undefined || !isSliding(this.#range)) return;
    for (const type of ENVELOPE_TYPES) this.panels[type].dropBefore(sinceMs);
  }

  /** Resolves when both panels show the view. */
  async settled(): Promise<void> {
    await Promise.all(this.#streams.map((stream) => stream.settled()));
  }

  #connect(filter: FilterQuery, start: LogStreamOptions["start"]): LogStream {
    const { fetch: fetcher } = this.identity;
    const connection = new LogStream({ url: GATEWAY_URL, filter, start, fetch: fetcher });
    this.live.watch(connection);
    this.#connections.push(connection);
    connection.listen((event) => {
      if (event.type !== "status" || event.status.state !== "live") return;
      // If one stream can connect, so can the other.
      this.reconnect();
      // Another page of this browser may have signed in someone else in the meantime.
      void this.identity.learn();
    });
    return connection;
  }

  #openPanel(type: EnvelopeType, view: View): PanelStore {
    const filter = toFilter(view);
    const { sinceMs, untilMs } = this.bounds;
    // The newest records may all be outside the bounds: those inside are read from the journal.
    const isBounded = sinceMs !== undefined || untilMs !== undefined;
    const start = isBounded ? {} : { replay: REPLAY };
    const connection = this.types.includes(type)
      ? this.#connect({ ...filter, type }, start)
      : NO_STREAM;
    const stream = new BoundedStream(connection, view.range, this.clock.now);
    this.#streams.push(stream);
    return new PanelStore({
      type,
      filter,
      stream,
      hasStart: () => stream.bounds.sinceMs !== undefined,
      history: {
        page: (query) => {
          const { sinceMs: since, untilMs: until } = stream.bounds;
          return this.history.page({ ...query, since, until });
        },
      },
      schedule: (publish) => requestAnimationFrame(publish),
    });
  }
}

/**
 * A stream that delivers only the records of a time range, which the gateway's filter cannot express. Other records
 * count as filtered.
 */
class BoundedStream {
  readonly #stream: PanelOptions["stream"];
  readonly #now: () => number;
  #range: TimeRange;
  /** The range that takes effect when the gateway confirms the filter of this version. */
  #pending: { readonly version: number; readonly range: TimeRange } | undefined;
  #waiting: (() => void)[] = [];
  /** The range that the next filter comes with. */
  nextRange: TimeRange;

  /** `now`: the gateway's time, in ms since 1970. */
  constructor(stream: PanelOptions["stream"], range: TimeRange, now: () => number) {
    this.#stream = stream;
    this.#now = now;
    this.#range = range;
    this.nextRange = range;
  }

  get status(): PanelOptions["stream"]["status"] {
    return this.#stream.status;
  }

  /** The present bounds; those of a sliding range change with time. */
  get bounds(): TimeBounds {
    return toBounds(this.#range, this.#now());
  }

  listen(listener: (event: StreamEvent) => void): () => void {
    return this.#stream.listen((event) => this.#handle(event, listener));
  }

  setFilter(filter: FilterQuery): number {
    const version = this.#stream.setFilter(filter);
    this.#pending = { version, range: this.nextRange };
    return version;
  }

  /** Resolves when the gateway has confirmed or rejected the last filter. */
  settled(): Promise<void> {
    if (!this.#pending) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #handle(event: StreamEvent, listener: (event: StreamEvent) => void): void {
    if (event.type === "records") {
      const entries = event.entries.filter((entry) => this.#isWithin(entry));
      return listener({ ...event, entries });
    }
    const isReply =
      (event.type === "filter" || event.type === "refused") &&
      event.version === this.#pending?.version;
    if (isReply) this.#range = this.#pending!.range;
    listener(event);
    if (!isReply) return;
    this.#pending = undefined;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #isWithin({ envelope }: LogEntry): boolean {
    const { sinceMs, untilMs } = this.bounds;
    if (sinceMs === undefined && untilMs === undefined) return true;
    const ms = Date.parse(envelope.data.timestamp);
    return (sinceMs === undefined || ms >= sinceMs) && (untilMs === undefined || ms < untilMs);
  }
}
