import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import type { Envelope } from "tailgate/plugin";
import { exporterContract, type ExporterHarness } from "tailgate/testing";
import jsonLines from "../src/index.ts";

let messages: string[] = [];
const server = createServer(async (request, response) => {
  const lines = (await text(request)).trimEnd().split("\n");
  messages.push(...lines.map((line) => (JSON.parse(line) as Envelope).data.message));
  response.end();
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
after(() => server.close());

function harness(): ExporterHarness {
  messages = [];
  const { port } = server.address() as AddressInfo;
  return {
    definition: jsonLines,
    options: { url: `http://127.0.0.1:${port}/logs` },
    durable: true,
    connect: async () => () => messages,
  };
}

for (const { name, run } of exporterContract(harness)) test(name, run);
