import { Readable } from "node:stream";
import type { Context, Next } from "koa";
import type { HostLogger, RouteHandler } from "../../plugin/index.ts";
import { TailgateError } from "../../wire/errors.ts";
import { HttpError, type Rejections } from "./rejections.ts";
import { chunksOf, streamOf, WRITE_BYTES_MAX, type ResponseBudget } from "./response-budget.ts";

/** One of the gateway's own pages or resources; all of them are read with GET or HEAD. */
export interface Endpoint {
  readonly path: string;
  /** True if the response is small and must not be limited by the memory of others. */
  readonly isVital?: boolean;
  /** Sets the response. An {@link HttpError} or FILTER_INVALID that it throws becomes a JSON response. */
  respond(context: Context): void | Promise<void>;
}

/**
 * Headers of all responses of the gateway itself. `connect-src 'self'` includes WebSockets to the same origin (CSP 3,
 * 6.7.2.8). Responses that may be cached override Cache-Control.
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

interface ApplicationOptions {
  readonly budget: ResponseBudget;
  readonly log: HostLogger;
  readonly rejections: Rejections;
}

/** Returns the handler of the gateway's own endpoints and of all paths that no one serves. */
export function createApplication(
  endpoints: readonly Endpoint[],
  options: ApplicationOptions,
): RouteHandler {
  let application: Promise<RouteHandler> | undefined;
  return async (request, response) => {
    const serveRequest = await (application ??= createKoa(endpoints, options));
    await serveRequest(request, response);
  };
}

/** Loads koa with the first request: its fifty modules would delay the start. */
async function createKoa(
  endpoints: readonly Endpoint[],
  { budget, log, rejections }: ApplicationOptions,
): Promise<RouteHandler> {
  const { default: Koa } = await import("koa");
  const application = new Koa();
  // Middleware errors are handled below; the only ones left are those of sockets that break during a write.
  application.on("error", () => {});
  application.use((context, next) => {
    context.set(SECURITY_HEADERS);
    return next();
  });
  application.use(handleErrors(log, rejections));
  application.use(serve(new Map(endpoints.map((endpoint) => [endpoint.path, endpoint])), budget));
  return application.callback();
}

function handleErrors(log: HostLogger, rejections: Rejections) {
  return async function handleError(context: Context, next: Next): Promise<void> {
    try {
      await next();
    } catch (error) {
      const { status, code, message, retryAfterSeconds } = toHttpError(error);
      const rejection = { protocol: "http", status, reason: message } as const;
      if (status === 500) log.error(`${context.method} ${context.path} failed.`, error);
      // A stopping gateway logs that itself.
      else if (code === "STOPPED") rejections.count(context.req, rejection);
      else rejections.add(context.req, rejection);
      if (retryAfterSeconds !== undefined) context.set("Retry-After", String(retryAfterSeconds));
      context.status = status;
      context.body = { error: { code, message } };
    }
  };
}

function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (TailgateError.is(error, "FILTER_INVALID")) {
    return new HttpError(400, error.code, error.message);
  }
  // The journal was closed during the search.
  if (TailgateError.is(error, "STOPPED")) {
    return new HttpError(503, error.code, "The gateway is stopping.");
  }
  const message = "The gateway failed to handle the request; see its log on stderr.";
  return new HttpError(500, "INTERNAL", message);
}

function serve(endpoints: ReadonlyMap<string, Endpoint>, budget: ResponseBudget) {
  return async function serveEndpoint(context: Context): Promise<void> {
    const endpoint = endpoints.get(context.path);
    if (!endpoint) throw new HttpError(404, "NOT_FOUND", notFoundText(context.path, endpoints));
    if (context.method !== "GET" && context.method !== "HEAD") {
      context.set("Allow", "GET, HEAD");
      const message = `${context.path} supports GET and HEAD, not ${context.method}.`;
      throw new HttpError(405, "METHOD_NOT_ALLOWED", message);
    }
    await endpoint.respond(context);
    if (!endpoint.isVital) reserveMemory(context, budget);
  };
}

/**
 * Counts the memory of a response until it is read. Pages of records count theirs themselves, and the memory of the
 * dashboard's files is shared.
 */
function reserveMemory(context: Context, budget: ResponseBudget): void {
  const { body } = context;
  if (body === null || body === undefined || body instanceof Readable) return;
  const bytes = toBytes(body);
  if (bytes !== body) budget.reserve(budget.open(context.res), bytes.length);
  const isLarge = bytes.length > WRITE_BYTES_MAX;
  context.body = isLarge ? streamOf(chunksOf(bytes)) : bytes;
  context.length = bytes.length;
}

function toBytes(body: object | string): Buffer {
  if (Buffer.isBuffer(body)) return body;
  return Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
}

function notFoundText(path: string, endpoints: ReadonlyMap<string, Endpoint>): string {
  const paths = [...endpoints.keys()].filter((name) => !name.includes("."));
  return `There is nothing at ${JSON.stringify(path)}. Available paths: ${paths.join(", ")}.`;
}
