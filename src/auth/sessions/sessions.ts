import { randomBytes } from "node:crypto";
import type { Access } from "../../plugin/access.ts";
import { clearInterval, clearTimeout, setInterval, setTimeout } from "../../runtime/timers.ts";
import { createSecretId, hashSecretId } from "./secret-ids.ts";
import type { SessionFile, StoredSession } from "./session-file.ts";

/** When this many sessions exist, a new one ends the one that was unused for the longest time. */
export const SESSIONS_MAX = 1000;

/** The same for the sessions of one token, so that its holder cannot end those of others. */
export const SESSIONS_PER_TOKEN_MAX = 100;

/** How soon streams end after the session that has opened them. */
const SWEEP_INTERVAL_MS = 1000;

/** Times of use are written to the file at most this often. */
const SAVE_INTERVAL_MS = 60_000;

const USER_AGENT_CHARACTERS_MAX = 200;

/** Why a session ended. */
export const SESSION_ENDS = ["logout", "revoked", "idle", "expired", "token", "evicted"] as const;
export type SessionEnd = (typeof SESSION_ENDS)[number];

/** What sessions need of the tokens. */
export interface TokenAccess {
  /** Returns the access of a token by its id; undefined if it is revoked, expired or unknown. */
  accessOf(tokenId: string): Access | undefined;
}

export interface SessionLimits {
  /** A session ends if it is not used for this long. */
  readonly idleMs: number;
  /** A session ends this long after the login, however it is used. */
  readonly absoluteMs: number;
}

interface SessionsOptions extends SessionLimits {
  readonly tokens: TokenAccess;
  /** Identifies the gateway in its cookies, unless the file has another name for it. */
  readonly instance: string;
  /** Where sessions survive a restart; without it they do not. */
  readonly file?: SessionFile | undefined;
  /** Called when the file could not be written. */
  readonly failed?: (error: unknown) => void;
  /** Called with each session that has ended. */
  readonly ended?: (session: Session, reason: SessionEnd) => void;
}

/** Who signs in, from where. */
export interface Login {
  readonly tokenId: string;
  /** The client's address. */
  readonly address: string;
  readonly userAgent: string | undefined;
}

/** A session as an administrator may see it. */
export interface Session {
  /** Names the session; not a secret. */
  readonly id: string;
  readonly tokenId: string;
  readonly principal: string | undefined;
  readonly address: string;
  readonly userAgent: string;
  readonly createdAtMs: number;
  readonly usedAtMs: number;
  /** When it ends, however it is used. */
  readonly expiresAtMs: number;
}

interface OpenSession extends Omit<Session, "principal"> {
  readonly hash: string;
  readonly controller: AbortController;
  usedAtMs: number;
  /** The access of the token, and that of the session made from it. Undefined until a restored session is used. */
  source: Access | undefined;
  access: Access | undefined;
}

/**
 * The sessions of signed-in browsers. A session is bound to a token: it can do what the token can, and ends when the token
 * is revoked or expires. Its secret is known to the browser alone; the gateway has the hash.
 */
