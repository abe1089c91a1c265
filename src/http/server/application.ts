import { Readable } from "node:stream";
import type { Context, Next } from "koa";
import type {
  Access,
  AddressedRequest,
  HostLogger,
  RouteAccess,
  RouteHandler,
} from "../../plugin/index.ts";
import { TailgateError } from "../../wire/errors.ts";
import { compressBody } from "./content-coding.ts";
import { pathOf } from "./guard.ts";
import { publicBase } from "../../auth/proxies/public-base.ts";
import { INVALID_CREDENTIALS_CHALLENGE } from "../../auth/refusals.ts";
import { HttpError, type Rejections } from "./rejections.ts";
import { chunksOf, streamOf, WRITE_BYTES_MAX, type ResponseBudget } from "./response-budget.ts";

/** One of the gateway's own pages or resources. */
export interface Endpoint {
  /** A path may have one name in braces, such as `/{id}`, which stands for one segment. Several endpoints may have the same path. */
  readonly path: string;
  /** Default: GET, which includes HEAD. */
  readonly method?: "GET" | "POST" | "DELETE";
  /** Who may use it if authentication is on. The server checks that before it calls `respond`. */
  readonly access: RouteAccess;
  /** True if the response is small and must not be limited by the memory of others. */
  readonly isVital?: boolean;
  /** Sets the response. An {@link HttpError} or FILTER_INVALID that it throws becomes a JSON response. */
  respond(context: Context, request: EndpointRequest): void | Promise<void>;
}

/** What an endpoint needs to know of a request beside its context. */
interface EndpointRequest {
  /** Who makes the request. */
  readonly access: Access;
  /** The segment that the name in braces stands for, percent-decoded; "" if the path has none. */
  readonly id: string;
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
  readonly accessOf: (request: AddressedRequest) => Access;
  readonly budget: ResponseBudget;
  readonly log: HostLogger;
  readonly rejections: Rejections;
}

/** Returns the handler of the gateway's own endpoints and of all paths that no one serves. */
export function createApplication(
  endpoints: EndpointTable,
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
  endpoints: EndpointTable,
  { accessOf, budget, log, rejections }: ApplicationOptions,
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
  application.use(serve(endpoints, accessOf, budget));
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
      if (status === 401) context.set("WWW-Authenticate", INVALID_CREDENTIALS_CHALLENGE);
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

function serve(
  endpoints: EndpointTable,
  accessOf: ApplicationOptions["accessOf"],
  budget: ResponseBudget,
) {
  return async function serveEndpoint(context: Context): Promise<void> {
    const { method } = context;
    // Not koa's path, which is parsed differently: the server has authorized this one.
    const path = pathOf(context.req.url!);
    const { candidates, id } = endpoints.at(path);
    if (candidates.length === 0) {
      const { path: base } = publicBase(context.req);
      throw new HttpError(404, "NOT_FOUND", endpoints.notFoundText(path, base));
    }
    const endpoint = candidates.find((candidate) => methodsOf(candidate).includes(method));
    if (endpoint === undefined) {
      const methods = candidates.flatMap(methodsOf);
      context.set("Allow", methods.join(", "));
      const message = `${path} supports ${methods.join(" and ")}, not ${method}.`;
      throw new HttpError(405, "METHOD_NOT_ALLOWED", message);
    }
    await endpoint.respond(context, { access: accessOf(context.req), id });
    if (endpoint.isVital) return;
    reserveMemory(context, budget);
    compressBody(context, budget);
  };
}

function methodsOf({ method = "GET" }: Endpoint): string[] {
  return method === "GET" ? ["GET", "HEAD"] : [method];
}

/** The endpoints of a path. */
interface FoundEndpoints {
  /** One for each method; empty if there is nothing at the path. */
  readonly candidates: readonly Endpoint[];
  readonly id: string;
}

/** The segment that may be any. */
const ANY_SEGMENT = /\/\{\w+\}/;

/** Endpoints of which one segment of the path may be any. */
interface OpenEndpoints {
  /** What precedes and what follows the segment. */
  readonly before: string;
  readonly after: string;
  readonly candidates: readonly Endpoint[];
}

/** Finds endpoints by the path of a request. */
export class EndpointTable {
  readonly #byPath: ReadonlyMap<string, readonly Endpoint[]>;
  readonly #open: readonly OpenEndpoints[];

  constructor(endpoints: readonly Endpoint[]) {
    this.#byPath = Map.groupBy(endpoints, ({ path }) => path);
    this.#open = [...this.#byPath]
      .filter(([path]) => ANY_SEGMENT.test(path))
      .map(([path, candidates]) => {
        const [before, after] = path.split(ANY_SEGMENT) as [string, string];
        return { before: `${before}/`, after, candidates };
      });
  }

  at(path: string): FoundEndpoints {
    const exact = this.#byPath.get(path);
    if (exact !== undefined) return { candidates: exact, id: "" };
    for (const { before, after, candidates } of this.#open) {
      if (!path.startsWith(before) || !path.endsWith(after)) continue;
      const segment = path.slice(before.length, path.length - after.length);
      const id = segment.includes("/") ? "" : decodedSegment(segment);
      if (id !== "") return { candidates, id };
    }
    return { candidates: [], id: "" };
  }

  /** Returns the path of the endpoints that serve a path; undefined if there is nothing. */
  routeOf(path: string): string | undefined {
    return this.at(path).candidates[0]?.path;
  }

  /** Returns who may use the path with the method; everyone may be told that there is nothing. */
  accessOf(path: string, method: string): RouteAccess {
    const { candidates } = this.at(path);
    const endpoint = candidates.find((candidate) => methodsOf(candidate).includes(method));
    return endpoint?.access ?? "public";
  }

  /** `base`: what precedes the paths for the client. */
  notFoundText(path: string, base: string): string {
    const names = [...this.#byPath.keys()].filter((name) => !name.includes("."));
    const paths = names.map((name) => base + name);
    return `There is nothing at ${JSON.stringify(base + path)}. Available paths: ${paths.join(", ")}.`;
  }
}

/** Returns "" for a segment that cannot be decoded: there is nothing at such a path. */
function decodedSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return "";
  }
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
