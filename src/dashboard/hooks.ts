import {
  useCallback,
  useEffect,
  useEffectEvent,
  useLayoutEffect,
  useState,
  useSyncExternalStore,
} from "react";

const STORAGE_PREFIX = "tailgate.";

/**
 * A setting that this browser stores. A stored value that is not valid, for example from an older version, is ignored.
 * If nothing can be stored, the setting lasts until the page is left.
 */
export function useStoredSetting<Value>(
  name: string,
  initial: Value,
  isValid: (value: unknown) => value is Value,
): [Value, (value: Value) => void] {
  const [value, setValue] = useState(() => readSetting(name, isValid) ?? initial);
  const store = useCallback(
    (next: Value) => {
      setValue(next);
      try {
        localStorage.setItem(STORAGE_PREFIX + name, JSON.stringify(next));
      } catch {
        // The storage is full or disabled.
      }
    },
    [name],
  );
  return [value, store];
}

function readSetting<Value>(
  name: string,
  isValid: (value: unknown) => value is Value,
): Value | undefined {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(STORAGE_PREFIX + name) ?? "null");
    return isValid(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

/** The theme that the user has chosen in this browser. */
export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useStoredSetting<Theme>("theme", "system", isTheme);
  useLayoutEffect(() => {
    document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  return [theme, setTheme];
}

export function isTheme(value: unknown): value is Theme {
  return THEMES.some((theme) => theme === value);
}

/** A narrower page shows one panel at a time; the style sheets use the same width. */
const NARROW = matchMedia("(width < 768px)");

export function useIsNarrow(): boolean {
  return useSyncExternalStore(subscribeToWidth, () => NARROW.matches);
}

function subscribeToWidth(listener: () => void): () => void {
  NARROW.addEventListener("change", listener);
  return () => NARROW.removeEventListener("change", listener);
}

/** Returns the time in ms since 1970; re-renders every second while `isOn`. */
export function useNow(isOn: boolean): number {
  const [nowMs, setNowMs] = useState(Date.now);
  useEffect(() => {
    if (!isOn) return undefined;
    const tick = (): void => setNowMs(Date.now());
    tick();
    const timer = setInterval(tick, 1000);
    return () => clearInterval(timer);
  }, [isOn]);
  return nowMs;
}

/** Handles single keys, by `KeyboardEvent.key`, anywhere on the page except in text fields and dialogs. */
export function useShortcuts(shortcuts: Readonly<Record<string, () => void>>): void {
  const handleKey = useEffectEvent((event: KeyboardEvent) => {
    const isOther = event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented;
    if (isOther || (event.target as Element).closest("input, select, textarea, dialog")) return;
    const act = Object.hasOwn(shortcuts, event.key) ? shortcuts[event.key] : undefined;
    if (!act) return;
    event.preventDefault();
    act();
  });
  useEffect(() => {
    document.addEventListener("keydown", handleKey);
    return () => document.removeEventListener("keydown", handleKey);
  }, []);
}
