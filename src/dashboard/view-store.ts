import { useSyncExternalStore } from "react";
import { hasBounds, searchOf, viewOf, type View } from "./view.ts";

/** The view that the page's address holds: the browser's buttons for back and forward change it, too. */
export class ViewStore {
  readonly #listeners = new Set<() => void>();
  #view = viewOf(location.search);
  /** The epoch of what is shown, if it is known. */
  epoch: () => string | undefined = () => undefined;

  constructor() {
    addEventListener("popstate", () => this.#set(viewOf(location.search)));
  }

  readonly get = (): View => this.#view;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** As a step that the browser's back button undoes, unless nothing worth going back to is left. */
  change(part: Partial<View>, step: "push" | "replace" = "push"): void {
    const view = this.#stamped({ ...this.#view, ...part }, part);
    const search = searchOf(view, location.search);
    if (search === searchOf(this.#view, location.search)) return;
    const address = search === "" ? location.pathname : `?${search}`;
    history[step === "push" ? "pushState" : "replaceState"](undefined, "", address);
    this.#set(view);
  }

  /** What is chosen now belongs to the journal that is shown now; an address without a record or a time to none. */
  #stamped(view: View, part: Partial<View>): View {
    const isBound = view.record !== undefined || hasBounds(view.range);
    if (!isBound) return { ...view, epoch: undefined };
    const isChosen = part.record !== undefined || (part.range && view.record === undefined);
    return isChosen ? { ...view, epoch: this.epoch() } : view;
  }

  #set(view: View): void {
    this.#view = view;
    for (const listener of this.#listeners) listener();
  }
}

export function useView(views: ViewStore): View {
  return useSyncExternalStore(views.subscribe, views.get);
}
