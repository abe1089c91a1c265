import type { IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import {
  LogStream,
  type LogEntry,
  type MissingRange,
  type StreamEvent,
  type StreamStatus,
  type AccessCode,
  type RawReader,
  type TokenSource,
} from "../client/index.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { FilterQuery } from "../wire/filter.ts";
import type { Start } from "../wire/protocol.ts";

export interface FollowOptions {
  /** The gateway's URL, with the credentials and the query that a proxy may ask for. */
  readonly url: URL;
  /** Default: the credentials of the URL, else TAILGATE_TOKEN. */
  readonly token: TokenSource | undefined;
  readonly filter: FilterQuery;
  readonly start: Start;
  /** Whether entries carry their JSON. */
  readonly raw: RawReader | undefined;
  /** Keep retrying if the first connection fails. */
  readonly waits: boolean;
  /** End when the past records have been received. */
  readonly endsCaughtUp: boolean;
  readonly signal: AbortSignal;
}

/** A gap of the stream, or records that were printed and are no longer in the journal. */
export type ReportedGap = Omit<MissingRange, "reason"> & {
  readonly reason: MissingRange["reason"] | "epoch";
};

/** Where records go. The methods that write return false while the output cannot keep up. */
export interface FollowOutput {
  entry(entry: LogEntry): boolean;
  gap(gap: ReportedGap): boolean;
  /** A frame that is not an envelope, from a server without `tailgate.v1`. */
  unrecognized(text: string): boolean;
  /** Resolves when the output can keep up again. */
  drained(): Promise<void>;
  /** A message to the user. */
  notice(text: string): void;
}

/**
 * Follows a gateway until `signal` aborts, and reconnects when the connection is lost.
 * @throws TailgateError USAGE if the gateway rejects the filter or lacks `tailgate.v1` although the options need it;
 * UNAUTHENTICATED or FORBIDDEN if it rejects the credentials, also those of a stream that was running;
 * GATEWAY_UNREACHABLE if the server rejects the connection, or if the first connection fails and `waits` is false.
 */
export async function follow(options: FollowOptions, output: FollowOutput): Promise<void> {
  const { url, token, filter, start, raw, endsCaughtUp, signal } = options;
  const { promise: ended, resolve: end, reject: fail } = Promise.withResolvers<void>();
  const dialer = new Dialer(url, fail);
  const stream = new LogStream({
    url: withoutQuery(url),
    token,
    filter,
    start,
    raw,
    WebSocket: dialer.WebSocket,
    fetch: dialer.fetch,
  });
  const connection = new ConnectionNotices(options, dialer, output);
  const stopListening = stream.listen((event) => {
    try {
      if (event.type === "status") return connection.update(event.status);
      if (event.type === "error") throw accessError(event.code, url, event.message);
      if (event.type === "caught_up" && endsCaughtUp) {
        stopListening();
        end();
      } else if (!write(event, output)) {
        stream.pause();
        void output.drained().then(() => stream.resume());
      }
    } catch (error) {
      stopListening();
      fail(error);
    }
    return undefined;
  });
  signal.addEventListener("abort", () => end(), { once: true });
  if (signal.aborted) end();
  try {
    await ended;
  } finally {
    stream.close();
  }
}

/** Returns false if the output cannot keep up. */
function write(event: StreamEvent, output: FollowOutput): boolean {
  switch (event.type) {
    case "records":
      return event.entries.map((entry) => output.entry(entry)).every(Boolean);
    case "gap":
      // The connection's notice tells as much about an unknown gap.
      return event.gap.reason === "unknown" || output.gap(event.gap);
    case "reset":
      return output.gap({ from: event.from, to: event.to, reason: "epoch" });
    case "unrecognized":
      return output.unrecognized(event.text);
    case "replay_limited":
      output.notice(
        `the gateway replays at most ${event.replay} records; --since has no such limit`,
      );
      return true;
    case "refused":
      throw rejected(event.reason);
    default:
      return true;
  }
}

/** Tells the user about each lost connection, and once if the first one has to be waited for. */
class ConnectionNotices {
  readonly #options: FollowOptions;
  readonly #dialer: Dialer;
  readonly #output: FollowOutput;
  #isUp = false;
  #wasUp = false;
  /** The user knows that there is no connection. */
  #isAnnounced = false;

  constructor(options: FollowOptions, dialer: Dialer, output: FollowOutput) {
    this.#options = options;
    this.#dialer = dialer;
    this.#output = output;
  }

  /** @throws TailgateError USAGE, GATEWAY_UNREACHABLE */
  update({ state, reason, transport }: StreamStatus): void {
    const { endsCaughtUp, start } = this.#options;
    if (state === "waiting") return this.#down(this.#dialer.failure ?? reason);
    if (state === "connecting" || state === "closed" || this.#isUp) return;
    if (transport === "plain" && (endsCaughtUp || start.since !== undefined)) {
      const text = "--since and --no-follow need tailgate.v1, which this gateway does not support.";
      throw new TailgateError("USAGE", text);
    }
    this.#up(transport === "plain");
  }

  #up(isPlain: boolean): void {
    if (this.#isAnnounced) {
      const loss = isPlain ? "; records in between may be missing" : "";
      this.#output.notice(this.#wasUp ? `connected again${loss}` : "connected");
    }
    this.#isUp = true;
    this.#wasUp = true;
    this.#isAnnounced = false;
  }

  #down(reason: string): void {
    const { url, waits } = this.#options;
    const why = reason.replace(/\.$/, "");
    if (!this.#wasUp && !waits) throw unreachable(url, why);
    const cause = why === "Connection lost" ? "" : ` (${why})`;
    if (this.#isUp) this.#output.notice(`connection lost${cause}, retrying`);
    else if (!this.#isAnnounced) this.#output.notice(`waiting (${why})`);
    this.#isUp = false;
    this.#isAnnounced = true;
  }
}

const REJECTION_CHARACTERS_MAX = 4_096;

/** What the client passes to the class of its WebSockets: the credentials. */
interface SocketHeaders {
  readonly headers: Readonly<Record<string, string>>;
}

/** How the ws package reports a server without the subprotocol. */
const NO_SUBPROTOCOL = "Server sent no subprotocol";

/** Finds out within minutes that the peer of an idle connection is gone, also without `tailgate.v1`. */
const KEEP_ALIVE_DELAY_MS = 20_000;

/** The client's connections, over ws: with the query of the URL, and with the reasons of failures. */
class Dialer {
  readonly WebSocket: typeof globalThis.WebSocket;
  readonly fetch: typeof globalThis.fetch;
  readonly #url: URL;
  readonly #fail: (error: TailgateError) => void;
  /** Why the last attempt failed, if ws says so. */
  failure: string | undefined;

  /** `fail` is called when the server rejects the connection for good. */
  constructor(url: URL, fail: (error: TailgateError) => void) {
    this.#url = url;
    this.#fail = fail;
    const connect = this.#connect.bind(this);
    this.WebSocket = function Socket(
      address: string,
      subprotocols: string[],
      options: SocketHeaders,
    ) {
      return connect(address, subprotocols, options);
    } as unknown as typeof globalThis.WebSocket;
    this.fetch = (address, init) => fetch(this.#completed(address as string), init);
  }

  #connect(address: string, subprotocols: string[], { headers }: SocketHeaders): WebSocket {
    const target = this.#completed(address);
    this.failure = undefined;
    const socket = new WebSocket(target, subprotocols, { headers, perMessageDeflate: false });
    socket.on("upgrade", (response) => response.socket.setKeepAlive(true, KEEP_ALIVE_DELAY_MS));
    socket.on("error", (error) => {
      if (error.message !== NO_SUBPROTOCOL) this.failure ??= errorText(error);
    });
    socket.on("unexpected-response", (_, response) => void this.#rejected(socket, response));
    return socket;
  }

  async #rejected(socket: WebSocket, response: IncomingMessage): Promise<void> {
    const { statusCode: status = 0 } = response;
    const text = await readRejection(response);
    this.failure = `HTTP ${status}: ${text}`;
    const challenge = response.headers["www-authenticate"] ?? "";
    const isGateways = challenge.startsWith("Bearer");
    if (status === 401 && !isGateways) {
      this.failure += ", which needs a login: --url wss://USER:PASSWORD@HOST";
    }
    const why = isGateways ? text : this.failure;
    if (status === 401) this.#fail(accessError("UNAUTHENTICATED", this.#url, why));
    else if (status === 403 && isGateways) this.#fail(accessError("FORBIDDEN", this.#url, why));
    else if (status === 400) this.#fail(rejected(text));
    // Unless a retry may help.
    else if (status < 500 && status !== 429)
      this.#fail(unreachable(this.#url, this.failure.replace(/\.$/, "")));
    socket.terminate();
  }

  /** Adds the query of the user's URL to a URL of the client. */
  #completed(address: string): URL {
    const url = new URL(address);
    for (const [name, value] of this.#url.searchParams) url.searchParams.append(name, value);
    return url;
  }
}

/** Returns the reason that the gateway gives as plain text. Of a proxy's HTML page, the status has to do. */
async function readRejection(response: IncomingMessage): Promise<string> {
  if (response.headers["content-type"]?.startsWith("text/html")) return response.statusMessage!;
  let text = "";
  try {
    for await (const chunk of response) {
      text += String(chunk);
      if (text.length > REJECTION_CHARACTERS_MAX) break;
    }
  } catch {
    // What has been received has to do.
  }
  return text.slice(0, REJECTION_CHARACTERS_MAX).trim();
}

function rejected(reason: string): TailgateError {
  return new TailgateError("USAGE", `The gateway rejected the request: ${reason}`);
}

function unreachable(url: URL, reason: string): TailgateError {
  const text = `No gateway answers at ${addressOf(url)}: ${reason}.`;
  return new TailgateError("GATEWAY_UNREACHABLE", text);
}

/** `reason`: what the gateway says, with or without a full stop. */
function accessError(code: AccessCode, url: URL, reason: string): TailgateError {
  const what = code === "FORBIDDEN" ? "does not permit reading" : "rejected the credentials";
  const text = `The gateway at ${addressOf(url)} ${what}: ${reason.replace(/\.$/, "")}.`;
  return new TailgateError(code, text);
}

function withoutQuery(url: URL): URL {
  const target = new URL(url);
  target.search = "";
  return target;
}

/** Returns the URL without credentials and query, which may be secret. */
function addressOf({ protocol, host, pathname }: URL): string {
  return `${protocol}//${host}${pathname}`;
}

/** How Node.js reports certificates of authorities that it does not know. */
const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** Node reports the errors of all addresses of a host name together, without a message. */
function errorText(error: Error): string {
  if (error instanceof AggregateError && error.message === "") {
    return error.errors.map(textOf).join(", ");
  }
  const { code = "" } = error as NodeJS.ErrnoException;
  if (UNKNOWN_AUTHORITY.has(code)) {
    return `the authority of its certificate is unknown (${code}); set NODE_EXTRA_CA_CERTS to the file of the authority`;
  }
  return error.message;
}
