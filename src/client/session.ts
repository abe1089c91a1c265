import type { Start } from "../wire/protocol.ts";
import type { Dial } from "./connection.ts";
import type { FilterChanges } from "./filter-changes.ts";
import type { Position } from "./position.ts";
import type { StreamEvent, StreamStatus, Transport } from "./stream-event.ts";

/** What all ways of getting records share: how far the stream is, what it is asked for, and where events go. */
export interface Surroundings {
  readonly position: Position;
  readonly filters: FilterChanges;
  /** How it starts where the position is not known. */
  readonly start: Start;
  readonly dial: Omit<Dial, "subprotocols">;
  tell(events: readonly StreamEvent[]): void;
  enter(state: StreamStatus["state"], reason: string, transport: Transport): void;
  /** The connection is there, and nothing else should bring records. */
  connected(): void;
}

export interface SessionEnd {
  /** The gateway has spoken. */
  readonly wasOpen: boolean;
  readonly reason: string;
  /** It was ended for the sake of another one. */
  readonly isReplaced?: boolean;
}

/** One connection to the gateway. */
export interface Session {
  readonly ended: Promise<SessionEnd>;
  filterChanged(): void;
  /** Makes sure that the connection is still one. */
  check(): void;
  end(): void;
}
