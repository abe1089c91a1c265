import { timingSafeEqual } from "node:crypto";
import type { Access, AddressedRequest, HostLogger, RouteRefusal } from "../../plugin/index.ts";
import { gaugeMetric, type PluginMetric, type PluginSample } from "../../plugin/metrics.ts";
import { clearTimeout, setTimeout } from "../../runtime/timers.ts";
import { textOf } from "../../wire/errors.ts";
import { grantedAccess, type AuthMethod } from "../access.ts";
import { rejectedCredentials, TOKENS_UNAVAILABLE } from "../refusals.ts";
import { digestOf, parseToken } from "./token.ts";
import {
  fileVersion,
  isSameVersion,
  readTokensFile,
  type FileVersion,
  type StoredToken,
} from "./tokens-file.ts";

/** A revoked token loses its streams within a second. */
const POLL_MS = 400;

/** How many `Authorization` headers are remembered with their tokens. */
const HEADERS_MAX = 1000;

/** Compared with the secret of an unknown token, so that it takes as long as a wrong secret. */
const NO_DIGEST = Buffer.alloc(32);

/** A token, and the access of whoever has it. */
interface Entry {
  readonly token: StoredToken;
  readonly digest: Buffer;
  readonly access: Access;
  readonly expiresAtMs: number;
  /** Aborts the access; called once. */
  end(): void;
}

interface TokenStoreOptions {
  readonly path: string;
  readonly log: HostLogger;
}

/**
 * The tokens of the tokens file, which is read again when it changes. While it cannot be read, the last tokens stay valid;
 * a token that is not among them is answered with 503, because a sender that gets 401 drops its records for good.
 */
export class TokenStore implements AuthMethod {
  readonly metrics: readonly PluginMetric[] = [
    // Senders drop their records once their token has expired, so operators want to know before.
    {
      component: "",
      name: "tailgate_token_expiry_timestamp_seconds",
      description: "When a valid token expires, in seconds since 1970, by its name.",
      kind: "gauge",
      read: () => this.#expiries(),
    },
    gaugeMetric(
      "",
      "tailgate_tokens_file_readable",
      "1 if the tokens file could be read when it changed last; 0 while the gateway uses the tokens from before.",
      () => (this.#lastError === undefined ? 1 : 0),
    ),
  ];
  readonly #options: TokenStoreOptions;
  #version: FileVersion | undefined;
  #entries = new Map<string, Entry>();
  /** Valid tokens by the header that they came in; hashing a secret takes longer than all other checks together. */
  readonly #headers = new Map<string, Entry>();
  /** Why the file could not be read last; undefined if it could. */
  #lastError: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #follower: ((tokens: readonly StoredToken[]) => void) | undefined;

  private constructor(options: TokenStoreOptions) {
    this.#options = options;
  }

  /**
   * Reads the file and begins to watch it. Without a file there are no tokens until there is one.
   * @throws TailgateError TOKENS_UNREADABLE
   */
  static async open(options: TokenStoreOptions): Promise<TokenStore> {
    const store = new TokenStore(options);
    const file = await readTokensFile(options.path);
    store.#version = file?.version;
    store.#replace(file?.tokens ?? []);
    store.#watch();
    return store;
  }

  /** How many tokens are valid now, without one that only login links use: nobody has it. */
  get size(): number {
    const entries = Array.from(this.#entries.values());
    return entries.filter((entry) => isValid(entry) && !entry.digest.equals(NO_DIGEST)).length;
  }

  /** Checks the token in the request's `Authorization` header: `Bearer`, or `Basic` with the token as the password. */
  authenticate({ headers }: AddressedRequest): Access | RouteRefusal | undefined {
    const { authorization } = headers;
    if (authorization === undefined) return undefined;
    const known = this.#headers.get(authorization);
    if (known !== undefined && isValid(known)) return known.access;
    const outcome = this.#check(tokenIn(authorization));
    if (!("token" in outcome)) return outcome;
    if (this.#headers.size >= HEADERS_MAX) this.#headers.clear();
    this.#headers.set(authorization, outcome);
    return outcome.access;
  }

  /** Checks a token, such as one entered on the login page. */
  check(text: string): Access | RouteRefusal {
    const outcome = this.#check(text);
    return "token" in outcome ? outcome.access : outcome;
  }

  /** Returns the access of the token with that id, if it is valid: a session belongs to a token. */
  accessOf(id: string): Access | undefined {
    const entry = this.#entries.get(id);
    return entry !== undefined && isValid(entry) ? entry.access : undefined;
  }

  /** Returns when the token of a principal expires, in ms since 1970; undefined if it does not, or if it is no token's. */
  expiryOf({ principal }: Access): number | undefined {
    const entries = Array.from(this.#entries.values());
    const entry = entries.find(({ access }) => access.principal === principal);
    return entry === undefined || entry.expiresAtMs === Infinity ? undefined : entry.expiresAtMs;
  }

  *#expiries(): Iterable<PluginSample> {
    for (const entry of this.#entries.values()) {
      const { token, expiresAtMs } = entry;
      if (!isValid(entry) || expiresAtMs === Infinity) continue;
      yield { value: expiresAtMs / 1000, labels: { token: token.name } };
    }
  }

  /** Calls `follower` with all tokens: now, after each change of the file, and when a token has expired. */
  follow(follower: (tokens: readonly StoredToken[]) => void): void {
    this.#follower = follower;
    this.#notify();
  }

  #notify(): void {
    this.#follower?.(Array.from(this.#entries.values(), ({ token }) => token));
  }

  /**
   * Returns the id that the request's credentials name, if there is a token with it, whatever its secret: it tells an
   * operator which token someone tries to use.
   */
  idOf({ headers: { authorization } }: AddressedRequest): string | undefined {
    const text = authorization === undefined ? undefined : tokenIn(authorization);
    const id = text === undefined ? undefined : parseToken(text)?.id;
    return id !== undefined && this.#entries.has(id) ? id : undefined;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Tells that a token is expired or revoked only to whoever has its secret. */
  #check(text: string | undefined): Entry | RouteRefusal {
    const token = text === undefined ? undefined : parseToken(text.trim());
    if (token === undefined) {
      return rejectedCredentials(
        "The credentials are not a token of this gateway: expected tgw_ and 62 more characters.",
      );
    }
    const entry = this.#entries.get(token.id);
    const isRight = timingSafeEqual(digestOf(token.secret), entry?.digest ?? NO_DIGEST);
    if (entry === undefined || !isRight) {
      return this.#lastError === undefined
        ? rejectedCredentials("The token is not valid.")
        : TOKENS_UNAVAILABLE;
    }
    const { name, revoked_at: revokedAt, expires_at: expiresAt } = entry.token;
    if (revokedAt !== undefined) return rejectedCredentials(`The token ${name} was revoked.`);
    if (isValid(entry)) return entry;
    return rejectedCredentials(`The token ${name} expired on ${expiresAt}.`);
  }

  #watch(): void {
    this.#timer = setTimeout(() => void this.#poll(), POLL_MS).unref();
  }

  async #poll(): Promise<void> {
    this.#followClock();
    await this.reload();
    if (this.#timer !== undefined) this.#watch();
  }

  /** Ends what has expired. If the clock was wrong and is set back, a token gets a new access: an ended one stays so. */
  #followClock(): void {
    let hasChanged = false;
    for (const [id, entry] of this.#entries) {
      const hasEnded = entry.access.signal!.aborted;
      if (isInTime(entry) !== hasEnded) continue;
      if (hasEnded) this.#entries.set(id, createEntry(entry.token));
      else entry.end();
      hasChanged = true;
    }
    if (hasChanged) this.#notify();
  }

