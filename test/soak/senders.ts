import { Agent, request } from "node:http";
import { connect, type ClientHttp2Session } from "node:http2";
import { setTimeout as wait } from "node:timers/promises";
import { toProtobuf, type JsonRequest } from "../encode/generated-request.ts";

const GRPC_METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/** Records per request, and pause between two requests of a sender. */
const REQUEST_RECORDS = 40;
const PAUSE_MS = 100;

/** One request in this many contains audit events. */
const AUDIT_EVERY = 200;

export interface Ports {
  readonly port: number;
  readonly otlpPort: number;
  readonly grpcPort: number;
}

/** Sends a request. Resolves to whether it was accepted. */
type Send = (body: JsonRequest) => Promise<boolean>;

/** Sends numbered records at a steady rate, and tracks which of them were accepted. */
export class Sender implements Disposable {
  readonly name: string;
  readonly #send: Send;
  readonly #close: () => void;
  /** Numbers of accepted records that were not found in the journal yet. */
  readonly #accepted = new Set<number>();
  #next = 0;
  acceptedRecords = 0;
  rejectedRecords = 0;
  readonly duplicates: number[] = [];

  private constructor(name: string, send: Send, close: () => void) {
    this.name = name;
    this.#send = send;
    this.#close = close;
  }

  /** Returns a sender for each protocol and port. */
  static all({ port, otlpPort, grpcPort }: Ports): Sender[] {
    const agent = new Agent({ keepAlive: true });
    const close = (): void => agent.destroy();
    const json = (to: number): Send => {
      const type = "application/json";
      return (body) => post(agent, to, type, Buffer.from(JSON.stringify(body)));
    };
    const protobuf: Send = (body) =>
      post(agent, otlpPort, "application/x-protobuf", toProtobuf(body));
    const session = new GrpcSession(grpcPort);
    return [
      new Sender("http-json", json(otlpPort), close),
      new Sender("main-port", json(port), close),
      new Sender("http-protobuf", protobuf, close),
      new Sender(
        "grpc",
        (body) => session.call(toProtobuf(body)),
        () => session.close(),
      ),
    ];
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const first = this.#next;
      this.#next += REQUEST_RECORDS;
      const isAccepted = await this.#send(this.#request(first)).catch(() => false);
      if (isAccepted) {
        this.acceptedRecords += REQUEST_RECORDS;
        for (let number = first; number < this.#next; number++) this.#accepted.add(number);
      } else {
        this.rejectedRecords += REQUEST_RECORDS;
      }
      await wait(PAUSE_MS);
    }
  }

  #request(first: number): JsonRequest {
    const records = Array.from({ length: REQUEST_RECORDS }, (_, index) =>
      this.#record(first + index),
    );
    const isAudit = (first / REQUEST_RECORDS) % AUDIT_EVERY === 0;
    const name = isAudit ? "orchestrator.audit" : "orchestrator.instance_manager";
    const resource = { attributes: [{ key: "service.name", value: { stringValue: "soak" } }] };
    const scopeLogs = [{ scope: { name, attributes: [] }, logRecords: records }];
    return { resourceLogs: [{ resource, scopeLogs }] };
  }

  /** Some records are as large as a stack trace. */
  #record(number: number): Record<string, unknown> {
    const isLarge = number % 97 === 0;
    const context = isLarge ? '  at run (worker.ts:1)\n"quoted"\n'.repeat(200) : "spawned";
    return {
      timeUnixNano: `${BigInt(Date.now()) * 1_000_000n}`,
      severityNumber: number % 20 === 0 ? 13 : 9,
      body: { stringValue: `${this.name} ${number}` },
      attributes: [
        { key: "soak_sender", value: { stringValue: this.name } },
        { key: "soak_number", value: { intValue: String(number) } },
        { key: "instance_id", value: { stringValue: `instance-${number % 50}` } },
        { key: "context", value: { stringValue: context } },
      ],
    };
  }

  /** Records that a number was found in the journal. */
  found(number: number): void {
    // A record that is not in the set was stored twice, or stored although its request failed.
    if (!this.#accepted.delete(number)) this.duplicates.push(number);
  }

  /** Numbers of accepted records that were not found. */
  get lost(): readonly number[] {
    return [...this.#accepted];
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}

function post(agent: Agent, port: number, type: string, body: Uint8Array): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const headers = { "content-type": type, "content-length": body.length };
  const sent = request(
    { agent, host: "127.0.0.1", port, path: "/v1/logs", method: "POST", headers },
    (response) => {
      response.resume().on("end", () => resolve(response.statusCode === 200));
      response.on("error", reject);
    },
  );
  sent.on("error", reject);
  sent.end(body);
  return promise;
}

/** One HTTP/2 connection for all calls, reopened when the gateway closes it. */
class GrpcSession {
  readonly #port: number;
  #session: ClientHttp2Session | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  call(message: Uint8Array): Promise<boolean> {
    if (this.#session === undefined || this.#session.closed || this.#session.destroyed) {
      this.#session = connect(`http://127.0.0.1:${this.#port}`).on("error", () => {});
    }
    const stream = this.#session.request({
      ":method": "POST",
      ":path": GRPC_METHOD,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const { promise, resolve } = Promise.withResolvers<boolean>();
    let status: unknown;
    stream.on("trailers", (trailers) => (status = trailers["grpc-status"]));
    stream.on("error", () => {});
    stream.on("close", () => resolve(status === "0"));
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    stream.resume().end(Buffer.concat([prefix, message]));
    return promise;
  }

  close(): void {
    this.#session?.destroy();
  }
}
