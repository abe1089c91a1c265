import { SUBPROTOCOL, TICKET_PREFIX } from "../wire/protocol.ts";
import { accessHeaders, type AccessHeaders, type TokenSource } from "./access.ts";
import { pageAddress } from "./browser-page.ts";
import { parseGatewayUrl, withQuery, type Endpoints } from "./endpoints.ts";
import { ANSWER_TIMEOUT_MS, withTimeLimit } from "./timing.ts";

/** Where a gateway is, and what it is given as credentials. */
export interface GatewayOptions {
  /**
   * The gateway, such as `http://127.0.0.1:8001` or `ws://127.0.0.1:8001/ws/logs`; on a page of the gateway `/`. A user and
   * a password in it are sent as a header.
   */
  readonly url: string | URL;
  /**
   * The token for a gateway that requires one, or a function that returns the current one, called for each connection and
   * each request. Default: the user and the password of the URL, else, in Node, the environment variable TAILGATE_TOKEN. A
   * page of the gateway needs none: the browser sends its session.
   */
  readonly token?: TokenSource | undefined;
  /** Default: the platform's. */
  readonly fetch?: typeof fetch | undefined;
}

const EXPLANATION_CHARACTERS_MAX = 2_000;

/** The statuses below 500 that mean that the server rejects this client. */
const REJECTIONS = new Set([400, 401, 403, 407, 429]);

/** Why a WebSocket did not open. */
export interface Diagnosis {
  /**
   * `blocked`: a gateway with the subprotocol answers and would accept the client, so something in between blocks
   * WebSockets. `older`: the server that answers may be a gateway without the subprotocol. `hidden`: a server answers, but
   * the browser hides the response from this page. Undefined: nothing answers, or the server rejects this client.
   */
  readonly kind?: "blocked" | "older" | "hidden";
  /** In words. */
  readonly reason: string;
  /** Set if the credentials are the reason, so that a retry with the same ones cannot help. */
  readonly code?: AccessCode | undefined;
}

/** `UNAUTHENTICATED`: the gateway does not accept the credentials; `FORBIDDEN`: they do not permit this. */
export type AccessCode = "UNAUTHENTICATED" | "FORBIDDEN";

/** How WebSockets are opened. */
interface SocketOptions {
  readonly WebSocket?: typeof WebSocket | undefined;
  readonly ticket?: (() => string | Promise<string>) | undefined;
}

/** A gateway, for requests and connections with the credentials. */
export class Gateway {
  readonly endpoints: Endpoints;
  /** Returns the headers that authenticate a request. Rejects if the token cannot be obtained. */
  readonly headers: () => Promise<AccessHeaders>;
  readonly #fetch: typeof fetch;
  readonly #WebSocket: typeof WebSocket;
  readonly #ticket: SocketOptions["ticket"];
  /** What authenticates the next WebSocket; pages cannot send headers. */
  #headers: AccessHeaders = {};
  #tickets: readonly string[] = [];

  /** @throws TypeError if `url` is not a gateway's URL. */
  constructor(options: GatewayOptions & SocketOptions) {
    this.endpoints = parseGatewayUrl(options.url);
    this.headers = accessHeaders(options.token, this.endpoints.authorization);
    this.#fetch = options.fetch ?? fetch;
    this.#WebSocket = options.WebSocket ?? WebSocket;
    this.#ticket = options.ticket;
  }

  /** Sends a request; rejects as `fetch` does. */
  request({ href }: URL, init: RequestInit): Promise<Response> {
    // A browser's fetch must not be called as a method.
    const fetcher = this.#fetch;
    return fetcher(href, { cache: "no-store", ...init });
  }

