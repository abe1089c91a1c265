import type { EnvelopeType } from "../../wire/envelope.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import type { PanelStore } from "../panel/panel-store.ts";

/** An audit event, and the filter term that finds its system logs. */
interface CorrelationTarget {
  readonly name: string;
  /** In the filter language. */
  readonly term: string;
  readonly sequence: number;
}

/**
 * A mode in which the system panel shows the logs that belong to an audit event, around its time. `enter` starts it, or
 * changes the event; `leave` restores the filter from before. Setting another filter ends it too.
 */
export class Correlation {
  readonly #panels: Readonly<Record<EnvelopeType, PanelStore>>;
  readonly #listeners = new Set<() => void>();
  #target: CorrelationTarget | undefined;
  #filterBefore: FilterQuery | undefined;

  constructor(panels: Readonly<Record<EnvelopeType, PanelStore>>) {
    this.#panels = panels;
    panels.system_log.subscribe(() => {
      if (this.#target && panels.system_log.filter.q !== this.#target.term) this.#end();
    });
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Returns undefined while the mode is off. */
  readonly current = (): CorrelationTarget | undefined => this.#target;

  enter(target: CorrelationTarget): void {
    const { system_log: system } = this.#panels;
    this.#filterBefore ??= system.filter;
    this.#panels.audit_log.stopFollowing();
    this.#setTarget(target);
    void this.#show(system, target);
  }

  leave(): void {
    if (this.#filterBefore) this.#panels.system_log.setFilter(this.#filterBefore);
    this.#end();
  }

  #end(): void {
    this.#filterBefore = undefined;
    this.#setTarget(undefined);
  }

  async #show(system: PanelStore, target: CorrelationTarget): Promise<void> {
    const isFiltered = this.#waitForFilter(system, target);
    system.setFilter({ q: target.term });
    if (await isFiltered) await system.goTo(target.sequence);
  }

  /** Resolves to true when the panel's rows match the new filter; to false if the target changes first. */
  #waitForFilter(store: PanelStore, target: CorrelationTarget): Promise<boolean> {
    const { generation } = store.loader;
    return new Promise((resolve) => {
      const unsubscribe = store.subscribe(() => {
        if (store.loader.generation === generation && this.#target === target) return;
        unsubscribe();
        resolve(this.#target === target);
      });
    });
  }

  #setTarget(target: CorrelationTarget | undefined): void {
    this.#target = target;
    for (const listener of this.#listeners) listener();
  }
}
