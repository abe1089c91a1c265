import type { Access, AddressedRequest, RouteRefusal } from "../../plugin/index.ts";
import type { AuthMethod } from "../access.ts";
import { rejectedCredentials } from "../refusals.ts";
import { TICKET_PREFIX } from "../../wire/protocol.ts";
import { createSecretId, hashSecretId } from "./secret-ids.ts";

/** How long a ticket is valid. */
export const TICKET_SECONDS = 30;

/** The unused tickets of one principal, and of all; more of them replace or prevent each other. */
const TICKETS_PER_PRINCIPAL_MAX = 100;
const TICKETS_MAX = 10_000;

interface Ticket {
  readonly access: Access;
  /** The origin of the page that may use it; undefined for every origin that the gateway accepts. */
  readonly origin: string | undefined;
  readonly expiresMs: number;
}

const INVALID_TICKET = rejectedCredentials(
  "The ticket is not valid: it was used, is older than 30 s, or belongs to a page of another origin. Request a new one with POST /api/tickets.",
);

/**
 * Tickets for WebSockets: a page of another origin has no cookie, and a browser sends no `Authorization` header with a
 * WebSocket. A ticket opens one connection, within 30 seconds, with the access of whoever requested it.
 */
export class Tickets implements AuthMethod {
  /** By the hash of the ticket; the oldest first. */
  readonly #tickets = new Map<string, Ticket>();
  readonly #now: () => number;

  /** `now`: a monotonic clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Only WebSockets have tickets, and each has its own. */
  authenticate({ method, headers }: AddressedRequest): Access | RouteRefusal | undefined {
    const ticket = offeredTicket(headers["sec-websocket-protocol"]);
    const isHandshake = method === "GET" && headers.upgrade?.toLowerCase() === "websocket";
    if (ticket === undefined || !isHandshake) return undefined;
    return this.redeem(ticket, headers.origin) ?? INVALID_TICKET;
  }

  /** Returns a new ticket; undefined if there are too many. The oldest one of a principal that has too many is dropped. */
  issue(access: Access, origin: string | undefined): string | undefined {
    this.#dropExpired();
    const own = [...this.#tickets].filter(
      ([
        ,
        {
          access: { principal },
        },
      ]) => principal === access.principal,
    );
    if (own.length >= TICKETS_PER_PRINCIPAL_MAX) this.#tickets.delete(own[0]![0]);
    if (this.#tickets.size >= TICKETS_MAX) return undefined;
    const ticket = createSecretId();
    const expiresMs = this.#now() + 1000 * TICKET_SECONDS;
    this.#tickets.set(hashSecretId(ticket)!, { access, origin, expiresMs });
    return ticket;
  }

  /** Returns the access of a ticket, which is used up whatever the outcome; undefined if it is not valid. */
  redeem(text: string, origin: string | undefined): Access | undefined {
    const hash = hashSecretId(text);
    const ticket = hash === undefined ? undefined : this.#tickets.get(hash);
    if (ticket === undefined) return undefined;
    this.#tickets.delete(hash!);
    const { access, origin: bound, expiresMs } = ticket;
    if (expiresMs <= this.#now() || access.signal?.aborted) return undefined;
    return bound === undefined || bound === origin ? access : undefined;
  }

  #dropExpired(): void {
    for (const [hash, { expiresMs, access }] of this.#tickets) {
      if (expiresMs <= this.#now() || access.signal?.aborted) this.#tickets.delete(hash);
    }
  }
}

/** Returns the ticket that a `Sec-WebSocket-Protocol` header offers; undefined if it offers none. */
export function offeredTicket(header: string | undefined): string | undefined {
  if (header === undefined || !header.includes(TICKET_PREFIX)) return undefined;
  const offered = header.split(",").map((name) => name.trim());
  return offered.find((name) => name.startsWith(TICKET_PREFIX))?.slice(TICKET_PREFIX.length);
}
