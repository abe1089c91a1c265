/** The start and the graceful shutdown of a server. */

import { once } from "node:events";
import { isIPv6, type AddressInfo, type Server } from "node:net";
import { setImmediate } from "node:timers";
import { TailgateError, textOf } from "tailgate/plugin";

interface ListenOptions {
  readonly port: number;
  readonly host: string;
  /** What listens there, such as "the OTLP receiver". */
  readonly server: string;
  /** How to choose another port. */
  readonly remedy: string;
}

/**
 * Starts to listen, and returns the URL without a path.
 * @throws TailgateError PORT_IN_USE or LISTEN_FAILED
 */
export async function listen(server: Server, options: ListenOptions): Promise<string> {
  const { port, host } = options;
  server.listen({ port, host, exclusive: true });
  // The gateway decides how long the process lives.
  server.unref();
  try {
    await once(server, "listening");
  } catch (error) {
    throw toListenError(error, options);
  }
  const address = server.address() as AddressInfo;
  return `http://${isIPv6(host) ? `[${host}]` : host}:${address.port}`;
}

function toListenError(
  error: unknown,
  { port, host, server, remedy }: ListenOptions,
): TailgateError {
  if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") {
    const text = `Port ${port} of ${server} is in use on ${host}: ${remedy}.`;
    return new TailgateError("PORT_IN_USE", text, { cause: error });
  }
  const text = `${capitalize(server)} cannot listen on ${host}:${port}: ${textOf(error)}.`;
  return new TailgateError("LISTEN_FAILED", text, { cause: error });
}

function capitalize(text: string): string {
  return text[0]!.toUpperCase() + text.slice(1);
}

/** Counts requests in flight, so that a server can drain before it stops. */
export class InFlightRequests {
  #count = 0;
  /** Resolves when nothing is in flight; set once the server drains. */
  #idle: PromiseWithResolvers<void> | undefined;

  get isDraining(): boolean {
    return this.#idle !== undefined;
  }

  begin(): void {
    this.#count++;
  }

  end(): void {
    if (--this.#count === 0) this.#idle?.resolve();
  }

  /** Resolves when nothing is in flight, or when the signal aborts. */
  async drain(signal: AbortSignal): Promise<void> {
    this.#idle = Promise.withResolvers();
    if (this.#count === 0 || signal.aborted) this.#idle.resolve();
    signal.addEventListener("abort", () => this.#idle?.resolve(), { once: true });
    await this.#idle.promise;
    // The last responses have ended, but may not have been written to their sockets.
    await new Promise(setImmediate);
  }
}
