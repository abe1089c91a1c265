import { once } from "node:events";
import { isIPv6, type AddressInfo, type Server } from "node:net";
import { TailgateError, textOf } from "tailgate/plugin";

interface Place {
  readonly port: number;
  readonly host: string;
  /** What listens there, and how another port is chosen, for the error's text. */
  readonly what: string;
  readonly mend: string;
}

/**
 * Begins to listen; answers the URL, without a path.
 * @throws TailgateError PORT_IN_USE or LISTEN_FAILED
 */
export async function listen(server: Server, place: Place): Promise<string> {
  const { port, host } = place;
  server.listen({ port, host, exclusive: true });
  // The gateway decides how long the process lives.
  server.unref();
  try {
    await once(server, "listening");
  } catch (error) {
    throw listenError(error, place);
  }
  const address = server.address() as AddressInfo;
  return `http://${isIPv6(host) ? `[${host}]` : host}:${address.port}`;
}

function listenError(error: unknown, { port, host, what, mend }: Place): TailgateError {
  if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") {
    const text = `Port ${port} of ${what} is in use on ${host}: ${mend}.`;
    return new TailgateError("PORT_IN_USE", text, { cause: error });
  }
  const text = `${capitalized(what)} cannot listen on ${host}:${port}: ${textOf(error)}.`;
  return new TailgateError("LISTEN_FAILED", text, { cause: error });
}

function capitalized(text: string): string {
  return text[0]!.toUpperCase() + text.slice(1);
}
