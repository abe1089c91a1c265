import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { PermanentError } from "tailgate/plugin";
import { batchOf, exporterContract, testHost } from "tailgate/testing";
import jsonLines from "./json-lines.js";

let messages = [];
let status = 200;
const server = createServer(async (request, response) => {
  const lines = (await text(request)).trimEnd().split("\n");
  messages.push(...lines.map((line) => JSON.parse(line).data.message));
  response.writeHead(status).end();
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
after(() => server.close());
const options = { url: `http://127.0.0.1:${server.address().port}/logs` };

function harness() {
  messages = [];
  return {
    definition: jsonLines,
    options,
    durable: true, // the server keeps what it got when the exporter is restarted
    connect: async () => () => messages,
  };
}

for (const { name, run } of exporterContract(harness)) test(name, run);

test("drops a batch that the server rejects with 400", async (t) => {
  const host = await testHost("json-lines");
  t.after(() => host.close());
  const exporter = await jsonLines.open(jsonLines.options.parse(options), host);
  status = 400;
  const writing = exporter.write(batchOf([{ body: "hello" }]), AbortSignal.timeout(1000));
  await assert.rejects(writing, PermanentError.is);
});
