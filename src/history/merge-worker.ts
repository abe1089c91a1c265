/** The thread that writes the history: it makes blocks of records that the journal's thread has committed. */

import { existsSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { ENVELOPE_TYPES, type EnvelopeType } from "../wire/envelope.ts";
import { textOf } from "../wire/errors.ts";
import { HistoryDatabase, isCorrupt, isUnreadable, openHistory } from "./database.ts";
import { historyPath } from "./files.ts";
import type { HistoryPage, HistoryQuery } from "./history.ts";
import { Merge, type FreshPage, type UnindexedRange } from "./merge.ts";
import { HistoryReader } from "./reader.ts";

/** What a type may keep. */
export interface Limits {
  readonly bytes: number;
  /** Records that were appended before have expired. */
  readonly expiredBeforeMs: number;
}

export type MergeRequest =
  | { readonly kind: "add"; readonly page: FreshPage }
  /** Stores what was added and not stored. */
  | { readonly kind: "flush" }
  /** Forgets it. */
  | { readonly kind: "reset" }
  | { readonly kind: "trim"; readonly limits: Readonly<Record<EnvelopeType, Limits>> }
  | { readonly kind: "read"; readonly query: HistoryQuery }
  /** Starts again after what could not be read was put aside; everything up to `merged` is a gap. */
  | { readonly kind: "replace"; readonly merged: number }
  | { readonly kind: "close" };

/** What the main thread knows of the history. */
export interface HistoryState {
  readonly merged: number;
  readonly floors: Readonly<Record<EnvelopeType, number>>;
  /** The sequence of the oldest record; undefined if there is none. */
  readonly oldest: number | undefined;
  readonly fileBytes: number;
}

export type MergeReply =
  | {
      readonly kind: "state";
      readonly state: HistoryState;
      readonly aside?: string | undefined;
      /** Records that were stored without an index meanwhile, because one could not be made. */
      readonly unindexed?: readonly UnindexedRange[] | undefined;
    }
  | { readonly kind: "page"; readonly page: HistoryPage }
  /** `isLost`: the file is gone or cannot be read. */
  | { readonly kind: "failed"; readonly text: string; readonly isLost: boolean };

export interface MergeSetup {
  readonly directory: string;
  /** The sequence up to which the history has the records. */
  readonly merged: number;
}

export interface WithId<Message> {
  readonly id: number;
  readonly message: Message;
}

/** The open history. */
class HistoryWriter {
  readonly #database: HistoryDatabase;
  readonly #merge: Merge;
  readonly #reader: HistoryReader;

  constructor(database: HistoryDatabase) {
    this.#database = database;
    this.#merge = new Merge(database);
    this.#reader = database.reader();
  }

  get state(): HistoryState {
    const { rows, fileBytes } = this.#database;
    const floors = { system_log: rows.floor("system_log"), audit_log: rows.floor("audit_log") };
    const oldest = ENVELOPE_TYPES.map((type) => rows.nearest(type, floors[type], "asc"))
      .filter((place) => place !== undefined)
      .map(({ from, type }) => Math.max(from, floors[type]));
    const first = oldest.length === 0 ? undefined : Math.min(...oldest);
    return { merged: rows.merged, floors, oldest: first, fileBytes };
  }

  reply(request: MergeRequest): MergeReply {
    try {
      if (!this.#database.isInPlace) {
        return { kind: "failed", text: "it was deleted or moved away", isLost: true };
      }
      if (request.kind === "read") return { kind: "page", page: this.#reader.read(request.query) };
      if (request.kind === "add") this.#merge.add(request.page);
      else if (request.kind === "flush") this.#merge.flush();
      else if (request.kind === "reset") this.#merge.reset();
      else if (request.kind === "trim") this.#trim(request.limits);
      return { kind: "state", state: this.state, unindexed: this.#merge.takeUnindexed() };
    } catch (error) {
      this.#merge.reset();
      return { kind: "failed", text: textOf(error), isLost: isCorrupt(error) };
    }
  }

  close(): void {
    this.#database.close();
  }

  #trim(limits: Readonly<Record<EnvelopeType, Limits>>): void {
    let hasDeleted = false;
    for (const type of ENVELOPE_TYPES)
      hasDeleted = this.#trimType(type, limits[type]) || hasDeleted;
    // What has expired must not be readable in the log either.
    if (hasDeleted) this.#database.checkpoint("TRUNCATE");
    while (this.#database.vacuum());
    this.#merge.freeMemory();
  }

  #trimType(type: EnvelopeType, { bytes, expiredBeforeMs }: Limits): boolean {
    const { rows } = this.#database;
    const ids: number[] = [];
    let floor = rows.floor(type);
    let left = rows.storedBytes(type);
    for (const place of rows.places(type, { from: 1, to: rows.merged })) {
      const { appendedMax, stored } = rows.expiry(place);
      if (left - stored < bytes && appendedMax >= expiredBeforeMs) break;
      ids.push(place.id);
      left -= stored;
      floor = place.to + 1;
    }
    if (ids.length > 0) this.#database.expire(type, ids, floor);
    return ids.length > 0;
  }
}

/** Returns the history; undefined if it is gone or cannot be read, or lacks records that it had. */
function openWriter({ directory, merged }: MergeSetup): HistoryWriter | undefined {
  if (merged > 0 && !existsSync(historyPath(directory))) return undefined;
  try {
    const database = new HistoryDatabase(directory);
    if (database.rows.merged >= merged) return new HistoryWriter(database);
    database.close();
  } catch (error) {
    if (!isUnreadable(error)) throw error;
  }
  return undefined;
}

function replaceHistory(directory: string, merged: number) {
  const { database, damage } = openHistory(directory, { isNew: true });
  database.commit({ blocks: [], replaced: [], gaps: [], merged });
  return { writer: new HistoryWriter(database), aside: damage?.aside };
}

const LOST = { kind: "failed", text: "it is gone or cannot be read", isLost: true } as const;

function run(setup: MergeSetup): void {
  const port = parentPort!;
  const send = (id: number, message: MergeReply): void => {
    const memory =
      message.kind === "page" ? message.page.blocks.map(({ bytes }) => bytes.buffer) : [];
    port.postMessage({ id, message } satisfies WithId<MergeReply>, memory);
  };
  let writer: HistoryWriter | undefined;
  try {
    writer = openWriter(setup);
  } catch (error) {
    send(0, { kind: "failed", text: textOf(error), isLost: false });
    return port.close();
  }
  send(0, writer?.reply({ kind: "reset" }) ?? LOST);
  const reply = (request: MergeRequest): MergeReply => {
    if (request.kind !== "replace") return writer?.reply(request) ?? LOST;
    try {
      writer?.close();
      const replaced = replaceHistory(setup.directory, request.merged);
      ({ writer } = replaced);
      return { kind: "state", state: writer.state, aside: replaced.aside };
    } catch (error) {
      writer = undefined;
      return { kind: "failed", text: textOf(error), isLost: false };
    }
  };
  port.on("message", ({ id, message }: WithId<MergeRequest>) => {
    if (message.kind === "close") {
      writer?.close();
      port.close();
    } else send(id, reply(message));
  });
}

run(workerData as MergeSetup);
