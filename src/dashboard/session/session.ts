import { ENVELOPE_TYPES, type EnvelopeType } from "../../wire/envelope.ts";
import { LogHistory, LogStream, type HistoryQuery } from "../../client/index.ts";
import { BoundedStream } from "./bounded-stream.ts";
import type { GatewayClock } from "./gateway-clock.ts";
import { GatewayStats } from "./gateway-stats.ts";
import { JournalCounts } from "./journal-counts.ts";
import { Pace } from "./live-stats.ts";
import { Together } from "../details/correlation.ts";
import { PanelStore } from "../panel/panel-store.ts";
import type { ViewStore } from "./view-store.ts";
import {
  boundsOf,
  isSliding,
  filterKey,
  filterOf,
  problemOf,
  WHOLE_VIEW,
  type TimeBounds,
  type TimeRange,
  type View,
} from "./view.ts";

/** How many records a panel begins with; what is older comes when it is scrolled to. */
const REPLAY = 200;

/** How often a range that slides is looked at. */
const SLIDE_MS = 1000;

/** The one that has served the page. */
const GATEWAY = "/";

/**
 * What the page is connected to: the journal, and a stream for each panel, so that each begins with the newest records
 * of its type, and audit events do not wait behind many system logs.
 */
export class Session {
  readonly history: LogHistory;
  readonly panels: Readonly<Record<EnvelopeType, PanelStore>>;
  readonly clock: GatewayClock;
  readonly pace: Pace;
  readonly stats: GatewayStats;
  readonly counts: JournalCounts;
  readonly together: Together;
  readonly #streams: BoundedStream[] = [];
  readonly #connections: LogStream[] = [];
  #range: TimeRange;

  constructor(view: View, clock: GatewayClock) {
    this.clock = clock;
    this.pace = new Pace(clock.now);
    this.stats = new GatewayStats(clock);
    const { q } = problemOf(view.q) === "" ? view : WHOLE_VIEW;
    this.history = new LogHistory({ url: GATEWAY });
    this.#range = view.range;
    const [system, audit] = ENVELOPE_TYPES.map((lane) => this.#open(lane, { ...view, q }));
    this.panels = { system_log: system!, audit_log: audit! };
    this.together = new Together(this.panels);
    this.counts = new JournalCounts({
      wish: { filter: filterOf({ ...view, q }), range: view.range },
      // Each of the streams tells of all sequences.
      received: () => this.panels.system_log.counts.received,
      epoch: () => this.epoch,
      now: clock.now,
      isHidden: () => document.hidden,
    });
    setInterval(() => this.#slide(), SLIDE_MS);
  }

  /** The times that the view is about just now. */
  get bounds(): TimeBounds {
    return boundsOf(this.#range, this.clock.now());
  }

  /** Of the gateway's journal; undefined before the first connection. */
  get epoch(): string | undefined {
    return this.panels.system_log.status.epoch;
  }

  /** Connects both panels now, if they are waiting to. */
  reconnect(): void {
    for (const connection of this.#connections) {
      if (connection.status.retryInMs !== undefined) connection.retry();
    }
  }

  /** Shows what the view is about from now on, where that can be understood. */
  follow(views: ViewStore): void {
    views.epoch = () => this.epoch;
    let shown = filterKey(views.get());
    views.subscribe(() => {
      const view = views.get();
      const key = filterKey(view);
      if (key === shown || problemOf(view.q) !== "") return;
      shown = key;
      this.#show(view);
    });
  }

  #show(view: View): void {
    this.#range = view.range;
    this.counts.show({ filter: filterOf(view), range: view.range });
    for (const stream of this.#streams) stream.nextRange = view.range;
    for (const lane of ENVELOPE_TYPES) this.panels[lane].setFilter(filterOf(view));
  }

  /** What has left the range leaves the panels that follow; what somebody reads stays. */
  #slide(): void {
    const { sinceMs } = this.bounds;
    if (sinceMs === undefined || !isSliding(this.#range)) return;
    for (const lane of ENVELOPE_TYPES) this.panels[lane].forgetBefore(sinceMs);
  }

  /** Resolves when both panels show what the view is about. */
  async settled(): Promise<void> {
    await Promise.all(this.#streams.map((stream) => stream.settled()));
  }

  #open(lane: EnvelopeType, view: View): PanelStore {
    const filter = filterOf(view);
    const { sinceMs, untilMs } = this.bounds;
    // Behind a bounded time nothing of the newest need be in it; the journal has what is.
    const isBounded = sinceMs !== undefined || untilMs !== undefined;
    const whole = new LogStream({
      url: GATEWAY,
      filter: { ...filter, type: lane },
      start: isBounded ? {} : { replay: REPLAY },
    });
    this.pace.watch(whole);
    this.#connections.push(whole);
    // What lets one panel connect lets the other, too.
    whole.listen((event) => {
      if (event.type === "status" && event.status.state === "live") this.reconnect();
    });
    const stream = new BoundedStream(whole, view.range, this.clock.now);
    this.#streams.push(stream);
    return new PanelStore({
      lane,
      filter,
      stream,
      hasStart: () => stream.bounds.sinceMs !== undefined,
      history: { page: (query) => this.history.page({ ...query, ...timesOf(stream.bounds) }) },
      schedule: (publish) => requestAnimationFrame(publish),
    });
  }
}

function timesOf({ sinceMs, untilMs }: TimeBounds): Pick<HistoryQuery, "since" | "until"> {
  return { since: sinceMs, until: untilMs };
}
