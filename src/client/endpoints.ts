import { pageAddress } from "./browser-page.ts";
import { SUBPROTOCOL } from "../wire/protocol.ts";

const SOCKET_PATH = "/ws/logs";
const HISTORY_PATH = "/api/logs";

/** Where a gateway is reached. */
export interface Addresses {
  /** Of the WebSocket. */
  readonly socket: URL;
  /** The same place, for a plain request. */
  readonly endpoint: URL;
  readonly history: URL;
}

/**
 * Takes the gateway's own address (`http://127.0.0.1:8001`), that of its WebSocket (`ws://127.0.0.1:8001/ws/logs`), and
 * on a page of the gateway `/`. A proxy may put a path in front of both.
 * @throws TypeError where it is no such address.
 */
export function addressesOf(given: string | URL): Addresses {
  const url = new URL(given, pageAddress());
  if (!/^(ws|http)s?:$/.test(url.protocol)) {
    throw new TypeError(
      `${shown(url)} is no address of a gateway, such as ws://127.0.0.1:8001/ws/logs.`,
    );
  }
  // Browsers have no way to send them with a WebSocket, and `fetch` rejects them.
  if (url.username !== "" || url.password !== "") {
    throw new TypeError(
      `${shown(url)} has a user or a password, which cannot be sent: remove them.`,
    );
  }
  if (url.search !== "") {
    throw new TypeError(`${shown(url)} has a query: filter and start are options of their own.`);
  }
  url.hash = "";
  const path = url.pathname.endsWith("/")
    ? `${url.pathname.slice(0, -1)}${SOCKET_PATH}`
    : url.pathname;
  const prefix = path.endsWith(SOCKET_PATH) ? path.slice(0, -SOCKET_PATH.length) : "";
  const isSecure = url.protocol === "wss:" || url.protocol === "https:";
  const at = (scheme: string, place: string): URL =>
    new URL(`${scheme}${isSecure ? "s" : ""}://${url.host}${place}`);
  return {
    socket: at("ws", path),
    endpoint: at("http", path),
    history: at("http", `${prefix}${HISTORY_PATH}`),
  };
}

/** The URL without user, password and query, which an error must not show. */
function shown({ protocol, host, pathname }: URL): string {
  return `${protocol}//${host}${pathname}`;
}

const ANSWER_MS_MAX = 10_000;
const ANSWER_CHARACTERS_MAX = 2_000;

/** Where a server refuses for now, or for good; other answers than these leave the way open. */
const REFUSALS = new Set([400, 401, 403, 407, 429]);

export interface Finding {
  /**
   * `absent`: nobody answers. `refused`: this viewer is not let in. `willing`: a gateway with the subprotocol would take
   * it, so that something on the way is in the way. `older`: somebody answers who may be an older gateway. `hidden`:
   * somebody answers, and the browser hides from this page what.
   */
  readonly kind: "absent" | "refused" | "willing" | "older" | "hidden";
  /** In words. */
  readonly reason: string;
}

/** Finds out why a WebSocket did not open: a browser does not tell its page, so that a plain request is made. */
export async function diagnose(
  endpoint: URL,
  fetcher: typeof fetch,
  signal: AbortSignal,
): Promise<Finding> {
  // AbortSignal.any would stay as long as the stream, and AbortSignal.timeout for all of its time.
  const look = new AbortController();
  const giveUp = (): void => look.abort();
  const timer = setTimeout(giveUp, ANSWER_MS_MAX);
  signal.addEventListener("abort", giveUp);
  if (signal.aborted) giveUp();
  try {
    return await findingWithin({ signal: look.signal }, endpoint, fetcher);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", giveUp);
  }
}

async function findingWithin(
  options: RequestInit,
  endpoint: URL,
  fetcher: typeof fetch,
): Promise<Finding> {
  try {
    // With a POST, as with a WebSocket and not with a GET, browsers send the page's origin.
    return await findingOf(await ask(endpoint, fetcher, options));
  } catch {
    return isForeign(endpoint) && (await answersAtAll(endpoint, fetcher, options))
      ? { kind: "hidden", reason: hiddenText() }
      : { kind: "absent", reason: absentText(endpoint) };
  }
}

function ask(endpoint: URL, fetcher: typeof fetch, options: RequestInit): Promise<Response> {
  return fetcher(endpoint.href, { method: "POST", cache: "no-store", ...options });
}

async function findingOf(response: Response): Promise<Finding> {
  const { status, headers } = response;
  const text = await explanationOf(response);
  if (status >= 500 || REFUSALS.has(status)) {
    return { kind: "refused", reason: text || `The server answers HTTP ${status}.` };
  }
  const kind = headers.get("Sec-WebSocket-Protocol") === SUBPROTOCOL ? "willing" : "older";
  return { kind, reason: BLOCKED };
}

const BLOCKED =
  "The gateway answers, but a WebSocket to it does not open: a proxy, a firewall or a browser extension may be in the way.";

/** What the gateway says as plain text or as the message of an error; a proxy's page is not for people here. */
async function explanationOf(response: Response): Promise<string> {
  const type = response.headers.get("Content-Type") ?? "";
  const text = await beginningOf(response);
  if (type.startsWith("text/plain")) return text.trim();
  if (!type.startsWith("application/json")) return "";
  try {
    const { error } = JSON.parse(text) as { error?: { message?: unknown } };
    return typeof error?.message === "string" ? error.message : "";
  } catch {
    return "";
  }
}

async function beginningOf({ body }: Response): Promise<string> {
  if (body === null) return "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (text.length < ANSWER_CHARACTERS_MAX) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
  }
  await reader.cancel();
  return text.slice(0, ANSWER_CHARACTERS_MAX);
}

function isForeign(endpoint: URL): boolean {
  const page = pageAddress();
  return page !== undefined && new URL(page).origin !== endpoint.origin;
}

function answersAtAll(
  endpoint: URL,
  fetcher: typeof fetch,
  options: RequestInit,
): Promise<boolean> {
  const answer = ask(endpoint, fetcher, { ...options, mode: "no-cors", credentials: "omit" });
  return answer.then(
    () => true,
    () => false,
  );
}

function hiddenText(): string {
  const { origin } = new URL(pageAddress()!);
  return `The gateway answers, but does not let this page connect: its origin ${origin} may be missing in allowed_hosts, or all connections are taken. The gateway's log says which.`;
}

function absentText({ origin }: URL): string {
  const { onLine } = (globalThis as { navigator?: { onLine?: boolean } }).navigator ?? {};
  return onLine === false ? "This device is offline." : `No gateway answers at ${origin}.`;
}
