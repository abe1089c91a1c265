import type { Access, AddressedRequest, HostLogger, RouteRefusal } from "../../plugin/index.ts";
import { counterMetric, gaugeMetric, type PluginMetric } from "../../plugin/metrics.ts";
import type { AccessEvent } from "../access-trail.ts";
import { isRefusal, type AuthMethod } from "../access.ts";
import { clearCookie, cookieName, cookieValues, setCookie, type CookieScope } from "./cookies.ts";
import { LoginCodes } from "./login-codes.ts";
import { LoginDelays } from "./login-delays.ts";
import { isOwnPage } from "../own-page.ts";
import { publicBase } from "../proxies/public-base.ts";
import { rejectedCredentials } from "../refusals.ts";
import { SessionFile } from "./session-file.ts";
import {
  SESSION_ENDS,
  Sessions,
  type Session,
  type SessionLimits,
  type TokenAccess,
} from "./sessions.ts";
import { parseToken } from "../tokens/token.ts";

interface SignInOptions extends SessionLimits {
  readonly tokens: AuthMethod &
    TokenAccess & {
      /** Checks a token. */
      check(text: string): Access | RouteRefusal;
      /** Returns the id of the token that the request's credentials name, if there is one. */
      idOf(request: AddressedRequest): string | undefined;
      /** Returns when the token of a principal expires, in ms since 1970; undefined if it does not. */
      expiryOf(access: Access): number | undefined;
    };
  /** What authenticates requests without a session: the users of a proxy, tokens, certificates. The first one decides. */
  readonly withoutSession: readonly AuthMethod[];
  /** Tells this gateway apart from others on the same host. */
  readonly instance: string;
  /** The path of the file in which sessions survive a restart; undefined if they do not. */
  readonly file: string | undefined;
  readonly log: HostLogger;
  /** Records logins and their failures. */
  readonly record?: (event: AccessEvent) => void;
}

/** What a user signs in with: a token, or the code of a login link. */
export type LoginCredentials = { readonly token: string } | { readonly code: string };

/** A session that has just started. */
export interface SignedIn {
  readonly access: Access;
  readonly session: Session;
  /** The `Set-Cookie` header. */
  readonly cookie: string;
}

const LOGIN_OUTCOMES = ["accepted", "rejected", "delayed"] as const;
type LoginOutcome = (typeof LOGIN_OUTCOMES)[number];

const INVALID_CODE = rejectedCredentials(
  "The login link is not valid: it was used, or is older than 10 minutes. Sign in with a token.",
);

/**
 * Signs browsers in, and authenticates them by their session cookies. The cookie counts only in requests of the gateway's
 * own pages: browsers send it with those of other ports of the host, too.
 */
export class SignIn implements AuthMethod {
  readonly sessions: Sessions;
  readonly codes = new LoginCodes();
  readonly metrics: readonly PluginMetric[];
  readonly #options: SignInOptions;
  readonly #delays = new LoginDelays();
  readonly #count: (outcome: LoginOutcome) => void;

  constructor(options: SignInOptions) {
    this.#options = options;
    const { tokens, instance, idleMs, absoluteMs, file, log } = options;
    const logins = counterMetric("", "tailgate_logins", "Logins of browsers, by outcome.");
    const ends = counterMetric("", "tailgate_sessions_ended", "Ended sessions, by reason.");
    for (const outcome of LOGIN_OUTCOMES) logins.add(0, { outcome });
    for (const reason of SESSION_ENDS) ends.add(0, { reason });
    this.#count = (outcome) => logins.add(1, { outcome });
    this.sessions = new Sessions({
      tokens,
      instance,
      idleMs,
      absoluteMs,
      file: file === undefined ? undefined : new SessionFile(file),
      failed: (error) =>
        log.error("The sessions could not be saved and may end with a restart.", error),
      ended: (_, reason) => ends.add(1, { reason }),
    });
    const open = "Sessions of signed-in browsers.";
    const gauge = gaugeMetric("", "tailgate_sessions", open, () => this.sessions.count);
    this.metrics = [gauge, ends.metric, logins.metric];
  }

  /** Without a session, the request has no credentials of this kind: the cookie may be old. */
  authenticate(request: AddressedRequest): Access | undefined {
    return this.#find(request)?.access;
  }

  /** Returns why the token, the proxy's user or the certificate may not do anything, and records that; undefined without any. */
  rejectionOf(request: AddressedRequest): RouteRefusal | undefined {
    const { tokens, withoutSession, record } = this.#options;
    let outcome: Access | RouteRefusal | undefined;
    for (const method of withoutSession) outcome ??= method.authenticate(request);
    if (outcome === undefined || !isRefusal(outcome)) return undefined;
    if (outcome.status === 401 || outcome.status === 403) {
      const { address } = publicBase(request);
      const details = { id: tokens.idOf(request) };
      record?.({ type: "access_denied", address, reason: outcome.text, details });
    }
    return outcome;
  }

