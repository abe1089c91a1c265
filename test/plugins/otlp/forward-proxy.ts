import { once } from "node:events";
import { createServer, request as send, type IncomingMessage, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

/** A corporate proxy: accepts requests in absolute form, and tunnels with CONNECT. */
export class ForwardProxy implements AsyncDisposable {
  /** Targets as received: `POST http://127.0.0.1:4318/v1/logs`, `CONNECT 127.0.0.1:4318`. */
  readonly targets: string[] = [];
  readonly authorizations: (string | undefined)[] = [];
  /** The response to CONNECT instead of a tunnel. */
  refusal: string | undefined;
  readonly #server: Server = createServer();
  readonly #sockets = new Set<Duplex>();

  static async open(): Promise<ForwardProxy> {
    const proxy = new ForwardProxy();
    proxy.#server.on("request", (request, response) => {
      proxy.#note(request);
      const { method, headers } = request;
      for (const name of ["proxy-authorization", "proxy-connection"]) delete headers[name];
      const forwarded = send(request.url!, { method: method!, headers }, (answer) => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
      });
      forwarded.on("error", () => response.writeHead(502).end());
      request.pipe(forwarded);
    });
    proxy.#server.on("connect", (request, socket) => proxy.#tunnel(request, socket));
    await once(proxy.#server.listen(0, "127.0.0.1"), "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #note({ method, url, headers }: IncomingMessage): void {
    this.targets.push(`${method} ${url}`);
    this.authorizations.push(headers["proxy-authorization"]);
  }

  #tunnel(request: IncomingMessage, socket: Duplex): void {
    this.#note(request);
    this.#sockets.add(socket);
    socket.on("error", () => {});
    if (this.refusal !== undefined) {
      socket.end(this.refusal);
      return;
    }
    const { hostname, port } = new URL(`http://${request.url}`);
    const target = connect(Number(port), hostname, () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      target.pipe(socket).pipe(target);
    });
    target.on("error", () => socket.destroy());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