  /** Reads the file if it has changed. Failures are logged. */
  async reload(): Promise<void> {
    const { path, log } = this.#options;
    try {
      const version = await fileVersion(path);
      if (this.#lastError === undefined && isSameVersion(version, this.#version)) return;
      const file = await readTokensFile(path);
      if (file === undefined && this.#version !== undefined) throw new Error("it does not exist");
      this.#lastError = undefined;
      this.#version = file?.version;
      this.#replace(file?.tokens ?? []);
      const count = this.size === 1 ? "1 token is" : `${this.size} tokens are`;
      log.info(`The tokens file was reloaded: ${count} valid.`);
      this.#notify();
    } catch (error) {
      const reason = textOf(error);
      if (reason === this.#lastError) return;
      this.#lastError = reason;
      log.error(
        `The tokens file could not be reloaded. The previous tokens stay valid, and requests with others get 503 until it is fixed.`,
        error,
      );
    }
  }

  #replace(tokens: readonly StoredToken[]): void {
    const before = this.#entries;
    const entries = tokens.map((token) => {
      const known = before.get(token.id);
      return known !== undefined && isSameToken(known.token, token) ? known : createEntry(token);
    });
    this.#entries = new Map(entries.map((entry) => [entry.token.id, entry]));
    this.#headers.clear();
    const kept = new Set(entries);
    for (const entry of before.values()) if (!kept.has(entry)) entry.end();
  }
}

function createEntry(token: StoredToken): Entry {
  const controller = new AbortController();
  const { name, sha256, expires_at: expiresAt } = token;
  return {
    token,
    digest: Buffer.from(sha256, "hex"),
    access: grantedAccess(`token:${name}`, token, controller.signal),
    expiresAtMs: expiresAt === undefined ? Infinity : Date.parse(expiresAt),
    end: () => controller.abort(),
  };
}

function isUsable({ token }: Entry): boolean {
  return token.revoked_at === undefined;
}

function isInTime(entry: Entry): boolean {
  return isUsable(entry) && Date.now() < entry.expiresAtMs;
}

/** Whoever gets an access must be able to rely on its signal, so one that has ended is not valid even if the clock says so. */
function isValid(entry: Entry): boolean {
  return isInTime(entry) && !entry.access.signal!.aborted;
}

function isSameToken(one: StoredToken, other: StoredToken): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Returns the token in an `Authorization` header (RFC 6750, RFC 7617); undefined for another scheme. */
function tokenIn(authorization: string): string | undefined {
  const [, scheme = "", credentials = ""] = /^(\S+) +(\S+) *$/.exec(authorization) ?? [];
  switch (scheme.toLowerCase()) {
    case "bearer":
      return credentials;
    case "basic": {
      const text = Buffer.from(credentials, "base64").toString();
      return text.slice(text.indexOf(":") + 1);
    }
    default:
      return undefined;
  }
}