export class Sessions {
  readonly instance: string;
  readonly #options: SessionsOptions;
  /** By the hash of the secret; the one that was unused for the longest time first. */
  readonly #sessions = new Map<string, OpenSession>();
  readonly #sweepTimer: NodeJS.Timeout;
  #saveTimer: NodeJS.Timeout | undefined;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#sweepTimer = setInterval(() => this.sweep(), SWEEP_INTERVAL_MS).unref();
    const stored = options.file?.read();
    this.instance = stored?.instance ?? options.instance;
    for (const session of stored?.sessions ?? []) this.#restore(session);
  }

  get count(): number {
    return this.#sessions.size;
  }

  /** Starts a session. Returns its secret, for the cookie; undefined if the token is not valid. */
  open({
    tokenId,
    address,
    userAgent = "",
  }: Login): { secret: string; session: Session; access: Access } | undefined {
    const secret = createSecretId();
    const nowMs = Date.now();
    const session: OpenSession = {
      id: randomBytes(9).toString("base64url"),
      hash: hashSecretId(secret)!,
      tokenId,
      address,
      userAgent: userAgent.slice(0, USER_AGENT_CHARACTERS_MAX).toWellFormed(),
      createdAtMs: nowMs,
      usedAtMs: nowMs,
      expiresAtMs: nowMs + this.#options.absoluteMs,
      controller: new AbortController(),
      source: undefined,
      access: undefined,
    };
    const access = this.#accessOf(session);
    if (access === undefined) return undefined;
    const all = [...this.#sessions.values()];
    const own = all.filter((other) => other.tokenId === tokenId);
    if (own.length >= SESSIONS_PER_TOKEN_MAX) this.#end(own[0]!, "evicted");
    else if (all.length >= SESSIONS_MAX) this.#end(all[0]!, "evicted");
    this.#sessions.set(session.hash, session);
    this.#save();
    return { secret, session: viewOf(session), access };
  }

  /** Returns the session of a secret, which counts as its use, and the access that it gives. */
  use(secret: string): { session: Session; access: Access } | undefined {
    const session = this.#find(secret);
    if (session === undefined) return undefined;
    const access = this.#accessOf(session);
    if (access === undefined) {
      this.#end(session, "token");
      return undefined;
    }
    session.usedAtMs = Date.now();
    this.#sessions.delete(session.hash);
    this.#sessions.set(session.hash, session);
    this.#saveLater();
    return { session: viewOf(session), access };
  }

  /** Returns all sessions, the last used first. */
  list(): Session[] {
    this.sweep();
    return [...this.#sessions.values()].toReversed().map(viewOf);
  }

  /** Ends the session of this secret. Returns it, or undefined if there is none. */
  logout(secret: string): Session | undefined {
    const session = this.#find(secret);
    return session && this.#end(session, "logout");
  }

  /** Ends the session with this id. Returns it, or undefined if there is none. */
  revoke(id: string): Session | undefined {
    const session = [...this.#sessions.values()].find((one) => one.id === id);
    return session && this.#end(session, "revoked");
  }

  /** Ends the sessions whose time is over or whose token is not valid any more, and with them the streams that they have opened. */
  sweep(): void {
    for (const session of this.#sessions.values()) {
      if (this.#isOver(session)) this.#end(session, this.#endReason(session));
      else if (this.#accessOf(session) === undefined) this.#end(session, "token");
    }
  }

  /** Saves the sessions, and stops watching them. */
  close(): void {
    clearInterval(this.#sweepTimer);
    if (this.#saveTimer !== undefined) this.#save();
  }

  #find(secret: string): OpenSession | undefined {
    const hash = hashSecretId(secret);
    const session = hash === undefined ? undefined : this.#sessions.get(hash);
    if (session === undefined || !this.#isOver(session)) return session;
    this.#end(session, this.#endReason(session));
    return undefined;
  }

  #isOver(session: OpenSession): boolean {
    return this.#leftMs(session) <= 0;
  }

  #leftMs({ usedAtMs, expiresAtMs }: OpenSession): number {
    return Math.min(usedAtMs + this.#options.idleMs, expiresAtMs) - Date.now();
  }

  #endReason({ expiresAtMs }: OpenSession): SessionEnd {
    return expiresAtMs <= Date.now() ? "expired" : "idle";
  }

  /** Returns the access of a session; undefined if its token is not valid any more. */
  #accessOf(session: OpenSession): Access | undefined {
    const source = this.#options.tokens.accessOf(session.tokenId);
    if (source === undefined || source.signal?.aborted) return undefined;
    if (session.source !== source) {
      session.source = source;
      session.access = { ...source, signal: session.controller.signal };
      source.signal?.addEventListener("abort", () => this.#end(session, "token"), {
        once: true,
        signal: session.controller.signal,
      });
    }
    return session.access;
  }

  #end(session: OpenSession, reason: SessionEnd): Session {
    const view = viewOf(session);
    if (!this.#sessions.delete(session.hash)) return view;
    session.controller.abort(new Error(END_TEXTS[reason]));
    this.#save();
    this.#options.ended?.(view, reason);
    return view;
  }

  #restore(stored: StoredSession): void {
    const { id, hash, token: tokenId, address, user_agent: userAgent } = stored;
    const { created_ms: createdAtMs, used_ms: usedAtMs } = stored;
    const expiresAtMs = createdAtMs + this.#options.absoluteMs;
    const controller = new AbortController();
    const known = { id, hash, tokenId, address, userAgent, createdAtMs, usedAtMs, expiresAtMs };
    const session = {
      ...known,
      controller,
      source: undefined,
      access: undefined,
      timer: undefined,
    };
    if (this.#isOver(session) || this.#sessions.size >= SESSIONS_MAX) return;
    this.#sessions.set(hash, session);
  }

  #saveLater(): void {
    if (this.#options.file === undefined) return;
    this.#saveTimer ??= setTimeout(() => this.#save(), SAVE_INTERVAL_MS).unref();
  }

  #save(): void {
    const { file, failed } = this.#options;
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    try {
      const sessions = [...this.#sessions.values()].map(storedOf);
      file?.write({ instance: this.instance, sessions });
    } catch (error) {
      failed?.(error);
    }
  }
}

const END_TEXTS: Readonly<Record<SessionEnd, string>> = {
  logout: "The user has signed out.",
  revoked: "An administrator has ended the session.",
  idle: "The session was not used for too long.",
  expired: "The session has expired.",
  token: "The token of the session was revoked or has expired.",
  evicted: "The session has ended because there were too many.",
};

function viewOf(session: OpenSession): Session {
  const { id, tokenId, address, userAgent, createdAtMs, usedAtMs, expiresAtMs, access } = session;
  const principal = access?.principal;
  return { id, tokenId, principal, address, userAgent, createdAtMs, usedAtMs, expiresAtMs };
}

function storedOf(session: OpenSession): StoredSession {
  const { id, hash, tokenId: token, address, userAgent, createdAtMs, usedAtMs } = session;
  const times = { created_ms: createdAtMs, used_ms: usedAtMs };
  return { id, hash, token, address, user_agent: userAgent, ...times };
}
