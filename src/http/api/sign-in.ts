/** The endpoints of signing in: logins, sessions, and tickets for WebSockets. */

import type { Context } from "koa";
import { filterText, isAnonymous } from "../../auth/access.ts";
import { isOwnPage } from "../../auth/own-page.ts";
import type { Session } from "../../auth/sessions/sessions.ts";
import type { LoginCredentials, SignIn } from "../../auth/sessions/sign-in.ts";
import { TICKET_SECONDS, type Tickets } from "../../auth/sessions/tickets.ts";
import type { Access, RouteRefusal } from "../../plugin/index.ts";
import { ACCESS_SCOPES } from "../../wire/access-scopes.ts";
import type { Endpoint } from "../server/application.ts";
import { HttpError } from "../server/rejections.ts";

export const LOGIN_PATH = "/api/login";
export const LOGOUT_PATH = "/api/logout";
export const IDENTITY_PATH = "/api/whoami";
export const SESSIONS_PATH = "/api/sessions";
export const SESSION_PATH = `${SESSIONS_PATH}/{id}`;
export const TICKETS_PATH = "/api/tickets";

/** The body of a login has one token or code. */
const BODY_BYTES_MAX = 4096;

const JSON_TYPE = "application/json";

/** `GET /api/whoami`: who makes the request, and what they may do. */
export function identity(signIn: SignIn | undefined): Endpoint {
  return {
    path: IDENTITY_PATH,
    access: "public",
    isVital: true,
    respond(context, { access }) {
      // The page asks who its user is before anyone has signed in; whoever sends a token wants to know if it is valid.
      const rejection = isAnonymous(access) ? signIn?.rejectionOf(context.req) : undefined;
      if (rejection !== undefined) throw refusalError(context, rejection);
      context.body = identityOf(access, signIn?.sessionOf(context.req), signIn);
    },
  };
}

/** `POST /api/tickets`: a credential for one WebSocket. */
export function ticketIssue(tickets: Tickets): Endpoint {
  return {
    path: TICKETS_PATH,
    method: "POST",
    access: [],
    respond(context, { access }) {
      const ticket = tickets.issue(access, context.req.headers.origin);
      if (ticket === undefined) {
        throw new HttpError(
          503,
          "OVERLOADED",
          "There are too many unused tickets.",
          TICKET_SECONDS,
        );
      }
      context.status = 201;
      context.body = { ticket, expires_in: TICKET_SECONDS };
    },
  };
}

/** The endpoints that exist with authentication only. */
export function signInEndpoints(signIn: SignIn): Endpoint[] {
  return [login(signIn), logout(signIn), sessionList(signIn), sessionEnd(signIn)];
}

function login(signIn: SignIn): Endpoint {
  return {
    path: LOGIN_PATH,
    method: "POST",
    access: "public",
    isVital: true,
    async respond(context) {
      requireOwnPage(context);
      const outcome = signIn.login(context.req, parseCredentials(await readJson(context)));
      if ("status" in outcome) throw refusalError(context, outcome);
      const { access, session, cookie } = outcome;
      context.set("Set-Cookie", cookie);
      context.body = identityOf(access, session, signIn);
    },
  };
}

function logout(signIn: SignIn): Endpoint {
  return {
    path: LOGOUT_PATH,
    method: "POST",
    access: "public",
    isVital: true,
    respond(context) {
      requireOwnPage(context);
      context.set("Set-Cookie", signIn.logout(context.req));
      context.status = 204;
    },
  };
}

function sessionList(signIn: SignIn): Endpoint {
  return {
    path: SESSIONS_PATH,
    access: ["admin"],
    respond(context) {
      const current = signIn.sessionOf(context.req)?.id;
      context.body = {
        sessions: signIn.sessions.list().map((session) => ({
          ...sessionJson(session),
          principal: session.principal,
          address: session.address,
          user_agent: session.userAgent,
          is_current: session.id === current,
        })),
      };
    },
  };
}

function sessionEnd(signIn: SignIn): Endpoint {
  return {
    path: SESSION_PATH,
    method: "DELETE",
    access: ["admin"],
    respond(context, { access, id }) {
      if (!signIn.revoke(context.req, access, id)) {
        throw new HttpError(
          404,
          "NOT_FOUND",
          "There is no session with this id; it may have ended.",
        );
      }
      context.status = 204;
    },
  };
}

function identityOf(access: Access, session: Session | undefined, signIn: SignIn | undefined) {
  const { principal, scopes } = access;
  const expiresAtMs = signIn?.expiryOf(access);
  return {
    authentication: principal === undefined ? "off" : "on",
    principal: isAnonymous(access) ? null : (principal ?? null),
    scopes: ACCESS_SCOPES.filter((scope) => scopes.has(scope)),
    filter: filterText(access) ?? null,
    expires_at: expiresAtMs === undefined ? null : timeText(expiresAtMs),
    session: session === undefined ? null : sessionJson(session),
  };
}

function sessionJson({ id, createdAtMs, usedAtMs, expiresAtMs }: Session) {
  return {
    id,
    created_at: timeText(createdAtMs),
    used_at: timeText(usedAtMs),
    expires_at: timeText(expiresAtMs),
  };
}

function timeText(ms: number): string {
  return new Date(ms).toISOString();
}

/** A page of another origin must not sign its user in or out. Programs send neither header. */
function requireOwnPage({ req: request }: Context): void {
  const { origin, cookie, "sec-fetch-site": site } = request.headers;
  if ((origin ?? cookie ?? site) === undefined || isOwnPage(request)) return;
  throw new HttpError(
    403,
    "FORBIDDEN",
    "Only pages of this gateway can sign in or out. If this is one, a proxy changes its address: list the proxy in trusted_proxies.",
  );
}

async function readJson(context: Context): Promise<unknown> {
  if (context.is(JSON_TYPE) !== JSON_TYPE) {
    context.set("Accept", JSON_TYPE);
    throw new HttpError(415, "UNSUPPORTED_MEDIA_TYPE", `The body must be ${JSON_TYPE}.`);
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of context.req as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) {
      context.set("Connection", "close");
      const text = `The body is larger than ${BODY_BYTES_MAX} bytes.`;
      throw new HttpError(413, "BODY_TOO_LARGE", text);
    }
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    throw new HttpError(400, "BODY_INVALID", "The body is not valid JSON.");
  }
}

function parseCredentials(body: unknown): LoginCredentials {
  const { token, code } = (body ?? {}) as { token?: unknown; code?: unknown };
  if (typeof token === "string" && code === undefined) return { token };
  if (typeof code === "string" && token === undefined) return { code };
  throw new HttpError(400, "BODY_INVALID", 'The body must be {"token": "..."} or {"code": "..."}.');
}

const CODES = {
  400: "BODY_INVALID",
  401: "UNAUTHENTICATED",
  403: "FORBIDDEN",
  429: "OVERLOADED",
  503: "TOKENS_UNREADABLE",
} as const satisfies Record<RouteRefusal["status"], string>;

function refusalError(context: Context, { status, text, headers = {} }: RouteRefusal): HttpError {
  context.set({ ...headers });
  const code = CODES[status];
  return new HttpError(status, code, text);
}
