import { useEffect, useRef } from "react";

/** By the key that is pressed, as `KeyboardEvent.key` has it. */
type Shortcuts = Readonly<Record<string, () => void>>;

/** Keys that mean something wherever nothing is written. */
export function useShortcuts(shortcuts: Shortcuts): void {
  const latest = useRef(shortcuts);
  useEffect(() => {
    latest.current = shortcuts;
  });
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const isOther = event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented;
      if (isOther || isWritten(event.target as Element)) return;
      const act = Object.hasOwn(latest.current, event.key) ? latest.current[event.key] : undefined;
      if (!act) return;
      event.preventDefault();
      act();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}

/** A dialog has its own keys, too. */
function isWritten(target: Element): boolean {
  return target.closest("input, select, textarea, dialog") !== null;
}

/** Lets the list of a panel act as if it had the focus and this key were pressed; it has the focus then. */
export function pressInList(lane: string | undefined, key: string): void {
  focusList(lane)?.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }),
  );
}

/** Of this panel, or of one that is shown. */
export function focusList(lane: string | undefined): HTMLElement | null {
  const found = lane && document.querySelector<HTMLElement>(`[data-lane=${lane}] .log-list`);
  const list = found || document.querySelector<HTMLElement>(".log-list");
  list?.focus({ preventScroll: true });
  return list;
}
