import { ExportingGateway, type Progress } from "./exporting-gateway.ts";
import { printCompared, printValues } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import type { SenderQuestion } from "./otlp-http-senders.ts";
import { REQUEST_RECORDS } from "./otlp-request.ts";
import { freePort, peerProgram } from "./peer-program.ts";
import { collectorAlone, type Pipeline } from "./pipelines.ts";
import { measured, wallMicros, type Scale } from "./rounds.ts";
import type { SteadyQuestion } from "./steady-sender.ts";

const SLICE_REQUESTS = 64;
const ROUNDS_MAX = 5;

/** Records per second received while the export rate is measured. */
const STEADY_RECORDS = 20_000;
const STEADY_SECONDS = 10;
const STEADY_REQUEST_RECORDS = 500;
const STEADY_ROUNDS_MAX = 3;

/** Records queued for a Collector that comes back. */
const BACKLOG_REQUESTS = 800;

/**
 * The `otlp` exporter sending to a real Collector that discards its input: at the Collector's maximum rate, compared
 * with the same requests sent to it directly; at 20 000 records per second; and after an outage.
 */
export async function benchExport(scale: Scale): Promise<void> {
  const otelcol = peerProgram("otelcol");
  if (!otelcol) throw new Error("There is no Collector: run `npm run setup:peers` first.");
  await using senders = await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url));
  await benchLimit(otelcol, senders, { ...scale, rounds: Math.min(scale.rounds, ROUNDS_MAX) });
  const rounds = Math.min(scale.rounds, STEADY_ROUNDS_MAX);
  await benchSteady(otelcol, rounds, scale);
  await benchCatchUp(otelcol, senders, rounds, scale);
}

async function send(senders: HelperProcess, port: number, requests: number): Promise<number> {
  await senders.ask({ port, format: "protobuf", requests } satisfies SenderQuestion);
  return requests * REQUEST_RECORDS;
}

async function benchLimit(
  otelcol: string,
  senders: HelperProcess,
  { rounds, share }: Scale,
): Promise<void> {
  await using collector = await collectorAlone(otelcol);
  await using gateway = await ExportingGateway.to(collector.otlpPort);
  const names = { tailgate: "export.tailgate", collector: "export.collector" } as const;
  const variantOf = (name: (typeof names)[keyof typeof names], pipeline: Pipeline) => {
    let sent = 0;
    return {
      name,
      async run() {
        const records = await send(senders, pipeline.otlpPort, Math.ceil(SLICE_REQUESTS * share));
        sent += records;
        await pipeline.arrived(sent);
        return records;
      },
    };
  };
  const samples = await measured(
    [variantOf(names.tailgate, gateway), variantOf(names.collector, collector)],
    rounds,
    wallMicros,
  );
  const perSecond = (nanos: readonly number[]): number[] => nanos.map((value) => 1e9 / value);
  const values = {
    [names.tailgate]: perSecond(samples[names.tailgate]),
    [names.collector]: perSecond(samples[names.collector]),
  };
  printCompared("records/s", values, [
    { name: "export.ratio", of: names.tailgate, to: names.collector, target: undefined },
  ]);
}

/** Records exported per second compared with those received, and the lag at the end. */
async function benchSteady(otelcol: string, rounds: number, { share }: Scale): Promise<void> {
  await using collector = await collectorAlone(otelcol);
  await using gateway = await ExportingGateway.to(collector.otlpPort);
  await using sender = await HelperProcess.start(new URL("steady-sender.ts", import.meta.url));
  const rates = { "export.tailgate_steady": [] as number[], "export.steady_in": [] as number[] };
  const lags: Progress[] = [];
  const question: SteadyQuestion = {
    port: gateway.otlpPort,
    records: STEADY_REQUEST_RECORDS,
    requests: (STEADY_SECONDS * share * STEADY_RECORDS) / STEADY_REQUEST_RECORDS,
    everyMs: (1000 * STEADY_REQUEST_RECORDS) / STEADY_RECORDS,
  };
  for (let round = 1; round <= rounds; round++) {
    const start = await gateway.progress();
    const tookMs = (await sender.ask(question)) as number;
    const end = await gateway.progress();
    rates["export.tailgate_steady"].push((1000 * (end.sent - start.sent)) / tookMs);
    // On a busy machine the sender is late.
    rates["export.steady_in"].push((1000 * question.requests * question.records) / tookMs);
    lags.push(end);
    await gateway.arrived(round * question.requests * question.records);
  }
  const [of, to] = ["export.tailgate_steady", "export.steady_in"] as const;
  printCompared("records/s", rates, [{ name: "export.steady_ratio", of, to, target: ">= 0.99" }]);
  printValues(
    "export.tailgate_lag",
    "records",
    lags.map(({ queued }) => queued),
    `<= ${STEADY_RECORDS}`,
  );
  printValues(
    "export.tailgate_lag_time",
    "ms",
    lags.map(({ lagSeconds }) => 1000 * lagSeconds),
    "<= 1000",
  );
}

async function benchCatchUp(
  otelcol: string,
  senders: HelperProcess,
  rounds: number,
  { share }: Scale,
): Promise<void> {
  const rates: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const port = await freePort();
    await using gateway = await ExportingGateway.to(port);
    const records = await send(senders, gateway.otlpPort, Math.ceil(BACKLOG_REQUESTS * share));
    await using _collector = await collectorAlone(otelcol, port);
    // The time until the next retry does not count.
    await gateway.arrived(1);
    const [start, startMicros] = [await gateway.progress(), wallMicros()];
    await gateway.arrived(records);
    rates.push((1e6 * (records - start.sent)) / (wallMicros() - startMicros));
  }
  printValues("export.tailgate_catch_up", "records/s", rates, `>= ${STEADY_RECORDS}`);
}
