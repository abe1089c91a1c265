import { SUBPROTOCOL } from "../wire/protocol.ts";
import { pageAddress } from "./browser-page.ts";

const SOCKET_PATH = "/ws/logs";
const HISTORY_PATH = "/api/logs";

/** A gateway's URLs. */
export interface Endpoints {
  /** Of the WebSocket. */
  readonly socket: URL;
  /** The WebSocket's URL for a plain HTTP request. */
  readonly probe: URL;
  readonly history: URL;
}

/**
 * Returns a gateway's URLs. Accepts its base URL (`http://127.0.0.1:8001`, `https://example.com/tailgate`), the URL of
 * its WebSocket (`ws://127.0.0.1:8001/ws/logs`), and `/` or `./` on one of its own pages.
 * @throws TypeError if it is not such a URL.
 */
export function parseGatewayUrl(given: string | URL): Endpoints {
  const url = new URL(given, pageAddress());
  if (!/^(ws|http)s?:$/.test(url.protocol)) {
    throw new TypeError(
      `${displayUrl(url)} is not a gateway URL, such as ws://127.0.0.1:8001/ws/logs.`,
    );
  }
  // Browsers cannot send credentials with a WebSocket, and `fetch` rejects them.
  if (url.username !== "" || url.password !== "") {
    throw new TypeError(
      `${displayUrl(url)} contains credentials, which cannot be sent: remove them.`,
    );
  }
  if (url.search !== "") {
    throw new TypeError(
      `${displayUrl(url)} has a query: use the options filter and start instead.`,
    );
  }
  url.hash = "";
  const path = socketPath(url);
  const prefix = path.endsWith(SOCKET_PATH) ? path.slice(0, -SOCKET_PATH.length) : "";
  const isSecure = url.protocol === "wss:" || url.protocol === "https:";
  const urlOf = (scheme: string, pathname: string): URL =>
    new URL(`${scheme}${isSecure ? "s" : ""}://${url.host}${pathname}`);
  return {
    socket: urlOf("ws", path),
    probe: urlOf("http", path),
    history: urlOf("http", `${prefix}${HISTORY_PATH}`),
  };
}

/**
 * Returns the path of the WebSocket that a gateway URL names. The path of an http or https URL, and one that ends with a
 * slash, is the gateway's base path.
 */
export function socketPath({ protocol, pathname }: Pick<URL, "protocol" | "pathname">): string {
  const isBase = pathname.endsWith("/") || protocol.startsWith("http");
  if (!isBase || pathname.endsWith(SOCKET_PATH)) return pathname;
  return `${pathname.replace(/\/$/, "")}${SOCKET_PATH}`;
}

/** Returns the URL without credentials and query, which an error must not reveal. */
function displayUrl({ protocol, host, pathname }: URL): string {
  return `${protocol}//${host}${pathname}`;
}

const PROBE_TIMEOUT_MS = 10_000;
const EXPLANATION_CHARACTERS_MAX = 2_000;

/** The statuses below 500 that mean that the server rejects this client. */
const REJECTIONS = new Set([400, 401, 403, 407, 429]);

/** Why a WebSocket did not open. */
export interface Diagnosis {
  /**
   * `absent`: nothing answers. `rejected`: the server rejects this client. `blocked`: a gateway with the subprotocol
   * answers and would accept the client, so something in between blocks WebSockets. `older`: the server that answers may
   * be a gateway without the subprotocol. `hidden`: a server answers, but the browser hides the response from this page.
   */
  readonly kind: "absent" | "rejected" | "blocked" | "older" | "hidden";
  /** In words. */
  readonly reason: string;
}

/** Finds out why a WebSocket did not open, with a plain request, because browsers do not tell their pages. */
export async function diagnose(
  probe: URL,
  fetcher: typeof fetch,
  signal: AbortSignal,
): Promise<Diagnosis> {
  return withTimeLimit(PROBE_TIMEOUT_MS, signal, async (limit) => {
    // POST: browsers send the page's origin with it, as with a WebSocket and unlike with GET.
    const request = { method: "POST", cache: "no-store", signal: limit } as const;
    try {
      return await diagnosisOf(await fetcher(probe.href, request));
    } catch {
      const page = pageAddress();
      const isCrossOrigin = page !== undefined && new URL(page).origin !== probe.origin;
      const answers = (): Promise<boolean> =>
        fetcher(probe.href, { ...request, mode: "no-cors", credentials: "omit" }).then(
          () => true,
          () => false,
        );
      return isCrossOrigin && (await answers())
        ? { kind: "hidden", reason: hiddenText(new URL(page)) }
        : { kind: "absent", reason: absentText(probe) };
    }
  });
}

/** Calls `work` with a signal that aborts after this time, and when `signal` does. */
export async function withTimeLimit<Result>(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  work: (limit: AbortSignal) => Promise<Result>,
): Promise<Result> {
  // AbortSignal.any would live as long as the other signal, and AbortSignal.timeout until it expires.
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  const timer = setTimeout(abort, timeoutMs);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

async function diagnosisOf(response: Response): Promise<Diagnosis> {
  const { status, headers } = response;
  const text = await readExplanation(response);
  if (status >= 500 || REJECTIONS.has(status)) {
    return { kind: "rejected", reason: text || `The server responded with HTTP ${status}.` };
  }
  return {
    kind: headers.get("Sec-WebSocket-Protocol") === SUBPROTOCOL ? "blocked" : "older",
    reason:
      "The gateway answers, but WebSocket connections to it fail: a proxy, a firewall or a browser extension may block them.",
  };
}

/** Returns what the gateway says, as plain text or as the message of an error. The HTML page of a proxy is of no use. */
async function readExplanation(response: Response): Promise<string> {
  const type = response.headers.get("Content-Type") ?? "";
  const text = await readBeginning(response);
  if (type.startsWith("text/plain")) return text.trim();
  if (!type.startsWith("application/json")) return "";
  try {
    const { error } = JSON.parse(text) as { error?: { message?: unknown } };
    return typeof error?.message === "string" ? error.message : "";
  } catch {
    return "";
  }
}

async function readBeginning({ body }: Response): Promise<string> {
  if (body === null) return "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (text.length < EXPLANATION_CHARACTERS_MAX) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
  }
  await reader.cancel();
  return text.slice(0, EXPLANATION_CHARACTERS_MAX);
}

function hiddenText({ origin }: URL): string {
  return `The gateway answers, but this page cannot connect: its origin ${origin} may be missing from allowed_hosts, or all connections are in use. See the gateway's log.`;
}

function absentText({ origin }: URL): string {
  const { onLine } = (globalThis as { navigator?: { onLine?: boolean } }).navigator ?? {};
  return onLine === false ? "This device is offline." : `No gateway answers at ${origin}.`;
}
