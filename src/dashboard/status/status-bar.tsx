import { useEffect, useId, useState, useSyncExternalStore } from "react";
import { useIsNarrow } from "../hooks.ts";
import type { PanelStore } from "../panel/panel-store.ts";
import { joinParts, retryText, shownReason } from "../panel/panel.tsx";
import type { AuditChain } from "../session/gateway-stats.ts";
import type { LiveStats } from "../session/live-stats.ts";
import type { DashboardSession } from "../session/session.ts";
import { TEXTS } from "../texts.ts";
import { ExporterStatus } from "./exporter-status.tsx";

/** The last lag is shown for this long; after that it says nothing about the present. */
const LAG_MS_MAX = 10_000;

/** Shows the connection, what became of the records, the exporters, and the audit chain. */
export function StatusBar({ session }: { readonly session: DashboardSession }) {
  const { panels, live, clock } = session;
  const { perSecond, nowMs } = useRate(live.received);
  // The numbers change once a second, the connection immediately.
  useStreamState(panels.system_log);
  useStreamState(panels.audit_log);
  const isNarrow = useIsNarrow();
  const [isOpen, setIsOpen] = useState(false);
  const id = useId();
  // Both streams report a gap that affects both panels.
  const missing = Math.max(0, ...session.types.map((type) => panels[type].counts.missing));
  return (
    <footer className="status-bar" aria-label={TEXTS.status.title}>
      <Connection session={session} nowMs={nowMs} />
      {clock.skewMs !== 0 && (
        <span className="clock-skew" title={TEXTS.status.skewHint}>
          {TEXTS.status.skew(clock.skewMs)}
        </span>
      )}
      <span className="rate">{TEXTS.status.rate(perSecond)}</span>
      <span className="lag">{lagText(live, nowMs)}</span>
      <span className="missing" data-some={missing > 0}>
        {TEXTS.status.missing(missing)}
      </span>
      <ExporterStatus stats={session.stats} />
      <AuditStatus session={session} />
      {isNarrow && (
        <button aria-expanded={isOpen} aria-controls={id} onClick={() => setIsOpen(!isOpen)}>
          {isOpen ? TEXTS.status.less : TEXTS.status.more}
        </button>
      )}
      <div id={id} className="record-counts" hidden={isNarrow && !isOpen}>
        {session.types.map((type) => (
          <span key={type} className="counts" data-panel={type}>
            {TEXTS.status.counts(TEXTS.panels[type], panels[type].counts)}
          </span>
        ))}
      </div>
    </footer>
  );
}

const TICK_MS = 1000;
/** The rate is averaged over this many ticks. */
const RATE_TICKS = 5;

/** Returns how fast a count grows; re-renders every second. */
function useRate(count: () => number) {
  const [rate, setRate] = useState(() => ({ perSecond: 0, nowMs: Date.now() }));
  useEffect(() => {
    const samples = [{ count: count(), atMs: performance.now() }];
    const timer = setInterval(() => {
      const now = { count: count(), atMs: performance.now() };
      samples.push(now);
      if (samples.length > RATE_TICKS + 1) samples.shift();
      const first = samples[0]!;
      const perSecond = (1000 * (now.count - first.count)) / (now.atMs - first.atMs);
      setRate({ perSecond: Math.max(0, perSecond), nowMs: Date.now() });
    }, TICK_MS);
    return () => clearInterval(timer);
  }, [count]);
  return rate;
}

function useStreamState(store: PanelStore): void {
  useSyncExternalStore(store.subscribe, () => store.status.state);
}

/** Shows a stream that is not live, if there is one. */
function Connection({ session, nowMs }: { session: DashboardSession; nowMs: number }) {
  const statuses = session.types.map((type) => session.panels[type].status);
  const [latest] = statuses.toSorted((one, other) => other.since - one.since);
  const status = statuses.find(({ state }) => state !== "live") ?? latest;
  if (status === undefined) return null;
  const { state, since } = status;
  const reason = shownReason(status);
  const label = state === "live" ? TEXTS.status.connected(since) : TEXTS.state[state];
  const parts = [
    reason.toLowerCase().startsWith(label.toLowerCase()) ? "" : label,
    reason,
    retryText(status, nowMs),
  ];
  return (
    <>
      <span className="connection" data-state={state}>
        {joinParts(parts)}
      </span>
      {statuses.some(({ retryInMs }) => retryInMs !== undefined) && (
        <button className="reconnect" onClick={() => session.reconnect()}>
          {TEXTS.status.reconnect}
        </button>
      )}
    </>
  );
}

function lagText({ lagMs, newestAtMs }: LiveStats, nowMs: number): string {
  if (lagMs === undefined || newestAtMs === undefined) return TEXTS.status.noLag;
  const quietMs = nowMs - newestAtMs;
  return quietMs > LAG_MS_MAX ? TEXTS.status.quiet(quietMs) : TEXTS.status.lag(lagMs);
}

function AuditStatus({ session }: { readonly session: DashboardSession }) {
  const { stats, clock } = session;
  const current = useSyncExternalStore(stats.subscribe, stats.current);
  // The gateway tells only those about the chain who may read all of it.
  const { scopes, filter } = session.identity.identity;
  const isHidden = filter !== null || !scopes.includes("read:audit");
  return (
    <span className="audit-chain">
      {current && !isHidden && auditText(current.audit, clock.now())}
    </span>
  );
}

function auditText(chain: AuditChain | null, nowMs: number): string {
  if (!chain) return TEXTS.status.noChain;
  const { count, checkpoint } = chain;
  if (!checkpoint) return TEXTS.status.unsigned(count);
  const ageMs = Math.max(0, nowMs - Date.parse(checkpoint.time));
  return TEXTS.status.signed(count, checkpoint.seq, ageMs);
}
