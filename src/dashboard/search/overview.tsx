import { Histogram } from "./histogram.tsx";
import { LevelToggles } from "./level-toggles.tsx";
import { levelsOf, type Counted } from "../session/journal-counts.ts";
import { TEXTS } from "../texts.ts";
import { TimeChoice } from "./time-range-picker.tsx";
import type { ViewStore } from "../session/view-store.ts";
import type { View } from "../session/view.ts";

interface FindingBarProps {
  readonly views: ViewStore;
  readonly view: View;
  readonly counted: Counted | undefined;
  readonly hasFacets: boolean;
  readonly onFacets: (isShown: boolean) => void;
  readonly onViews: () => void;
  /** The gateway's time, in ms since 1970. */
  readonly now: () => number;
}

/** Levels and times: what there is, and what of it is shown. */
export function FindingBar(props: FindingBarProps) {
  const { views, view, counted, hasFacets, onFacets, onViews, now } = props;
  return (
    <div className="finding-bar" role="region" aria-label={TEXTS.findingBar}>
      <LevelToggles
        hidden={view.hidden}
        counts={counted && levelsOf(counted)}
        onChange={(hidden) => views.change({ hidden })}
      />
      <button
        type="button"
        aria-expanded={hasFacets}
        aria-controls={hasFacets ? "facets" : undefined}
        onClick={() => onFacets(!hasFacets)}
      >
        {TEXTS.facets.button}
      </button>
      <button type="button" onClick={onViews}>
        {TEXTS.views.button}
      </button>
      <TimeChoice range={view.range} onChange={(range) => views.change({ range })} />
      <Histogram
        counted={counted}
        range={view.range}
        onRange={(range) => views.change({ range })}
        now={now}
      />
    </div>
  );
}
