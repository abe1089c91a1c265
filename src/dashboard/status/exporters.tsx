import { useId, useRef, useSyncExternalStore } from "react";
import { printable } from "../../wire/printable.ts";
import { droppedSum, exporterStates, type ExporterState } from "./exporter-state.ts";
import type { GatewayStats } from "../session/gateway-stats.ts";
import { TEXTS } from "../texts.ts";

const WORDS = TEXTS.exporters;

/** Whether the records have arrived where else they are to be: in short, and on demand for each exporter. */
export function Exporters({ stats }: { readonly stats: GatewayStats }) {
  const current = useSyncExternalStore(stats.subscribe, stats.current);
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const states = current ? exporterStates(current) : [];
  if (states.length === 0) return null;
  const behind = states.filter(({ isBehind }) => isBehind);
  const losers = states.filter((state) => droppedSum(state) > 0);
  const words = [
    ...behind.map(({ name, records, lagMs }) => WORDS.behind(name, records, lagMs)),
    ...losers.map((state) => WORDS.dropped(state.name, droppedSum(state))),
  ];
  const isWell = words.length === 0;
  return (
    <>
      <button
        ref={button}
        type="button"
        className="exporters"
        data-well={isWell}
        popoverTarget={id}
        title={states.map(stateText).join("\n")}
      >
        {isWell ? WORDS.well : printable(words.join(", "))}
      </button>
      <div
        id={id}
        className="exporter-states"
        popover="auto"
        onBeforeToggle={({ currentTarget }) => placeAbove(currentTarget, button.current!)}
      >
        <h2>{WORDS.title}</h2>
        <dl>
          {states.map((state) => (
            <div key={state.name} data-exporter={state.name}>
              <dt>{printable(state.name)}</dt>
              <dd>
                {linesOf(state).map((line) => (
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

/** As wide as it becomes at most, and so far from the window's edges at least; status-line.css has the same. */
const WIDTH_REM_MAX = 36;
const MARGIN_REM = 0.75;

function placeAbove(popover: HTMLElement, button: HTMLElement): void {
  const { left, top } = button.getBoundingClientRect();
  const remPx = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const leftPxMax = innerWidth - (WIDTH_REM_MAX + MARGIN_REM) * remPx;
  popover.style.left = `${Math.max(MARGIN_REM * remPx, Math.min(left, leftPxMax))}px`;
  popover.style.bottom = `${innerHeight - top}px`;
}

function linesOf({ records, lagMs, isBehind, retries, trouble, dropped }: ExporterState): string[] {
  return [
    isBehind ? WORDS.waiting(records, lagMs) : WORDS.upToDate,
    ...(retries > 0 ? [WORDS.retries(retries)] : []),
    ...(trouble === "" ? [] : [trouble]),
    ...dropped.map(([reason, count]) => WORDS.lost(reason, count)),
  ];
}

function stateText(state: ExporterState): string {
  return printable(`${state.name}: ${linesOf(state).join(", ")}`);
}
