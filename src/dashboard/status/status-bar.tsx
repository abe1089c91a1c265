import { useId, useState, useSyncExternalStore } from "react";
import { ENVELOPE_TYPES } from "../../wire/envelope.ts";
import { Exporters } from "./exporters.tsx";
import type { AuditChain } from "../session/gateway-stats.ts";
import type { Pace } from "../session/live-stats.ts";
import type { PanelStore } from "../panel/panel-store.ts";
import { retryText } from "../panel/retry-text.ts";
import type { Session } from "../session/session.ts";
import { TEXTS } from "../texts.ts";
import { useIsNarrow } from "../use-is-narrow.ts";
import { useRate } from "./use-rate.ts";

/** Older than that the last lag says nothing of now. */
const QUIET_MS = 10_000;

/** What the page can be trusted in: the connection, what became of the records, and the audit chain. */
export function StatusLine({ session }: { readonly session: Session }) {
  const { panels, pace } = session;
  const { perSecond, nowMs } = useRate(pace.live);
  // The numbers are told once a second, the connection at once.
  useStreamState(panels.system_log);
  useStreamState(panels.audit_log);
  const isNarrow = useIsNarrow();
  const [isOpen, setIsOpen] = useState(false);
  const id = useId();
  return (
    <footer className="status-line" aria-label={TEXTS.trust.title}>
      <Connection session={session} nowMs={nowMs} />
      <Skew skewMs={session.clock.skewMs} />
      <span className="rate">{TEXTS.trust.rate(perSecond)}</span>
      <span className="lag">{lagText(pace, nowMs)}</span>
      <Lost stores={ENVELOPE_TYPES.map((lane) => panels[lane])} />
      <Exporters stats={session.stats} />
      <Chain session={session} />
      {isNarrow && (
        <button
          type="button"
          aria-expanded={isOpen}
          aria-controls={id}
          onClick={() => setIsOpen(!isOpen)}
        >
          {isOpen ? TEXTS.trust.less : TEXTS.trust.more}
        </button>
      )}
      <div id={id} className="account" hidden={isNarrow && !isOpen}>
        {ENVELOPE_TYPES.map((lane) => (
          <span key={lane} className="counts" data-of={lane}>
            {TEXTS.trust.counts(TEXTS.panels[lane], panels[lane].counts)}
          </span>
        ))}
      </div>
    </footer>
  );
}

function useStreamState(store: PanelStore): void {
  useSyncExternalStore(store.subscribe, () => store.status.state);
}

interface ConnectionProps {
  readonly session: Session;
  readonly nowMs: number;
}

/** Of the two streams the one that is worse off. */
function Connection({ session, nowMs }: ConnectionProps) {
  const statuses = ENVELOPE_TYPES.map((lane) => session.panels[lane].status);
  const status = statuses.find(({ state }) => state !== "live") ?? latest(statuses);
  const { state, since, reason } = status;
  const label = state === "live" ? TEXTS.trust.connected(since) : TEXTS.state[state];
  const words = [
    reason.toLowerCase().startsWith(label) ? "" : label,
    reason.replace(/\.$/, ""),
    retryText(status, nowMs),
  ];
  return (
    <>
      <span className="connection" data-state={state}>
        {words.filter((word) => word !== "").join(", ")}
      </span>
      {statuses.some(({ retryInMs }) => retryInMs !== undefined) && (
        <button type="button" className="reconnect" onClick={() => session.reconnect()}>
          {TEXTS.trust.reconnect}
        </button>
      )}
    </>
  );
}

/** Says that this device's clock is wrong, or the gateway's. */
function Skew({ skewMs }: { readonly skewMs: number }) {
  if (skewMs === 0) return null;
  return (
    <span className="skew" title={TEXTS.trust.skewHint}>
      {TEXTS.trust.skew(skewMs)}
    </span>
  );
}

function latest<Status extends { readonly since: number }>(statuses: readonly Status[]): Status {
  return statuses.reduce((one, other) => (other.since > one.since ? other : one));
}

function lagText({ lagMs, newestAtMs }: Pace, nowMs: number): string {
  if (lagMs === undefined || newestAtMs === undefined) return TEXTS.trust.noLag;
  const quietMs = nowMs - newestAtMs;
  return quietMs > QUIET_MS ? TEXTS.trust.quiet(quietMs) : TEXTS.trust.lag(lagMs);
}

/** What gaps have kept from the page, and that was not loaded since. */
function Lost({ stores }: { readonly stores: readonly PanelStore[] }) {
  // A gap of both lanes is told by both streams.
  const missing = Math.max(...stores.map(({ counts }) => counts.missing));
  return (
    <span className="lost" data-some={missing > 0}>
      {TEXTS.trust.lost(missing)}
    </span>
  );
}

function Chain({ session }: { readonly session: Session }) {
  const { stats, clock } = session;
  const current = useSyncExternalStore(stats.subscribe, stats.current);
  return <span className="chain">{current && chainText(current.audit, clock.now())}</span>;
}

function chainText(chain: AuditChain | null, nowMs: number): string {
  if (!chain) return TEXTS.trust.noChain;
  const { count, checkpoint } = chain;
  if (!checkpoint) return TEXTS.trust.unsigned(count);
  const ageMs = Math.max(0, nowMs - Date.parse(checkpoint.time));
  return TEXTS.trust.signed(count, checkpoint.seq, ageMs);
}
