import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

const HANDSHAKE = /^GET [^]*^upgrade: *websocket/im;

/** A proxy between a client and a gateway that can disconnect clients and reject WebSockets. */
export class Proxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** The target's port. */
  port: number;
  blocksWebSockets = false;
  /** The number of handshakes. */
  handshakes = 0;

  private constructor(port: number) {
    this.port = port;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async start(port: number): Promise<Proxy> {
    const proxy = new Proxy(port);
    await once(proxy.#server.listen(0, "127.0.0.1"), "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #accept(socket: Socket): void {
    const other = connect(this.port, "127.0.0.1");
    this.#keep(socket);
    this.#keep(other);
    // A kept-alive connection can be reused for a handshake.
    socket.on("data", (data: Buffer) => {
      const isHandshake = HANDSHAKE.test(data.toString("latin1"));
      if (isHandshake) this.handshakes++;
      if (isHandshake && this.blocksWebSockets) socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
      else other.write(data);
    });
    other.pipe(socket);
    socket.on("close", () => other.destroy());
    other.on("close", () => socket.destroy());
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }

  /** Closes all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}
