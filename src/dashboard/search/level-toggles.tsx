import { LEVELS, type Level } from "../../wire/envelope.ts";
import { TEXTS } from "../texts.ts";

interface LevelTogglesProps {
  readonly hidden: readonly Level[];
  /** Of the records that match, by the rank of the level; undefined while they are not counted. */
  readonly counts: readonly number[] | undefined;
  readonly onChange: (hidden: readonly Level[]) => void;
}

/** Which levels are shown. */
export function LevelToggles({ hidden, counts, onChange }: LevelTogglesProps) {
  const toggle = (level: Level): void => {
    const isOther = (one: Level): boolean => one !== level;
    onChange(hidden.includes(level) ? hidden.filter(isOther) : [...hidden, level]);
  };
  return (
    <div className="level-toggles" role="group" aria-label={TEXTS.filter.levels}>
      {LEVELS.map((level, rank) => (
        <button
          key={level}
          type="button"
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
