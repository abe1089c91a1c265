import { useEffect, useRef, useState, type FormEvent } from "react";
import { LEVELS, type Level } from "../../wire/envelope.ts";
import { countLevels, type JournalCount } from "../session/journal-counts.ts";
import type { TimeBounds, TimeRange, View, ViewStore } from "../session/view.ts";
import { TEXTS } from "../texts.ts";
import { Histogram } from "./histogram.tsx";

interface OverviewProps {
  readonly views: ViewStore;
  readonly view: View;
  readonly count: JournalCount | undefined;
  readonly hasFacets: boolean;
  readonly onFacets: (isShown: boolean) => void;
  readonly onViews: () => void;
  /** The gateway's time, in ms since 1970. */
  readonly now: () => number;
}

/** The matching records by level and by time, and the choice of both. */
export function Overview(props: OverviewProps) {
  const { views, view, count, hasFacets, onFacets, onViews, now } = props;
  return (
    <div className="bar overview" role="region" aria-label={TEXTS.overview}>
      <LevelToggles
        hidden={view.hidden}
        counts={count && countLevels(count)}
        onChange={(hidden) => views.change({ hidden })}
      />
      <button
        aria-expanded={hasFacets}
        aria-controls={hasFacets ? "facets" : undefined}
        onClick={() => onFacets(!hasFacets)}
      >
        {TEXTS.facets.button}
      </button>
      <button onClick={onViews}>{TEXTS.views.button}</button>
      <TimeRangePicker range={view.range} onChange={(range) => views.change({ range })} />
      <Histogram
        count={count}
        range={view.range}
        onRange={(range) => views.change({ range })}
        now={now}
      />
    </div>
  );
}

interface LevelTogglesProps {
  readonly hidden: readonly Level[];
  /** The number of matching records by rank of level; undefined until they are counted. */
  readonly counts: readonly number[] | undefined;
  readonly onChange: (hidden: readonly Level[]) => void;
}

function LevelToggles({ hidden, counts, onChange }: LevelTogglesProps) {
  const toggle = (level: Level): void => {
    const isOther = (one: Level): boolean => one !== level;
    onChange(hidden.includes(level) ? hidden.filter(isOther) : [...hidden, level]);
  };
  return (
    <div className="level-toggles" role="group" aria-label={TEXTS.filter.levels}>
      {LEVELS.map((level, rank) => (
        <button
          key={level}
          aria-pressed={!hidden.includes(level)}
          title={TEXTS.filter.levelHint}
          onClick={() => toggle(level)}
        >
          <span className="level" data-level={level}>
            {level}
          </span>{" "}
          <span className="count">
            {hidden.includes(level) ? TEXTS.filter.levelOff : counts && TEXTS.number(counts[rank]!)}
          </span>
        </button>
      ))}
    </div>
  );
}

const MINUTES = [5, 15, 60];

interface TimeRangePickerProps {
  readonly range: TimeRange;
  readonly onChange: (range: TimeRange) => void;
}

function TimeRangePicker({ range, onChange }: TimeRangePickerProps) {
  const [isCustom, setIsCustom] = useState(false);
  useEffect(() => setIsCustom(false), [range]);
  const last = "lastMinutes" in range ? range.lastMinutes : undefined;
  const bounds = "lastMinutes" in range ? {} : range;
  const isBounded = bounds.sinceMs !== undefined || bounds.untilMs !== undefined;
  const offered = last === undefined || MINUTES.includes(last) ? MINUTES : [...MINUTES, last];

  const choose = (value: string): void => {
    if (value === "custom") return setIsCustom(true);
    setIsCustom(false);
    onChange(value === "" ? {} : { lastMinutes: Number(value) });
  };
  return (
    <div className="time-range">
      <select
        aria-label={TEXTS.time.label}
        value={isCustom || isBounded ? "custom" : String(last ?? "")}
        onChange={({ target }) => choose(target.value)}
      >
        <option value="">{TEXTS.time.all}</option>
        {offered.map((minutes) => (
          <option key={minutes} value={minutes}>
            {TEXTS.time.last(minutes)}
          </option>
        ))}
        <option value="custom">{TEXTS.time.custom}</option>
      </select>
      {(isCustom || isBounded) && (
        <CustomRange
          key={`${bounds.sinceMs} ${bounds.untilMs}`}
          bounds={bounds}
          onChange={onChange}
        />
      )}
    </div>
  );
}

interface CustomRangeProps extends Pick<TimeRangePickerProps, "onChange"> {
  readonly bounds: TimeBounds;
}

function CustomRange({ bounds, onChange }: CustomRangeProps) {
  const since = useRef<HTMLInputElement>(null);
  const until = useRef<HTMLInputElement>(null);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    onChange({
      sinceMs: parseLocalTime(since.current!.value),
      untilMs: parseLocalTime(until.current!.value),
    });
  };
  return (
    <form className="custom-range" onSubmit={submit}>
      <input
        ref={since}
        type="datetime-local"
        step="any"
        aria-label={TEXTS.time.since}
        defaultValue={formatLocalTime(bounds.sinceMs)}
      />
      <span aria-hidden="true">–</span>
      <input
        ref={until}
        type="datetime-local"
        step="any"
        aria-label={TEXTS.time.until}
        defaultValue={formatLocalTime(bounds.untilMs)}
      />
      <button>{TEXTS.time.apply}</button>
    </form>
  );
}

/** Returns the value of a `datetime-local` field, which is in the local time zone. */
function formatLocalTime(ms: number | undefined): string {
  if (ms === undefined) return "";
  const shiftedMs = ms - new Date(ms).getTimezoneOffset() * 60_000;
  return new Date(shiftedMs).toISOString().slice(0, 23);
}

function parseLocalTime(text: string): number | undefined {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}
