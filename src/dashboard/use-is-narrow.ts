import { useSyncExternalStore } from "react";

/** Below this there is room for one panel; page.css has the same. */
const NARROW = matchMedia("(width < 768px)");

export function useIsNarrow(): boolean {
  return useSyncExternalStore(subscribe, () => NARROW.matches);
}

function subscribe(listener: () => void): () => void {
  NARROW.addEventListener("change", listener);
  return () => NARROW.removeEventListener("change", listener);
}
