import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

const HANDSHAKE = /^GET [^]*^upgrade: *websocket/im;

/** Between a client and a gateway: it can cut what goes through it, and refuse WebSockets. */
export class Proxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Where it leads to. */
  port: number;
  blocksWebSockets = false;
  /** Handshakes that it has seen. */
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
    // A connection that was used for something else can be used for a handshake, too.
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

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}