  /** Returns when the access ends by itself, in ms since 1970; undefined if it does not. */
  expiryOf(access: Access): number | undefined {
    return this.#options.tokens.expiryOf(access);
  }

  /** Returns the session that a request of a browser belongs to. */
  sessionOf(request: AddressedRequest): Session | undefined {
    return this.#find(request)?.session;
  }

  /** Starts a session, which replaces the one that the browser has. Failures delay further logins from the address. */
  login(request: AddressedRequest, credentials: LoginCredentials): SignedIn | RouteRefusal {
    const { address = "" } = publicBase(request);
    const waitMs = this.#delays.waitMs(address);
    if (waitMs > 0) {
      this.#count("delayed");
      return delayed(waitMs);
    }
    const tokenId = this.#tokenOf(credentials);
    if (typeof tokenId !== "string") return this.#rejected(address, tokenId);
    const userAgent = request.headers["user-agent"];
    const opened = this.sessions.open({ tokenId, address, userAgent });
    // The token was revoked after the link was made.
    if (opened === undefined) return this.#rejected(address, INVALID_CODE);
    const previous = this.#find(request);
    if (previous !== undefined) this.sessions.logout(previous.secret);
    this.#delays.succeeded(address);
    this.#count("accepted");
    const { secret, session, access } = opened;
    const { principal, id } = session;
    const details = { session: id, by: "token" in credentials ? "token" : "link" };
    this.#options.record?.({ type: "login", principal, address, details });
    const maxAgeSeconds = Math.floor(this.#options.absoluteMs / 1000);
    return { access, session, cookie: setCookie(this.#scopeOf(request), secret, maxAgeSeconds) };
  }

  /** Ends the session of the browser, if it has one. Returns the `Set-Cookie` header that removes the cookie. */
  logout(request: AddressedRequest): string {
    const found = this.#find(request);
    if (found !== undefined) {
      this.sessions.logout(found.secret);
      const { principal, id: session } = found.session;
      const { address } = publicBase(request);
      this.#options.record?.({ type: "logout", principal, address, details: { session } });
    }
    return clearCookie(this.#scopeOf(request));
  }

  /** Ends a session of anyone. Returns false if there is none with this id. */
  revoke(request: AddressedRequest, by: Access, id: string): boolean {
    const session = this.sessions.revoke(id);
    if (session === undefined) return false;
    const { address } = publicBase(request);
    const details = { session: id, of: session.principal };
    this.#options.record?.({ type: "session_revoked", principal: by.principal, address, details });
    return true;
  }

  close(): void {
    this.sessions.close();
  }

  #tokenOf(credentials: LoginCredentials): string | RouteRefusal {
    if ("code" in credentials) return this.codes.redeem(credentials.code) ?? INVALID_CODE;
    const outcome = this.#options.tokens.check(credentials.token);
    return isRefusal(outcome) ? outcome : parseToken(credentials.token.trim())!.id;
  }

  #rejected(address: string, refusal: RouteRefusal): RouteRefusal {
    // The tokens file cannot be read: nothing is known about the token.
    if (refusal.status !== 401) return refusal;
    this.#delays.failed(address);
    this.#count("rejected");
    this.#options.record?.({ type: "login_failed", address, reason: refusal.text });
    return refusal;
  }

  /** Returns the session of a cookie, unless a page of another origin has made the request. */
  #find(
    request: AddressedRequest,
  ): { secret: string; session: Session; access: Access } | undefined {
    const { cookie } = request.headers;
    if (cookie === undefined || !isOwnPage(request)) return undefined;
    const secrets = new Set(cookieValues(cookie, cookieName(this.#scopeOf(request))));
    const found = [...secrets].flatMap((secret) => {
      const used = this.sessions.use(secret);
      return used === undefined ? [] : [{ secret, ...used }];
    });
    // Pages of other ports can set a cookie of this name for another path: which one is the user's is not known then.
    return found.length === 1 ? found[0] : undefined;
  }

  #scopeOf(request: AddressedRequest): CookieScope {
    const { scheme, path } = publicBase(request);
    const { instance } = this.sessions;
    return { instance, isSecure: scheme === "https", path: path === "" ? "/" : path };
  }
}

function delayed(waitMs: number): RouteRefusal {
  const seconds = Math.ceil(waitMs / 1000);
  return {
    status: 429,
    text: `Too many failed logins from this address. Try again in ${seconds} s.`,
    headers: { "Retry-After": String(seconds) },
  };
}
