import { useCallback, useState } from "react";

const PREFIX = "tailgate.";

/**
 * A setting that is remembered by this browser. What is stored there and is not valid, of an older page perhaps, counts
 * as absent; where nothing can be stored the setting holds until the page is left.
 */
export function useRemembered<Value>(
  name: string,
  initial: Value,
  isValid: (value: unknown) => value is Value,
): [Value, (value: Value) => void] {
  const [value, setValue] = useState(() => read(name, isValid) ?? initial);
  const remember = useCallback(
    (next: Value) => {
      setValue(next);
      write(name, next);
    },
    [name],
  );
  return [value, remember];
}

function read<Value>(name: string, isValid: (value: unknown) => value is Value): Value | undefined {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(PREFIX + name) ?? "null");
    return isValid(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function write(name: string, value: unknown): void {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Full, or forbidden.
  }
}
