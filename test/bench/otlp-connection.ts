import { once } from "node:events";
import { connect, type Socket } from "node:net";

const END_OF_HEAD = "\r\n\r\n";

/** A keep-alive connection with one request at a time, as in an exporter. */
export class Sender {
  readonly #port: number;
  #socket: Socket | undefined;
  #answer = "";
  #answered: PromiseWithResolvers<void> | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  /** Connects first if it is not connected, or was closed while idle. */
  async send(request: Uint8Array): Promise<void> {
    this.#socket ??= await this.#connected();
    this.#answered = Promise.withResolvers();
    this.#socket.write(request);
    await this.#answered.promise;
  }

  async #connected(): Promise<Socket> {
    const socket = connect(this.#port, "127.0.0.1").setNoDelay(true).setEncoding("latin1");
    await once(socket, "connect");
    socket.on("data", (text: string) => this.#read(text));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#socket = undefined;
      this.#end(new Error(`A connection was closed: ${this.#answer}`));
    });
    return socket;
  }

  #read(text: string): void {
    this.#answer += text;
    const headEnd = this.#answer.indexOf(END_OF_HEAD);
    if (headEnd < 0) return;
    // 204 has no body and no length.
    const length = Number(/^content-length: (\d+)/im.exec(this.#answer)?.[1] ?? 0);
    if (this.#answer.length < headEnd + END_OF_HEAD.length + length) return;
    const isTaken = /^HTTP\/1\.1 20[04] /.test(this.#answer);
    const refused = isTaken ? undefined : new Error(`A request was refused: ${this.#answer}`);
    this.#answer = "";
    this.#end(refused);
  }

  #end(error: Error | undefined): void {
    const answered = this.#answered;
    this.#answered = undefined;
    if (error) answered?.reject(error);
    else answered?.resolve();
  }

  close(): void {
    this.#socket?.destroy();
  }
}

/** Builds a complete HTTP request with that body. */
export function requestOf(
  port: number,
  body: Buffer,
  format: "protobuf" | "json",
  {
    path = "/v1/logs",
    token,
  }: { readonly path?: string; readonly token?: string | undefined } = {},
): Uint8Array {
  const head = [
    `POST ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    `Content-Type: application/${format === "json" ? "json" : "x-protobuf"}`,
    `Content-Length: ${body.length}`,
    ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
  ];
  return Buffer.concat([Buffer.from(head.join("\r\n") + END_OF_HEAD), body]);
}
