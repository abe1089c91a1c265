/**
 * The CPU time that a hundred different subscriptions cost at 10 000 records/s: matching alone, as the WebSocket exporter does
 * it, without sending. Most match a few records, as those of people who look for something do.
 */

import type { BatchFilter } from "../../../src/plugin/batch-match.ts";
import type { RecordBatch } from "../../../src/batch/record-batch.ts";
import { built } from "../built.ts";
import { printValues } from "../figure.ts";
import type { Scale } from "../rounds.ts";
import { RecordGenerator, type Needle } from "./generator.ts";

const RECORDS = 10_000;
const RECORDS_PER_SECOND = 10_000;
/** What arrives in 5 ms. */
const REQUEST_RECORDS = 50;

export async function benchSubscriptions({ rounds, share }: Scale): Promise<void> {
  const generator = new RecordGenerator(RECORDS * share);
  const requests = [...generator.requests([REQUEST_RECORDS])];
  const { parseFilter } =
    await built<typeof import("../../../src/filter/filter.ts")>("src/filter/filter.js");
  const queries = subscriptionsOf(generator.needles);
  for (const [name, filters] of [
    ["subscriptions_100", queries],
    ["subscriptions_100.texts", queries.filter((q) => /^[\w-]+$/.test(q))],
  ] as const) {
    const parsed = filters.map((q) => parseFilter({ q }));
    const cores: number[] = [];
    for (let round = 0; round < rounds; round++) cores.push(await coresOf(requests, parsed));
    printValues(name, "share", cores, name === "subscriptions_100" ? "<= 0.25" : undefined);
  }
}

/** Returns how many cores it takes to match the records of requests at their rate. */
async function coresOf(
  requests: readonly Uint8Array[],
  filters: readonly BatchFilter[],
): Promise<number> {
  const { BatchMatch } = await built<typeof import("../../../src/plugin/batch-match.ts")>(
    "src/plugin/batch-match.js",
  );
  let records = 0;
  let micros = 0;
  for (const request of requests) {
    for (const batch of await encoded(request)) {
      const before = process.threadCpuUsage();
      for (const filter of filters) {
        const match = new BatchMatch(batch, filter);
        while (!match.matched) match.advance(Infinity);
      }
      const { user, system } = process.threadCpuUsage(before);
      micros += user + system;
      records += batch.length;
    }
  }
  return ((micros / records) * RECORDS_PER_SECOND) / 1e6;
}

async function encoded(request: Uint8Array): Promise<RecordBatch[]> {
  const { BatchBuilder } = await built<typeof import("../../../src/batch/batch-builder.ts")>(
    "src/batch/batch-builder.js",
  );
  const { encodeOtlpProtobuf } = await built<typeof import("../../../src/otlp/request-encoder.ts")>(
    "src/otlp/request-encoder.js",
  );
  const open = new BatchBuilder();
  encodeOtlpProtobuf(request, open, 0);
  return open.take();
}

/** Returns a hundred filters that all differ. */
function subscriptionsOf(needles: readonly Needle[]): string[] {
  const words = [
    ...["timeout", "retry", "refused", "denied", "failed", "spawn", "queue", "budget", "token"],
    ...["memory", "disconnect", "unexpected", "overflow", "deadline", "checkpoint", "artifact"],
  ];
  const queries = [
    ...needles.flatMap(({ request, trace, span, instance }) => [
      request,
      trace.toUpperCase(),
      `instance_id:${instance}`,
      `span_id:${span}`,
      `level:WARNING ${instance}`,
    ]),
    ...words.flatMap((word) => [word, `level:ERROR ${word}`]),
    ...["role:worker level:ERROR", "role:(planner OR reviewer) -level:INFO", "type:audit spawn"],
    ...["duration_ms:>5000", "status:500..599", "exception.type:*", "message:*timeout*"],
    ...["logger:orchestrator level:ERROR", "logger:*.retry", "/time(d )?out after \\d+/"],
    ...["error -retry", "(refused OR reset) level:WARNING", "resource.host.name:node-1 failed"],
  ];
  const distinct = [...new Set(queries)].slice(0, 100);
  for (let more = 0; distinct.length < 100; more++) distinct.push(`inst-${more}${more}a4`);
  return distinct;
}