  /**
   * Obtains what authenticates the next WebSocket. That of a page gets a single-use ticket, as a subprotocol: its own, or
   * one for the token. Returns the gateway's answer to the request for a ticket; if it issues none, `diagnose` says more.
   */
  async authenticate(signal: AbortSignal): Promise<Diagnosis | undefined> {
    const own = await this.#ticket?.();
    this.#tickets = own ? [TICKET_PREFIX + own] : [];
    this.#headers = await this.headers();
    if (own || pageAddress() === undefined || !this.#headers["Authorization"]) return undefined;
    // Beside `/api/logs`.
    const tickets = new URL("tickets", this.endpoints.history);
    const answer = await this.#post(tickets, signal).catch(() => undefined);
    const { ticket } = (parseJson(answer?.text) ?? {}) as { ticket?: string };
    if (ticket) this.#tickets = [TICKET_PREFIX + ticket];
    return answer && diagnosisOf(answer);
  }

  /** Opens a WebSocket after `authenticate`. */
  open(subprotocols: readonly string[], parameters: object = {}): WebSocket {
    const Socket = this.#WebSocket as unknown as new (...options: unknown[]) => WebSocket;
    const headers = this.#headers;
    const protocols = [...subprotocols, ...this.#tickets];
    // Node's own class takes headers beside the subprotocols, that of the ws package after them.
    const isNodes = this.#WebSocket === WebSocket && pageAddress() === undefined;
    const { href } = withQuery(this.endpoints.socket, parameters);
    return new Socket(href, isNodes ? { protocols, headers } : protocols, { headers });
  }

  /** Finds out why a WebSocket did not open, with a plain request, because browsers do not tell their pages. */
  async diagnose(signal: AbortSignal): Promise<Diagnosis> {
    const { probe } = this.endpoints;
    try {
      return diagnosisOf(await this.#post(probe, signal));
    } catch {
      const page = pageAddress();
      const isCrossOrigin = page !== undefined && new URL(page).origin !== probe.origin;
      const answer =
        isCrossOrigin &&
        (await this.#post(probe, signal, { mode: "no-cors", credentials: "omit" }).catch(() => {}));
      return answer
        ? { kind: "hidden", reason: hiddenText(new URL(page)) }
        : { reason: absentText(probe) };
    }
  }

  /** POST: browsers send the page's origin with it, as with a WebSocket and unlike with GET. */
  #post(url: URL, signal: AbortSignal, init?: RequestInit): Promise<Answer> {
    return withTimeLimit(ANSWER_TIMEOUT_MS, signal, async (limit) => {
      const headers = this.#headers;
      const response = await this.request(url, { method: "POST", headers, signal: limit, ...init });
      return { response, text: await readBeginning(response) };
    });
  }
}

interface Answer {
  readonly response: Response;
  /** The beginning of the body. */
  readonly text: string;
}

function diagnosisOf({ response, text }: Answer): Diagnosis {
  const { status, headers } = response;
  if (status >= 500 || REJECTIONS.has(status)) {
    const reason = explanation(headers, text) || `The server responded with HTTP ${status}.`;
    return { reason, code: accessCode(response) };
  }
  return {
    kind: headers.get("Sec-WebSocket-Protocol") === SUBPROTOCOL ? "blocked" : "older",
    reason:
      "The gateway answers, but WebSocket connections to it fail: a proxy, a firewall or a browser extension may block them.",
  };
}

/** Without the header, 403 is not about credentials: the gateway does not accept the page's origin. */
function accessCode({ status, headers }: Response): AccessCode | undefined {
  if (status === 401) return "UNAUTHENTICATED";
  return status === 403 && headers.has("WWW-Authenticate") ? "FORBIDDEN" : undefined;
}

/** Returns what the gateway says, as plain text or as the message of an error. The HTML page of a proxy is of no use. */
function explanation(headers: Headers, text: string): string {
  const isPlain = headers.get("Content-Type")?.startsWith("text/plain");
  return isPlain ? text.trim() : (errorOf(text).message ?? "");
}

/** Returns the error in the body of a response of the gateway's API; another body has none. */
export function errorOf(body: string): { readonly code?: string; readonly message?: string } {
  const { error } = (parseJson(body) ?? {}) as { error?: ReturnType<typeof errorOf> };
  return error ?? {};
}

/** Returns undefined if the text is not JSON. */
export function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text!);
  } catch {
    return undefined;
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
