import type { DashboardServer } from "./dashboard-server.ts";
import type { HelperProcess } from "./helper-process.ts";
import type { SenderQuestion } from "./otlp-http-senders.ts";

/** 10 000 records per second, in requests on eight connections. */
export const TICK_MS = 100;
export const TICK_RECORDS = 1_000;
const TICK_REQUESTS = 8;
export const REQUEST_RECORDS = TICK_RECORDS / TICK_REQUESTS;

/** Resolves when the gateway has accepted them. */
export async function sendTick(server: DashboardServer, senders: HelperProcess): Promise<void> {
  const port = server.otlpPort;
  const kind = { format: "protobuf", requests: TICK_REQUESTS, records: REQUEST_RECORDS } as const;
  await senders.ask({ port, ...kind } satisfies SenderQuestion);
  server.sent += TICK_RECORDS;
}
