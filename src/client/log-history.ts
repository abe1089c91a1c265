import type { Envelope } from "../wire/envelope.ts";
import type { FilterQuery } from "../wire/filter.ts";
import { addressesOf } from "./endpoints.ts";
import type { LogEntry, MissingRange } from "./stream-events.ts";

const ANSWER_MS_MAX = 60_000;

/** What to look for in the journal. */
export interface HistoryQuery {
  readonly filter?: FilterQuery | undefined;
  /** `desc`, the newest first, where absent. */
  readonly order?: "asc" | "desc" | undefined;
  /** The sequence to begin with. */
  readonly from?: number | undefined;
  /** The numbering that `from` belongs to; the gateway's present one where absent. */
  readonly epoch?: string | undefined;
  /** The first moment that counts, and the first one that no longer does: ISO 8601, or ms since 1970. */
  readonly since?: string | number | undefined;
  readonly until?: string | number | undefined;
  /** At most 1000; 100 where absent. */
  readonly limit?: number | undefined;
  /** `nextCursor` of the page before. */
  readonly cursor?: string | undefined;
  /**
   * How long a request upwards (`order` is `asc`) may wait for a record where there is none: 0 to 30 seconds; it is not
   * a failure when none has come. `nextCursor` is never null then, but of a gateway that is older than this.
   */
  readonly waitSeconds?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface HistoryPage {
  readonly epoch: string;
  /** In the order that was asked for. It may be fewer than `limit`, even none, and yet there is more. */
  readonly entries: readonly LogEntry[];
  /** What is missing of the stretch that was looked at. */
  readonly gaps: readonly MissingRange[];
  /** Null at the end of the journal. */
  readonly nextCursor: string | null;
}

/** A request was not answered as asked; its message is for people. */
export class HistoryError extends Error {
  /** Of the answer; 0 where there was none. */
  readonly status: number;
  /** The gateway's code, such as `FILTER_INVALID` or `CURSOR_GONE`; `UNREACHABLE` and `NOT_UNDERSTOOD` are from here. */
  readonly code: string;

  constructor(status: number, code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "HistoryError";
    this.status = status;
    this.code = code;
  }
}

/** The records of the past, a page at a time. */
export class LogHistory {
  readonly #url: URL;
  readonly #fetch: typeof fetch;

  /** @throws TypeError where the address is none, see {@link addressesOf}. */
  constructor(options: { readonly url: string | URL; readonly fetch?: typeof fetch | undefined }) {
    this.#url = addressesOf(options.url).history;
    // A browser's fetch must not be called as a method.
    const fetcher = options.fetch ?? fetch;
    this.#fetch = (...request) => fetcher(...request);
  }

  /** Rejects with {@link HistoryError}, or with the reason of the signal. */
  async page(query: HistoryQuery = {}): Promise<HistoryPage> {
    const { filter, order, since, until, limit, waitSeconds: wait, signal } = query;
    const cursor = query.cursor ?? (await this.#cursorOf(query));
    const parameters = { ...filter, order, since, until, limit, cursor, wait };
    const url = new URL(this.#url);
    for (const [name, value] of Object.entries(parameters)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return pageOf(await this.#answer(url, 1000 * (wait ?? 0) + ANSWER_MS_MAX, signal));
  }

  async #cursorOf({ from, epoch, signal }: HistoryQuery): Promise<string | undefined> {
    if (from === undefined) return undefined;
    return `${epoch ?? (await this.newest(signal)).epoch}:${from}`;
  }

  /** The numbering, and the newest place in it; 0 before the first record. */
  async newest(signal?: AbortSignal): Promise<{ epoch: string; sequence: number }> {
    const { epoch, entries, gaps } = await this.page({ limit: 1, signal });
    // The newest places may be those of records that are gone.
    const last = entries[0]?.sequence ?? 0;
    return { epoch, sequence: gaps.reduce((end, { to }) => Math.max(end, to), last) };
  }

  async #answer(url: URL, timeMsMax: number, signal: AbortSignal | undefined): Promise<unknown> {
    // An AbortSignal.timeout would stay for all of its time, however soon the answer comes.
    const request = new AbortController();
    const giveUp = (): void => request.abort();
    const timer = setTimeout(giveUp, timeMsMax);
    signal?.addEventListener("abort", giveUp);
    try {
      signal?.throwIfAborted();
      const options = { signal: request.signal, cache: "no-store" } as const;
      const send = (): Promise<Response> => this.#fetch(url.href, options);
      const response = await fetchUnlessBusy(send, request.signal);
      const body: unknown = await response.json().catch(unlessCut);
      if (!response.ok) throw refusalOf(response.status, body);
      return body;
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof HistoryError) throw error;
      const text = `No gateway answers at ${url.origin}.`;
      throw new HistoryError(0, "UNREACHABLE", text, { cause: error });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", giveUp);
    }
  }
}

/** What is not JSON is not from a gateway; the answer may also have broken off. */
function unlessCut(error: unknown): void {
  if (!(error instanceof SyntaxError)) throw error;
}

function refusalOf(status: number, body: unknown): HistoryError {
  const { error } = (body ?? {}) as { error?: { code?: string; message?: string } };
  const text = error?.message ?? `The server answers HTTP ${status}.`;
  return new HistoryError(status, error?.code ?? "NOT_UNDERSTOOD", text);
}

interface Answer {
  readonly epoch: string;
  readonly records: readonly ({ readonly sequence: number } & Envelope)[];
  readonly gaps: readonly MissingRange[];
  readonly next_cursor: string | null;
}

function pageOf(body: unknown): HistoryPage {
  const { epoch, records, gaps, next_cursor: nextCursor } = (body ?? {}) as Answer;
  if (typeof epoch !== "string" || !Array.isArray(records) || !Array.isArray(gaps)) {
    const text = "What answers is no gateway, or an older one: it has no history that can be read.";
    throw new HistoryError(200, "NOT_UNDERSTOOD", text);
  }
  const entries = (records as Answer["records"]).map(({ sequence, ...envelope }) => ({
    sequence,
    envelope: envelope as Envelope,
  }));
  return { epoch, entries, gaps, nextCursor: nextCursor ?? null };
}

/** So often is asked again, and no longer than this is waited for it. */
const RETRIES_MAX = 10;
const RETRY_AFTER_SECONDS_MAX = 30;

/** Up to this part of the wait is added to it, so that many clients do not come back at once. */
const JITTER_PART = 0.5;

/**
 * Sends a request, and sends it again when the gateway is busy: it answers 503 and says in `Retry-After` when to come
 * back. Resolves with any other answer, or with that one if the gateway stays busy. Rejects as `fetch` does.
 */
export async function fetchUnlessBusy(
  send: () => Promise<Response>,
  signal: AbortSignal,
): Promise<Response> {
  for (let retries = 0; ; retries++) {
    const response = await send();
    const seconds = Number(response.headers.get("Retry-After") ?? NaN);
    const isBusy = response.status === 503 && seconds >= 0;
    if (!isBusy || retries === RETRIES_MAX) return response;
    await response.body?.cancel();
    const waitMs = 1000 * Math.min(seconds, RETRY_AFTER_SECONDS_MAX);
    await pause(waitMs * (1 + JITTER_PART * Math.random()), signal);
  }
}

/** Rejects with the signal's reason when it aborts. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", giveUp);
      resolve();
    }, ms);
    signal.addEventListener("abort", giveUp, { once: true });
    if (signal.aborted) giveUp();
  });
}
