import type { EnvelopeType } from "../../wire/envelope.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import type { PanelStore } from "../panel/panel-store.ts";

/** An audit event, by what its system lines are found. */
export interface Subject {
  /** In words. */
  readonly name: string;
  /** In the filter language. */
  readonly term: string;
  /** Of the audit event. */
  readonly sequence: number;
}

/**
 * The mode in which the system panel has the lines that belong to an audit event, around its time. Its life: `enter`,
 * again for another event perhaps, `leave`, which brings back the filter from before the first. A filter that is set
 * from elsewhere ends it too.
 */
export class Together {
  readonly #panels: Readonly<Record<EnvelopeType, PanelStore>>;
  readonly #listeners = new Set<() => void>();
  #subject: Subject | undefined;
  #filterBefore: FilterQuery | undefined;

  constructor(panels: Readonly<Record<EnvelopeType, PanelStore>>) {
    this.#panels = panels;
    panels.system_log.subscribe(() => this.#endIfReplaced());
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Undefined while the mode is off. */
  readonly current = (): Subject | undefined => this.#subject;

  enter(subject: Subject): void {
    const { system_log: system } = this.#panels;
    this.#filterBefore ??= system.filter;
    this.#panels.audit_log.stopFollowing();
    this.#become(subject);
    void this.#show(system, subject);
  }

  leave(): void {
    if (this.#filterBefore) this.#panels.system_log.setFilter(this.#filterBefore);
    this.#filterBefore = undefined;
    this.#become(undefined);
  }

  /** Another filter for the panel was set since: it stays, and the mode is over. */
  #endIfReplaced(): void {
    if (!this.#subject || this.#panels.system_log.filter.q === this.#subject.term) return;
    this.#filterBefore = undefined;
    this.#become(undefined);
  }

  async #show(system: PanelStore, subject: Subject): Promise<void> {
    const emptied = this.#emptied(system, subject);
    system.setFilter({ q: subject.term });
    if (await emptied) await system.goTo(subject.sequence);
  }

  /** Resolves when the list is one of the new filter; false where something else is wanted by then. */
  #emptied(store: PanelStore, subject: Subject): Promise<boolean> {
    const { generation } = store;
    return new Promise((resolve) => {
      const end = store.subscribe(() => {
        if (store.generation === generation && this.#subject === subject) return;
        end();
        resolve(this.#subject === subject);
      });
    });
  }

  #become(subject: Subject | undefined): void {
    this.#subject = subject;
    for (const listener of this.#listeners) listener();
  }
}
