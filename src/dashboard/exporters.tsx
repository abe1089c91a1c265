import { useId, useSyncExternalStore } from "react";
import { printable } from "../printable.ts";
import { droppedSum, exporterStates, type ExporterState } from "./exporter-state.ts";
import type { GatewayStats } from "./gateway-stats.ts";
import { TEXTS } from "./texts.ts";

const WORDS = TEXTS.exporters;

/** Whether the records have arrived where else they are to be: in short, and on demand for each exporter. */
export function Exporters({ stats }: { readonly stats: GatewayStats }) {
  const current = useSyncExternalStore(stats.subscribe, stats.current);
  const id = useId();
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
        type="button"
        className="exporters"
        data-well={isWell}
        popoverTarget={id}
        title={states.map(stateText).join("\n")}
      >
        {isWell ? WORDS.well : printable(words.join(", "))}
      </button>
      <div id={id} className="exporter-states" popover="auto">
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
