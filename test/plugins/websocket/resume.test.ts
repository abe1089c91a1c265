/**
 * A gateway in its own process, 5,000 records a second, and clients whose connections break all the
 * time.
 */

import { setTimeout as wait } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import type { Start } from "tailgate/client";
import type { FilterQuery } from "tailgate/plugin";
import { Ledger } from "../../harness/ledger.ts";
import { SubprotocolClient } from "../../harness/subprotocol-client.ts";
import { GatewayProcess, WEBSOCKET_ONLY } from "../../harness/gateway.ts";
import { feed } from "../../harness/otlp.ts";

/** `npm run test:resume` sets more. */
const CUTS = Number(process.env["RESUME_CUTS"] ?? 150);
const KILLS = Math.ceil(CUTS / 50);

const RECORDS_PER_SECOND = 5_000;

/** The maximum lifetime of a connection. */
const CONNECTION_MS_MAX = 40;

const TIMEOUT_MS = 60_000 + 200 * CUTS;

async function start(): Promise<{ gateway: GatewayProcess; stopFeeding: () => Promise<void> }> {
  const gateway = await GatewayProcess.start(WEBSOCKET_ONLY);
  const feeding = new AbortController();
  const fed = feed(gateway.url, RECORDS_PER_SECOND, feeding.signal);
  const stopFeeding = async (): Promise<void> => {
    feeding.abort();
    await fed;
  };
  onTestFinished(async () => {
    await stopFeeding();
    await gateway[Symbol.asyncDispose]();
  });
  return { gateway, stopFeeding };
}

/**
 * Starts at the first record while the ledger is empty: on a busy machine a connection can be cut
 * before that.
 */
function resubscribe(client: SubprotocolClient, filter: FilterQuery): void {
  client.send({ type: "subscribe", filter, ...startOf(client.ledger) });
}

function startOf({ resume }: Ledger): Start {
  return resume ? { resume } : { since: 0 };
}

/** Connects, resumes at the end of the ledger, and is cut off midway. */
async function connectUntilCut(
  gateway: GatewayProcess,
  ledger: Ledger,
  filter: FilterQuery,
): Promise<void> {
  const client = new SubprotocolClient(gateway.websocketUrl, ledger);
  client.socket.once("open", () => resubscribe(client, filter));
  await Promise.race([wait(CONNECTION_MS_MAX * Math.random()), client.closed]);
  client.socket.terminate();
  await client.closed;
  if (client.fault) throw client.fault;
}

/** The final contents of the journal, by sequence. */
async function everything(gateway: GatewayProcess, filter: FilterQuery): Promise<Ledger> {
  const client = await SubprotocolClient.subscribe(gateway.websocketUrl, { filter, since: 0 });
  client.socket.terminate();
  return client.ledger;
}

/** Each record of the journal once, and nothing else. */
async function expectWhole(
  gateway: GatewayProcess,
  ledger: Ledger,
  filter: FilterQuery,
): Promise<void> {
  const whole = await everything(gateway, filter);
  const client = await SubprotocolClient.subscribe(
    gateway.websocketUrl,
    { filter, ...startOf(ledger) },
    ledger,
  );
  client.socket.terminate();
  expect(ledger.duplicates).toBe(0);
  expect(ledger.sequences).toEqual(whole.sequences);
  const differing = whole.sequences.filter(
    (sequence) =>
      JSON.stringify(ledger.envelopes.get(sequence)) !==
      JSON.stringify(whole.envelopes.get(sequence)),
  );
  expect(differing).toEqual([]);
}

test.each<[string, FilterQuery]>([
  ["with everything", {}],
  ["with a filter", { level: "ERROR" }],
])(
  `a client %s that is cut off ${CUTS} times receives each record once`,
  async (_name, filter) => {
    const { gateway, stopFeeding } = await start();
    const ledger = new Ledger();
    for (let cut = 0; cut < CUTS; cut++) await connectUntilCut(gateway, ledger, filter);
    await stopFeeding();
    await expectWhole(gateway, ledger, filter);
    expect(ledger.gaps).toEqual([]);
    expect(ledger.resume!.sequence).toBeGreaterThan(CUTS);
    report(`${CUTS} cuts: ${ledger.sequences.length} of ${ledger.resume!.sequence} records`);
  },
  TIMEOUT_MS,
);

test(
  `the same over ${KILLS} kills of the gateway: records never stored are reported`,
  async () => {
    const { gateway, stopFeeding } = await start();
    const ledger = new Ledger();
    for (let kill = 0; kill < KILLS; kill++) {
      for (let cut = 0; cut < 10; cut++) await connectUntilCut(gateway, ledger, {});
      const client = await SubprotocolClient.open(gateway.websocketUrl, ledger);
      resubscribe(client, {});
      await wait(CONNECTION_MS_MAX * Math.random());
      await gateway.kill();
      await client.closed;
      if (client.fault) throw client.fault;
      await gateway.restart();
    }
    for (let cut = 0; cut < 10; cut++) await connectUntilCut(gateway, ledger, {});
    await stopFeeding();
    await expectWhole(gateway, ledger, {});
    expect(ledger.gaps.filter(({ reason }) => reason !== "epoch")).toEqual([]);
    report(
      `${KILLS} kills: ${ledger.sequences.length} records, lost live: ${JSON.stringify(ledger.gaps)}`,
    );
  },
  TIMEOUT_MS,
);

/** The figures of `npm run test:resume`. */
function report(text: string): void {
  if (process.env["RESUME_CUTS"]) process.stdout.write(`${text}\n`);
}
