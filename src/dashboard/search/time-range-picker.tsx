import { useEffect, useRef, useState, type FormEvent } from "react";
import { TEXTS } from "../texts.ts";
import type { TimeRange } from "../session/view.ts";

const MINUTES = [5, 15, 60];

interface TimeChoiceProps {
  readonly range: TimeRange;
  readonly onChange: (range: TimeRange) => void;
}

/** Which time the records are of. */
export function TimeChoice({ range, onChange }: TimeChoiceProps) {
  const [isCustom, setIsCustom] = useState(false);
  useEffect(() => setIsCustom(false), [range]);
  const last = "lastMinutes" in range ? range.lastMinutes : undefined;
  const times = "lastMinutes" in range ? {} : range;
  const isBounded = times.sinceMs !== undefined || times.untilMs !== undefined;
  const offered = last === undefined || MINUTES.includes(last) ? MINUTES : [...MINUTES, last];

  const choose = (value: string): void => {
    if (value === "custom") return setIsCustom(true);
    setIsCustom(false);
    onChange(value === "" ? {} : { lastMinutes: Number(value) });
  };
  return (
    <div className="time-choice">
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
        <CustomTime key={`${times.sinceMs} ${times.untilMs}`} times={times} onChange={onChange} />
      )}
    </div>
  );
}

interface CustomTimeProps {
  readonly times: { readonly sinceMs?: number | undefined; readonly untilMs?: number | undefined };
  readonly onChange: (range: TimeRange) => void;
}

function CustomTime({ times, onChange }: CustomTimeProps) {
  const since = useRef<HTMLInputElement>(null);
  const until = useRef<HTMLInputElement>(null);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    onChange({ sinceMs: localMs(since.current!.value), untilMs: localMs(until.current!.value) });
  };
  return (
    <form className="custom-time" onSubmit={submit}>
      <input
        ref={since}
        type="datetime-local"
        step="any"
        aria-label={TEXTS.time.since}
        defaultValue={localText(times.sinceMs)}
      />
      <span aria-hidden="true">–</span>
      <input
        ref={until}
        type="datetime-local"
        step="any"
        aria-label={TEXTS.time.until}
        defaultValue={localText(times.untilMs)}
      />
      <button>{TEXTS.time.apply}</button>
    </form>
  );
}

/** As the field wants it: in the viewer's zone. */
function localText(ms: number | undefined): string {
  if (ms === undefined) return "";
  const shiftedMs = ms - new Date(ms).getTimezoneOffset() * 60_000;
  return new Date(shiftedMs).toISOString().slice(0, 23);
}

function localMs(text: string): number | undefined {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}
