import { Agent, request } from "node:http";
import { text } from "node:stream/consumers";
import { AUDIT_LOGGER } from "tailgate";
import type { Ledger, SentRecord } from "./ledger.ts";

const RECORDS_MAX = 20;
const FILLER = "x".repeat(600);

/** A sender with its own connection: one request at a time, with records of both types. */
export class Producer {
  readonly #name: string;
  readonly #ledger: Ledger;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  #seq = 0;

  /** The name is unique in the ledger. */
  constructor(name: string, ledger: Ledger) {
    this.#name = name;
    this.#ledger = ledger;
  }

  /**
   * Sends until the signal aborts or the gateway is gone. Returns the response statuses with their
   * counts.
   */
  async run(url: string, signal: AbortSignal): Promise<Map<number, number>> {
    const statuses = new Map<number, number>();
    try {
      while (!signal.aborted) {
        const status = await this.send(url);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    } catch {
      // The outcome of the request in progress is unknown.
    } finally {
      this.#agent.destroy();
    }
    return statuses;
  }

  /** Sends some records; returns the status. Rejects if the gateway is gone. */
  async send(url: string, count = 1 + Math.floor(Math.random() * RECORDS_MAX)): Promise<number> {
    const records = Array.from({ length: count }, () => {
      const filler = FILLER.slice(0, Math.floor(Math.random() * FILLER.length));
      return this.#ledger.send(this.#name, ++this.#seq, Math.random() < 0.3, filler);
    });
    const status = await this.#post(url, requestOf(records));
    if (status === 200) this.#ledger.acknowledge(records);
    return status;
  }

  async #post(url: string, body: string): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const headers = { "Content-Type": "application/json" };
    const options = { method: "POST", headers, agent: this.#agent };
    const posting = request(`${url}/v1/logs`, options, (response) => {
      text(response).then(() => resolve(response.statusCode!), reject);
    });
    posting.on("error", reject);
    posting.end(body);
    return promise;
  }
}

/** One scope per record, so that they stay in order. */
function requestOf(records: readonly SentRecord[]): string {
  const scopeLogs = records.map(({ producer, seq, isAudit, body, sha256 }) => ({
    scope: { name: isAudit ? AUDIT_LOGGER : "orchestrator.crash" },
    logRecords: [
      {
        timeUnixNano: "1760347644339163000",
        severityNumber: 9,
        body: { stringValue: body },
        attributes: [
          { key: "producer", value: { stringValue: producer } },
          { key: "producer_seq", value: { intValue: seq } },
          { key: "sha256", value: { stringValue: sha256 } },
        ],
      },
    ],
  }));
  return JSON.stringify({ resourceLogs: [{ scopeLogs }] });
}
