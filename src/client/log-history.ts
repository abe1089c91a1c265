import type { RawReader } from "./raw-json.ts";
import type { Envelope } from "../wire/envelope.ts";
import type { FilterQuery } from "../wire/filter.ts";
import { withQuery } from "./endpoints.ts";
import { errorOf, Gateway, parseJson, type GatewayOptions } from "./gateway.ts";
import { parseGap, type ReceivedGap } from "./position.ts";
import type { LogEntry, MissingRange } from "./stream-events.ts";
import { delay, withTimeLimit } from "./timing.ts";

const RESPONSE_TIMEOUT_MS = 60_000;

/** Selects records of the journal. */
export interface HistoryQuery {
  /** Default: all records. */
  readonly filter?: FilterQuery | undefined;
  /** `desc`: the newest first; `asc`: the oldest first. Default: `desc`. */
  readonly order?: "asc" | "desc" | undefined;
  /** The sequence to start with. Default: the newest, with `asc` the oldest. `cursor` takes precedence. */
  readonly from?: number | undefined;
  /** The epoch of `from`; default: the gateway's current one. */
  readonly epoch?: string | undefined;
  /** Only records whose own time is this or later: ISO 8601, or ms since 1970. Default: no bound. */
  readonly since?: string | number | undefined;
  /** Only records whose own time is earlier: ISO 8601, or ms since 1970. Default: no bound. */
  readonly until?: string | number | undefined;
  /** How many records the page has at most, from 1 to 1000. Default: 100. */
  readonly limit?: number | undefined;
  /** `nextCursor` of the previous page, with the rest of the query unchanged. Default: the first page. */
  readonly cursor?: string | undefined;
  /**
   * How long a request with the order `asc` may wait for a record if there is none, from 0 to 30 seconds. The page is
   * empty if none arrives. `nextCursor` is then never null, except from gateways without this parameter. Default: it
   * does not wait.
   */
  readonly waitSeconds?: number | undefined;
  /** `rawJson`: each entry also carries its envelope's JSON exactly as the gateway sent it. Default: it does not. */
  readonly raw?: RawReader | undefined;
  /** Aborts the request; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** A part of the journal. */
export interface HistoryPage {
  /** The epoch of the sequences. */
  readonly epoch: string;
  /** In the requested order. There may be fewer than `limit`, or none, although `nextCursor` leads to more. */
  readonly entries: readonly LogEntry[];
  /** What the journal no longer has of the range that was searched. */
  readonly gaps: readonly MissingRange[];
  /** Leads to the next page; null at the end of the journal. */
  readonly nextCursor: string | null;
}

/** Thrown when a request fails. The message is meant for people. */
export class HistoryError extends Error {
  /** The HTTP status; 0 if there was no response. */
  readonly status: number;
  /** The gateway's code, such as `FILTER_INVALID` or `CURSOR_GONE`, or the client's `UNREACHABLE` or `NOT_UNDERSTOOD`. */
  readonly code: string;

  constructor(status: number, code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "HistoryError";
    this.status = status;
    this.code = code;
  }
}

/** Reads the journal, one page at a time. */
export class LogHistory {
  readonly #gateway: Gateway;

  /** @throws TypeError if `url` is not a gateway's URL, see {@link parseGatewayUrl}. */
  constructor(options: GatewayOptions) {
    this.#gateway = new Gateway(options);
  }

  /**
   * Returns a page of the records that match. Retries up to ten times while the gateway is busy (503 with `Retry-After`),
   * and times out after 60 s plus `waitSeconds`. Rejects with a {@link HistoryError}, the signal's reason, or the error of
   * the function `token`.
   */
  async page(query: HistoryQuery = {}): Promise<HistoryPage> {
    const { filter, order, since, until, limit, waitSeconds: wait, raw, signal } = query;
    let { cursor } = query;
    if (cursor === undefined && query.from !== undefined) {
      cursor = `${query.epoch ?? (await this.newest(signal)).epoch}:${query.from}`;
    }
    const parameters = { ...filter, order, since, until, limit, cursor, wait };
    const url = withQuery(this.#gateway.endpoints.history, parameters);
    const timeoutMs = 1000 * (wait ?? 0) + RESPONSE_TIMEOUT_MS;
    return parsePage(await this.#request(url, timeoutMs, signal), raw);
  }

  /** Returns the current epoch and the newest sequence, which is 0 before the first record. */
  async newest(signal?: AbortSignal): Promise<{ epoch: string; sequence: number }> {
    const { epoch, entries, gaps } = await this.page({ limit: 1, signal });
    // The newest records may be missing.
    const last = entries[0]?.sequence ?? 0;
    return { epoch, sequence: gaps.reduce((end, { to }) => Math.max(end, to), last) };
  }

  async #request(url: URL, timeoutMs: number, signal: AbortSignal | undefined): Promise<string> {
    const headers = await this.#gateway.headers();
    try {
      return await withTimeLimit(timeoutMs, signal, async (limit) => {
        const send = (): Promise<Response> =>
          this.#gateway.request(url, { signal: limit, headers });
        const response = await fetchUnlessBusy(send, limit);
        const body = await response.text();
        if (!response.ok) throw historyError(response.status, body);
        return body;
      });
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof HistoryError) throw error;
      const text = `No gateway answers at ${url.origin}.`;
      throw new HistoryError(0, "UNREACHABLE", text, { cause: error });
    }
  }
}

function historyError(status: number, body: string): HistoryError {
  const { code = "NOT_UNDERSTOOD", message = `The server responded with HTTP ${status}.` } =
    errorOf(body);
  return new HistoryError(status, code, message);
}

interface PageJson {
  readonly epoch: string;
  readonly records: readonly ({ readonly sequence: number } & Envelope)[];
  readonly gaps: readonly ReceivedGap[];
  readonly next_cursor: string | null;
}

function parsePage(body: string, raw: RawReader | undefined): HistoryPage {
  const page = (parseJson(body) ?? {}) as Partial<PageJson>;
  const { epoch, records, gaps, next_cursor: nextCursor = null } = page;
  if (!epoch || !Array.isArray(records) || !Array.isArray(gaps)) {
    const text = "The server is not a gateway, or one without a history API.";
    throw new HistoryError(200, "NOT_UNDERSTOOD", text);
  }
  const texts = raw?.(body, "records");
  const entries = (records as PageJson["records"]).map(({ sequence, ...envelope }, index) => ({
    sequence,
    envelope: envelope as Envelope,
    ...(texts && { raw: texts[index]! }),
  }));
  return { epoch, entries, gaps: (gaps as PageJson["gaps"]).map(parseGap), nextCursor };
}

const BUSY_RETRIES_MAX = 10;
const RETRY_AFTER_SECONDS_MAX = 30;

/**
 * Sends a request, and retries it while the gateway is busy (503 with `Retry-After`). Resolves with any other response,
 * or with that one after ten retries. Rejects as `fetch` does.
 */
export async function fetchUnlessBusy(
  send: () => Promise<Response>,
  signal: AbortSignal,
): Promise<Response> {
  for (let retries = 0; ; retries++) {
    const response = await send();
    const seconds = Number(response.headers.get("Retry-After") ?? NaN);
    const isBusy = response.status === 503 && seconds >= 0;
    if (!isBusy || retries === BUSY_RETRIES_MAX) return response;
    await response.body?.cancel();
    // Up to half of it is added, so that clients do not all retry at once.
    const delayMs = 1000 * Math.min(seconds, RETRY_AFTER_SECONDS_MAX);
    await delay(delayMs * (1 + Math.random() / 2), signal);
  }
}
