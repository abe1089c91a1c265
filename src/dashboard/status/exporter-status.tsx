import { useId, useRef, useSyncExternalStore } from "react";
import { printable } from "../../wire/printable.ts";
import type { ComponentStats, GatewayStats } from "../session/gateway-stats.ts";
import { TEXTS } from "../texts.ts";

/** Shows in one line whether exporters are up to date, and opens the state of each. */
export function ExporterStatus({ stats }: { readonly stats: GatewayStats }) {
  const current = useSyncExternalStore(stats.subscribe, stats.current);
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  // Other exporters, such as `websocket`, do not get every record.
  const exporters =
    current?.components.filter(({ kind, durable }) => kind === "exporter" && durable) ?? [];
  if (exporters.length === 0) return null;
  const problems = [
    ...exporters
      .filter(isLagging)
      .map((one) => TEXTS.exporters.lagging(one.id, one.queue_records, lagMs(one))),
    ...exporters
      .filter((one) => countDropped(one) > 0)
      .map((one) => TEXTS.exporters.dropped(one.id, countDropped(one))),
  ];
  const isHealthy = problems.length === 0;
  return (
    <>
      <button
        ref={button}
        className="exporters"
        data-healthy={isHealthy}
        popoverTarget={id}
        title={exporters
          .map((one) => printable(`${one.id}: ${describe(one).join(" · ")}`))
          .join("\n")}
      >
        {isHealthy ? TEXTS.exporters.healthy : printable(problems.join(" · "))}
      </button>
      <div
        id={id}
        className="exporter-states floating"
        popover="auto"
        onBeforeToggle={({ currentTarget }) => placeAbove(currentTarget, button.current!)}
      >
        <h2>{TEXTS.exporters.title}</h2>
        <dl>
          {exporters.map((one) => (
            <div key={one.id} data-exporter={one.id}>
              <dt>{printable(one.id)}</dt>
              <dd>
                {describe(one).map((line) => (
                  <p key={line}>{printable(line)}</p>
                ))}
              </dd>
            </div>
          ))}
        </dl>
      </div>
    </>
  );
}

/** The maximum width, and the minimum distance to the edge of the window; status.css has the same values. */
const WIDTH_REM_MAX = 36;
const MARGIN_REM = 0.75;

function placeAbove(popover: HTMLElement, button: HTMLElement): void {
  const { left, top } = button.getBoundingClientRect();
  const remPx = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const leftPxMax = innerWidth - (WIDTH_REM_MAX + MARGIN_REM) * remPx;
  popover.style.left = `${Math.max(MARGIN_REM * remPx, Math.min(left, leftPxMax))}px`;
  popover.style.bottom = `${innerHeight - top}px`;
}

function describe(exporter: ComponentStats): string[] {
  const { queue_records: queued, retries = 0, trouble: lastError } = exporter;
  return [
    isLagging(exporter)
      ? TEXTS.exporters.queued(queued, lagMs(exporter))
      : TEXTS.exporters.upToDate,
    ...(retries > 0 ? [TEXTS.exporters.retries(retries)] : []),
    ...(lastError === null ? [] : [lastError]),
    ...Object.entries(exporter.dropped)
      .filter(([, count]) => count > 0)
      .map(([reason, count]) => TEXTS.exporters.droppedFor(reason, count)),
  ];
}

/** A shorter lag is normal. */
const LAG_MS_MIN = 5000;

/** Returns true if an exporter takes longer than it should, or if its writes fail. */
function isLagging(exporter: ComponentStats): boolean {
  const { queue_records: queued, retries = 0, trouble: lastError } = exporter;
  return queued > 0 && (retries > 0 || lastError !== null || lagMs(exporter) >= LAG_MS_MIN);
}

function lagMs(exporter: ComponentStats): number {
  return 1000 * exporter.lag_seconds;
}

function countDropped({ dropped }: ComponentStats): number {
  return Object.values(dropped).reduce((sum, count) => sum + count, 0);
}
