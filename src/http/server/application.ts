import { Readable } from "node:stream";
import type { Context, Next } from "koa";
import { TailgateError } from "../../wire/errors.ts";
import type { HostLogger, RouteHandler } from "../../plugin/index.ts";
import { type AnswerBudget, slicesOf, streamOf, WRITE_BYTES_MAX } from "./response-budget.ts";
import { HttpProblem, type Rejections } from "./rejections.ts";

/** One of the gateway's own pages or resources; all of them are read with GET or HEAD. */
export interface Endpoint {
  readonly path: string;
  /** True for an answer that is small and must come whatever happens. */
  readonly isVital?: boolean;
  /** Sets the answer; an {@link HttpProblem} or FILTER_INVALID that it throws is answered as JSON. */
  answer(context: Context): void | Promise<void>;
}

/**
 * For all answers of the gateway's own. `connect-src 'self'` covers the WebSocket on the same origin (CSP 3, 6.7.2.8).
 * Answers are not stored; what may be says so itself.
 */
const SECURITY_HEADERS = {
  "Content-Security-Policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-store",
};

interface Surroundings {
  readonly budget: AnswerBudget;
  readonly log: HostLogger;
  readonly rejections: Rejections;
}

/** Serves the endpoints with koa, and answers for everything else. */
export function createApplication(
  endpoints: readonly Endpoint[],
  surroundings: Surroundings,
): RouteHandler {
  let application: Promise<RouteHandler> | undefined;
  return async function serveOwn(request, response) {
    application ??= koaApplication(endpoints, surroundings);
    await (
      await application
    )(request, response);
  };
}

/** koa and what it needs, fifty modules, are there from the first request on: a start need not wait for them. */
async function koaApplication(
  endpoints: readonly Endpoint[],
  { budget, log, rejections }: Surroundings,
): Promise<RouteHandler> {
  const { default: Koa } = await import("koa");
  const application = new Koa();
  // What the middleware throws is answered below; this is left for sockets that break while they are written to.
  application.on("error", ignoreError);
  application.use(setSecurityHeaders);
  application.use(answerProblems(log, rejections));
  application.use(serve(new Map(endpoints.map((endpoint) => [endpoint.path, endpoint])), budget));
  return application.callback();
}

function ignoreError(): void {}

function setSecurityHeaders(context: Context, next: Next): Promise<void> {
  context.set(SECURITY_HEADERS);
  return next();
}

function answerProblems(log: HostLogger, rejections: Rejections) {
  return async function answerProblem(context: Context, next: Next): Promise<void> {
    try {
      await next();
    } catch (error) {
      const { status, code, message, retryAfterSeconds } = problemOf(error);
      const rejection = { protocol: "http", status, reason: message } as const;
      if (status === 500) log.error(`${context.method} ${context.path} failed.`, error);
      // A gateway that stops tells so itself.
      else if (code === "STOPPED") rejections.count(context.req, rejection);
      else rejections.add(context.req, rejection);
      if (retryAfterSeconds !== undefined) context.set("Retry-After", String(retryAfterSeconds));
      context.status = status;
      context.body = { error: { code, message } };
    }
  };
}

type Problem = Pick<HttpProblem, "status" | "code" | "message"> &
  Partial<Pick<HttpProblem, "retryAfterSeconds">>;

function problemOf(error: unknown): Problem {
  if (error instanceof HttpProblem) return error;
  if (TailgateError.is(error, "FILTER_INVALID")) {
    return { status: 400, code: error.code, message: error.message };
  }
  // The journal was closed while the answer was looked for.
  if (TailgateError.is(error, "STOPPED")) {
    return { status: 503, code: error.code, message: "The gateway is stopping." };
  }
  const message = "The gateway failed to answer; its log on stderr says why.";
  return { status: 500, code: "INTERNAL", message };
}

function serve(endpoints: ReadonlyMap<string, Endpoint>, budget: AnswerBudget) {
  return async function serveEndpoint(context: Context): Promise<void> {
    const endpoint = endpoints.get(context.path);
    if (!endpoint) throw new HttpProblem(404, "NOT_FOUND", notFoundText(context.path, endpoints));
    if (context.method !== "GET" && context.method !== "HEAD") {
      context.set("Allow", "GET, HEAD");
      const message = `${context.path} can be read with GET, not with ${context.method}.`;
      throw new HttpProblem(405, "METHOD_NOT_ALLOWED", message);
    }
    await endpoint.answer(context);
    if (!endpoint.isVital) account(context, budget);
  };
}

/** Counts the memory of an answer until it is read. Pages of records do so themselves, and the dashboard's files are shared. */
function account(context: Context, budget: AnswerBudget): void {
  const { body } = context;
  if (body === null || body === undefined || body instanceof Readable) return;
  const bytes = bytesOf(body);
  if (bytes !== body) budget.take(budget.open(context.res), bytes.length);
  const isLarge = bytes.length > WRITE_BYTES_MAX;
  context.body = isLarge ? streamOf(slicesOf(bytes)) : bytes;
  context.length = bytes.length;
}

function bytesOf(body: object | string): Buffer {
  if (Buffer.isBuffer(body)) return body;
  return Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
}

function notFoundText(path: string, endpoints: ReadonlyMap<string, Endpoint>): string {
  const known = [...endpoints.keys()].filter((name) => !name.includes("."));
  return `There is nothing at ${JSON.stringify(path)}. There is: ${known.join(", ")}.`;
}
