import type { AccessEvent, AccessEventType } from "../access-trail.ts";
import { stateOf, type TokenState } from "./issued-token.ts";
import type { StoredToken } from "./tokens-file.ts";

/** What the trail knows of a token. */
interface KnownToken {
  readonly id: string;
  readonly name: string;
  readonly state: TokenState;
  /** Its scopes, filter and expiry, to notice that someone has changed them. */
  readonly grant: string;
}

export interface TokenWatchOptions {
  readonly record: (event: AccessEvent) => void;
  /** What {@link TokenWatchOptions.keep} was last given, by an earlier run too; undefined at first. */
  readonly recall: () => string | undefined;
  readonly keep: (text: string) => void;
}

const EVENT_OF_STATE: Readonly<Record<TokenState, AccessEventType>> = {
  valid: "token_changed",
  revoked: "token_revoked",
  expired: "token_expired",
};

/**
 * Records the changes of the tokens file. What was known of the tokens outlasts the gateway: changes that were made while it
 * was stopped are recorded when it starts.
 */
export class TokenWatch {
  readonly #options: TokenWatchOptions;
  #known: ReadonlyMap<string, KnownToken>;

  constructor(options: TokenWatchOptions) {
    this.#options = options;
    this.#known = new Map(parseKnown(options.recall()).map((token) => [token.id, token]));
  }

  /** Compares the tokens with what was known of them. Call it after a change, and regularly, since tokens expire. */
  update(tokens: readonly StoredToken[], nowMs = Date.now()): void {
    const before = this.#known;
    const now = new Map(tokens.map((token) => [token.id, knownOf(token, nowMs)]));
    const events = tokens.flatMap((token) => changesOf(token, before.get(token.id), now));
    for (const [id, { name }] of before) {
      if (!now.has(id)) events.push({ type: "token_removed", details: { token: name, id } });
    }
    if (events.length === 0) return;
    this.#known = now;
    for (const event of events) this.#options.record(event);
    this.#options.keep(JSON.stringify([...now.values()]));
  }
}

function changesOf(
  token: StoredToken,
  before: KnownToken | undefined,
  now: ReadonlyMap<string, KnownToken>,
): AccessEvent[] {
  const { id, name, scopes, filter, expires_at: expires } = token;
  const { state, grant } = now.get(id)!;
  const details = { token: name, id, scopes: scopes.join(" "), filter, expires };
  const events: AccessEvent[] = [];
  if (before === undefined) events.push({ type: "token_created", details });
  else if (before.grant !== grant || (before.state !== "valid" && state === "valid")) {
    events.push({ type: "token_changed", details });
  }
  if (state !== "valid" && before?.state !== state) {
    events.push({ type: EVENT_OF_STATE[state], details: { token: name, id } });
  }
  return events;
}

function knownOf(token: StoredToken, nowMs: number): KnownToken {
  const { id, name, scopes, filter = null, expires_at: expires = null } = token;
  const grant = JSON.stringify([scopes, filter, expires]);
  return { id, name, state: stateOf(token, nowMs), grant };
}

/** What an earlier run has kept; nothing if another version has kept it. */
function parseKnown(text: string | undefined): KnownToken[] {
  if (text === undefined) return [];
  try {
    const known = JSON.parse(text) as KnownToken[];
    return known.filter(({ id }) => typeof id === "string");
  } catch {
    return [];
  }
}
