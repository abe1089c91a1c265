import type { FilterQuery } from "../wire/filter.ts";
import type { StreamEvent } from "./stream-events.ts";

interface VersionedFilter {
  readonly filter: FilterQuery;
  readonly version: number;
}

/** Which filter is wanted, which ones the gateway was asked for, and which one holds. */
export class FilterChanges {
  #wanted: VersionedFilter;
  /** The one that the gateway has taken last. */
  #taken: VersionedFilter | undefined;
  /** Those that were asked for on this connection and not answered, in their order: so come the answers. */
  #asked: VersionedFilter[] = [];
  #lastVersion = 0;
  #refusedVersion = -1;
  #toldVersion = 0;

  constructor(filter: FilterQuery) {
    this.#wanted = { filter: cleaned(filter), version: 0 };
  }

  /** What is wanted was refused, and nothing else is there to be asked for. */
  get isRefused(): boolean {
    return this.#wanted.version === this.#refusedVersion;
  }

  get wanted(): VersionedFilter {
    return this.#wanted;
  }

  /** It is the one that holds. */
  isTaken(version: number): boolean {
    return this.#taken?.version === version;
  }

  /** Answers the version that the filter has got. */
  want(filter: FilterQuery): number {
    this.#wanted = { filter: cleaned(filter), version: ++this.#lastVersion };
    return this.#lastVersion;
  }

  /** The gateway is asked for what is wanted. */
  ask(): VersionedFilter {
    this.#asked.push(this.#wanted);
    return this.#wanted;
  }

  /** Nothing that was asked for will be answered. */
  disconnect(): void {
    this.#asked = [];
  }

  /** From here on that version holds. */
  taken(version: number): StreamEvent[] {
    const place = this.#asked.findIndex((asked) => asked.version === version);
    if (place < 0) return [];
    this.#taken = this.#asked[place]!;
    this.#asked.splice(0, place + 1);
    const wasRefused = version === this.#refusedVersion;
    if (wasRefused) this.#refusedVersion = -1;
    if (version === this.#toldVersion && !wasRefused) return [];
    this.#toldVersion = version;
    return [{ type: "filter", version }];
  }

  /**
   * What was asked for first is refused, or what has that version: what held before is wanted again, unless something
   * else is by now.
   */
  refused(reason: string, version = this.#asked[0]?.version): StreamEvent[] {
    const refused = this.#asked.find((asked) => asked.version === version);
    if (refused === undefined) return [];
    this.#asked.splice(this.#asked.indexOf(refused), 1);
    this.#refusedVersion = refused.version;
    if (this.#taken && this.#wanted === refused) this.#wanted = this.#taken;
    return [{ type: "refused", version: refused.version, reason }];
  }
}

/** The terms of a filter, and nothing else that an object from elsewhere may have. */
function cleaned({ type, level, logger, q }: FilterQuery): FilterQuery {
  return {
    ...(type && { type }),
    ...(level && { level }),
    ...(logger && { logger }),
    ...(q && { q }),
  };
}
