/** What a processor emits while a request passes it is stored, whatever becomes of the request. */

import { expect, test } from "vitest";
import { ProcessingGateway, textRecord } from "../plugins/processors/processing-gateway.ts";

/** A length-delimited field of protobuf. */
function field(number: number, ...content: readonly (string | Uint8Array)[]): Buffer {
  const bytes = Buffer.concat(content.map((part) => Buffer.from(part as string)));
  return Buffer.concat([Buffer.from([8 * number + 2, bytes.length]), bytes]);
}

test("a request that cannot be decoded does not take the summary of earlier records with it", async () => {
  await using gateway = await ProcessingGateway.start({ dedupe: { interval_seconds: 3600 } });
  const same = textRecord("same");
  await gateway.send({ logger: "app", records: [same, same, same] });

  const ending = field(2, field(5, field(1, "other")));
  const malformed = field(2, field(5, Buffer.from([0x32, 0x02, 0x0a, 0x7f])));
  const body = field(1, field(2, field(1, field(1, "app")), ending, malformed));
  const headers = { "Content-Type": "application/x-protobuf" };
  const { status } = await fetch(`${gateway.logging.url}/v1/logs`, {
    method: "POST",
    headers,
    body: Uint8Array.from(body),
  });
  expect(status).toBe(400);

  const stored = await gateway.stored();
  expect(stored.map(({ data }) => [data.message, data["log_count"]])).toEqual([
    ["same", undefined],
    ["same", 2],
  ]);
});
