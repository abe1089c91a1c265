import { useSyncExternalStore } from "react";
import { hasBounds, searchOf, viewOf, type View } from "./view.ts";

/** The view that the page's address holds: the browser's buttons for back and forward change it, too. */
export class ViewStore {
  readonly #listeners = new Set<() => void>();
  #view = viewOfAddress();
  /** The epoch of what is shown, if it is known. */
  epoch: () => string | undefined = () => undefined;

  constructor() {
    addEventListener("popstate", () => this.#set(viewOfAddress()));
  }

  readonly get = (): View => this.#view;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** As a step that the browser's back button undoes, unless nothing worth going back to is left. */
  change(part: Partial<View>, step: "push" | "replace" = "push"): void {
    const view = this.#stamped({ ...this.#view, ...part }, part);
    const address = addressOf(view);
    if (address === addressOf(this.#view)) return;
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

/** A link has the epoch among its parameters; an address that the page made itself, behind them. */
function viewOfAddress(): View {
  const view = viewOf(location.search);
  const epoch = new URLSearchParams(location.hash.slice(1)).get("epoch") || undefined;
  return { ...view, epoch: view.epoch ?? epoch };
}

/** The epoch is no part of what is looked for: it stands behind `#`, so that the parameters are those of the view. */
function addressOf(view: View): string {
  const { epoch } = view;
  const search = searchOf({ ...view, epoch: undefined }, location.search);
  const path = search === "" ? location.pathname : `?${search}`;
  return epoch === undefined ? path : `${path}#${new URLSearchParams({ epoch })}`;
}

export function useView(views: ViewStore): View {
  return useSyncExternalStore(views.subscribe, views.get);
}
