import { useState, type KeyboardEvent, type ReactNode } from "react";
import { ENVELOPE_TYPES, type EnvelopeType } from "../../wire/envelope.ts";
import { Separator } from "./separator.tsx";
import { useRemembered } from "../stored-setting.ts";
import { TEXTS } from "../texts.ts";
import { useIsNarrow } from "../use-is-narrow.ts";

/** Of the width, for the system panel. */
const SHARE = 0.6;
const SHARE_MIN = 0.15;
const SHARE_MAX = 0.85;
const SHARE_STEP = 0.02;

interface PanelsProps {
  /** The one that a narrow page shows; undefined for the one that it has shown last. */
  readonly panel: EnvelopeType | undefined;
  readonly onPanel: (panel: EnvelopeType) => void;
  readonly children: (lane: EnvelopeType, heading: boolean) => ReactNode;
}

/** The two panels: side by side, with a divider; tabs where the page is narrow. */
export function Panels(props: PanelsProps) {
  return useIsNarrow() ? <Tabs {...props} /> : <SideBySide>{props.children}</SideBySide>;
}

function SideBySide({ children }: Pick<PanelsProps, "children">) {
  const [share, setShare] = useRemembered("divider", SHARE, isShare);
  const [main, setMain] = useState<HTMLElement | null>(null);
  return (
    <main
      ref={setMain}
      className="panels"
      style={{ gridTemplateColumns: `minmax(0, ${share}fr) auto minmax(0, ${1 - share}fr)` }}
    >
      {children("system_log", true)}
      <Separator
        className="divider"
        label={TEXTS.divider}
        value={share}
        min={SHARE_MIN}
        max={SHARE_MAX}
        step={SHARE_STEP}
        unitPx={() => main!.clientWidth}
        onChange={setShare}
      />
      {children("audit_log", true)}
    </main>
  );
}

function Tabs({ panel, onPanel, children }: PanelsProps) {
  const [remembered, remember] = useRemembered("tab", "system_log", isLane);
  const shown = panel ?? remembered;
  const setShown = (lane: EnvelopeType): void => {
    remember(lane);
    onPanel(lane);
  };
  const move = (event: KeyboardEvent): void => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = ENVELOPE_TYPES.find((lane) => lane !== shown)!;
    setShown(other);
    document.getElementById(tabId(other))?.focus();
  };
  return (
    <main className="tabbed">
      <div className="tabs" role="tablist" aria-label={TEXTS.tabs} onKeyDown={move}>
        {ENVELOPE_TYPES.map((lane) => (
          <button
            key={lane}
            id={tabId(lane)}
            type="button"
            role="tab"
            aria-selected={lane === shown}
            aria-controls="tab-panel"
            tabIndex={lane === shown ? 0 : -1}
            onClick={() => setShown(lane)}
          >
            {TEXTS.panels[lane]}
          </button>
        ))}
      </div>
      <div id="tab-panel" className="tab-panel" role="tabpanel" aria-labelledby={tabId(shown)}>
        {children(shown, false)}
      </div>
    </main>
  );
}

function tabId(lane: EnvelopeType): string {
  return `tab-${lane}`;
}

function isShare(value: unknown): value is number {
  return typeof value === "number" && value >= SHARE_MIN && value <= SHARE_MAX;
}

function isLane(value: unknown): value is EnvelopeType {
  return ENVELOPE_TYPES.some((lane) => lane === value);
}
