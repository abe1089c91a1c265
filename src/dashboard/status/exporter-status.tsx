import { useId, useRef, useSyncExternalStore } from "react";
import { printable } from "../../wire/printable.ts";
import type { GatewayStats, StatsResponse } from "../session/gateway-stats.ts";
import { TEXTS } from "../texts.ts";

/** Shows in one line whether exporters are up to date, and opens the state of each. */
export function ExporterStatus({ stats }: { readonly stats: GatewayStats }) {
  const current = useSyncExternalStore(stats.subscribe, stats.current);
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const states = current ? exporterStates(current) : [];
  if (states.length === 0) return null;
  const problems = [
    ...states
      .filter(({ isLagging }) => isLagging)
      .map(({ name, queued, lagMs }) => TEXTS.exporters.lagging(name, queued, lagMs)),
    ...states
      .filter((state) => countDropped(state) > 0)
      .map((state) => TEXTS.exporters.dropped(state.name, countDropped(state))),
  ];
  const isHealthy = problems.length === 0;
  return (
    <>
      <button
        ref={button}
        type="button"
        className="exporters"
        data-healthy={isHealthy}
        popoverTarget={id}
        title={states.map(summary).join("\n")}
      >
        {isHealthy ? TEXTS.exporters.healthy : printable(problems.join(" · "))}
      </button>
      <div
        id={id}
        className="exporter-states"
        popover="auto"
        onBeforeToggle={({ currentTarget }) => placeAbove(currentTarget, button.current!)}
      >
        <h2>{TEXTS.exporters.title}</h2>
        <dl>
          {states.map((state) => (
            <div key={state.name} data-exporter={state.name}>
              <dt>{printable(state.name)}</dt>
              <dd>
                {describe(state).map((line) => (
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

function describe({ queued, lagMs, isLagging, retries, lastError, dropped }: ExporterState) {
  return [
    isLagging ? TEXTS.exporters.queued(queued, lagMs) : TEXTS.exporters.upToDate,
    ...(retries > 0 ? [TEXTS.exporters.retries(retries)] : []),
    ...(lastError === "" ? [] : [lastError]),
    ...dropped.map(([reason, count]) => TEXTS.exporters.droppedFor(reason, count)),
  ];
}

function summary(state: ExporterState): string {
  return printable(`${state.name}: ${describe(state).join(" · ")}`);
}

/** A shorter lag is normal. */
const LAG_MS_MIN = 5000;

interface ExporterState {
  readonly name: string;
  /** True if it takes longer than it should, or if its writes fail. */
  readonly isLagging: boolean;
  /** How many records wait to be written. */
  readonly queued: number;
  readonly lagMs: number;
  readonly retries: number;
  /** Why the last write failed; "" if it succeeded. */
  readonly lastError: string;
  readonly dropped: readonly (readonly [reason: string, count: number])[];
}

/** Returns the state of the exporters that get every record: `websocket` does not, its clients get what they subscribe to. */
function exporterStates({ components }: StatsResponse): ExporterState[] {
  return components
    .filter(({ kind, durable }) => kind === "exporter" && durable === true)
    .map((component) => {
      const { id: name, queue_records: queued, retries = 0, trouble, dropped } = component;
      const lagMs = 1000 * component.lag_seconds;
      return {
        name,
        isLagging: queued > 0 && (retries > 0 || trouble !== null || lagMs >= LAG_MS_MIN),
        queued,
        lagMs,
        retries,
        lastError: trouble ?? "",
        dropped: Object.entries(dropped).filter(([, count]) => count > 0),
      };
    });
}

function countDropped({ dropped }: ExporterState): number {
  return dropped.reduce((sum, [, count]) => sum + count, 0);
}
