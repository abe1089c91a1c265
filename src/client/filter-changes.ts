import type { FilterQuery } from "../wire/filter.ts";
import type { StreamEvent } from "./stream-events.ts";

interface VersionedFilter {
  readonly filter: FilterQuery;
  readonly version: number;
}

/** Tracks the filter that the user wants, those that were sent to the gateway, and the one in effect. */
export class FilterChanges {
  #wanted: VersionedFilter;
  /** The one that the gateway accepted last. */
  #accepted: VersionedFilter | undefined;
  /** Those sent on this connection and not answered yet; answers arrive in this order. */
  #pending: VersionedFilter[] = [];
  #lastVersion = 0;
  #rejectedVersion = -1;
  #announcedVersion = 0;

  constructor(filter: FilterQuery) {
    this.#wanted = { filter: filterTerms(filter), version: 0 };
  }

  /** True if the wanted filter was rejected and there is no previous one to fall back to. */
  get isRejected(): boolean {
    return this.#wanted.version === this.#rejectedVersion;
  }

  get wanted(): VersionedFilter {
    return this.#wanted;
  }

  isAccepted(version: number): boolean {
    return this.#accepted?.version === version;
  }

  /** Sets the wanted filter and returns its version. */
  set(filter: FilterQuery): number {
    this.#wanted = { filter: filterTerms(filter), version: ++this.#lastVersion };
    return this.#lastVersion;
  }

  /** Returns the wanted filter, to be sent to the gateway. */
  request(): VersionedFilter {
    this.#pending.push(this.#wanted);
    return this.#wanted;
  }

  /** Drops pending filters: nothing sent so far will be answered. */
  disconnect(): void {
    this.#pending = [];
  }

  /** The gateway accepted the filter of this version. */
  accept(version: number): StreamEvent[] {
    const index = this.#pending.findIndex((pending) => pending.version === version);
    if (index < 0) return [];
    this.#accepted = this.#pending[index]!;
    this.#pending.splice(0, index + 1);
    const wasRejected = version === this.#rejectedVersion;
    if (wasRejected) this.#rejectedVersion = -1;
    if (version === this.#announcedVersion && !wasRejected) return [];
    this.#announcedVersion = version;
    return [{ type: "filter", version }];
  }

  /** The oldest pending filter, or the one of this version, was rejected. Falls back to the previous one. */
  reject(reason: string, version = this.#pending[0]?.version): StreamEvent[] {
    const rejected = this.#pending.find((pending) => pending.version === version);
    if (rejected === undefined) return [];
    this.#pending.splice(this.#pending.indexOf(rejected), 1);
    this.#rejectedVersion = rejected.version;
    if (this.#accepted && this.#wanted === rejected) this.#wanted = this.#accepted;
    return [{ type: "refused", version: rejected.version, reason }];
  }
}

/** Returns the terms of a filter without any other property that the caller's object may have. */
function filterTerms({ type, level, logger, q }: FilterQuery): FilterQuery {
  const terms = Object.entries({ type, level, logger, q }).filter(([, term]) => term);
  return Object.fromEntries(terms);
}
