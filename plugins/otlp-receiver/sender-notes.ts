import type { Ingested, ReceiverHost } from "tailgate/plugin";

/** A user agent is shown by so much of it. */
const AGENT_CHARS_MAX = 100;

/** Who sent a request. */
export interface Sender {
  readonly address: string | undefined;
  readonly userAgent: string | undefined;
}

/** Reports on stderr and in /metrics what the senders of accepted requests are told. */
export class SenderNotes {
  readonly #host: ReceiverHost;
  readonly #countUnrecognized: (count: number) => void;

  constructor(host: ReceiverHost) {
    this.#host = host;
    this.#countUnrecognized = host.metrics.counter(
      "unrecognized_requests",
      "Requests that were answered 200 and held something other than log records.",
    );
    this.#countUnrecognized(0);
  }

  add({ reason, rejected, unrecognized = false }: Ingested, sender: Sender): void {
    if (unrecognized) this.#countUnrecognized(1);
    if (reason === "") return;
    const what =
      rejected > 0 ? "Log records were rejected." : "An OTLP request was accepted with a warning.";
    this.#host.log.warning(`${what} ${senderText(sender)}: ${reason}`);
  }
}

function senderText({ address = "unknown", userAgent }: Sender): string {
  const agent = userAgent === undefined ? "" : ` (${userAgent.slice(0, AGENT_CHARS_MAX)})`;
  return `Sender ${address}${agent}`;
}
