import { once } from "node:events";
import { mkdtemp, open, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { printFigures } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import type { SenderQuestion } from "./otlp-http-senders.ts";
import { REQUEST_RECORDS } from "./otlp-request.ts";
import { tailgateServer, type OtlpServer } from "./otlp-server.ts";
import { measured, type Scale, type Variant } from "./rounds.ts";

const SLICE_REQUESTS = 64;
/** JSON takes several times as long. */
const SLICE_REQUESTS_JSON = 24;

/** The cost of a request of 512 records to the receiving process. */
export async function benchOtlpHttp({ rounds, share }: Scale): Promise<void> {
  await using tailgate = await tailgateServer("sqlite");
  await using inMemory = await tailgateServer("memory");
  await using limit = await limitServer();
  await using durable = await durableServer();
  await using senders = await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url));
  const protobuf = { format: "protobuf", requests: Math.ceil(SLICE_REQUESTS * share) } as const;
  const json = { format: "json", requests: Math.ceil(SLICE_REQUESTS_JSON * share) } as const;
  const variantOf = <Name extends string>(
    name: Name,
    server: OtlpServer,
    kind: Omit<SenderQuestion, "port">,
  ): Variant<Name> => ({
    name,
    async run() {
      await senders.ask({ port: server.port, ...kind } satisfies SenderQuestion);
      const records = kind.requests * REQUEST_RECORDS;
      server.sent += records;
      return records;
    },
  });
  const samples = await measured(
    [
      variantOf("otlp_http.tailgate", tailgate, protobuf),
      variantOf("otlp_http.in_memory", inMemory, protobuf),
      variantOf("otlp_http.undecoded", limit, protobuf),
      variantOf("otlp_http.undecoded_durable", durable, protobuf),
      variantOf("otlp_http_json.tailgate", tailgate, json),
      variantOf("otlp_http_json.undecoded", limit, json),
    ],
    rounds,
  );
  for (const { sent, received } of [tailgate, inMemory, limit, durable]) {
    if (received() !== sent) throw new Error(`Of ${sent} records ${received()} were received.`);
  }
  printFigures("records/s", samples, [
    {
      name: "otlp_http.ratio",
      of: "otlp_http.tailgate",
      to: "otlp_http.undecoded",
      target: ">= 0.3",
    },
    {
      name: "otlp_http.ratio",
      of: "otlp_http.in_memory",
      to: "otlp_http.undecoded",
      target: undefined,
    },
    {
      name: "otlp_http.ratio",
      of: "otlp_http.tailgate",
      to: "otlp_http.undecoded_durable",
      target: undefined,
    },
    {
      name: "otlp_http.ratio",
      of: "otlp_http.undecoded_durable",
      to: "otlp_http.undecoded",
      target: undefined,
    },
    {
      name: "otlp_http_json.ratio",
      of: "otlp_http_json.tailgate",
      to: "otlp_http_json.undecoded",
      target: undefined,
    },
  ]);
}

/** The limit: the body is read and discarded. */
function limitServer(): Promise<OtlpServer> {
  return bodyServer(() => Promise.resolve());
}

/**
 * The limit for a durable response: as many bytes as the gateway stores, about three times the body, are written to a
 * file as they are and synced, and nothing else is done.
 */
async function durableServer(): Promise<OtlpServer> {
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  const file = await open(join(directory, "bodies"), "w");
  const server = await bodyServer(async (chunks) => {
    await file.writev([...chunks, ...chunks, ...chunks]);
    await file.datasync();
  });
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await file.close();
      await rm(directory, { recursive: true });
    },
  };
}

async function bodyServer(use: (chunks: readonly Buffer[]) => Promise<void>): Promise<OtlpServer> {
  let requests = 0;
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      bytes += chunk.length;
    }
    await use(chunks);
    if (bytes === Number(request.headers["content-length"])) requests++;
    response.writeHead(200, { "Content-Length": 0 }).end();
  };
  const server = createServer((request, response) => void take(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    sent: 0,
    received: () => requests * REQUEST_RECORDS,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
