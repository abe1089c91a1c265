import { useSyncExternalStore } from "react";
import type { PanelStore } from "./panel-store.ts";

/** Renders anew when the panel has changed, once a frame at most. */
export function usePanel(store: PanelStore): void {
  useSyncExternalStore(store.subscribe, store.version);
}
