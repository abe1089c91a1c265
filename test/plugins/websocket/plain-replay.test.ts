/** Clients without the subprotocol, when the journal does not have all records requested. */

import { describe, expect, onTestFinished, test, vi } from "vitest";
import { postMessages } from "../../harness/otlp.ts";
import {
  PagedJournal,
  RawPeer,
  WebSocketHarness,
  Client,
  type HarnessOptions,
} from "../../harness/websocket.ts";
import { SubprotocolClient } from "../../harness/subprotocol-client.ts";
import { GatewayProcess } from "../../harness/gateway.ts";

/** Long, because it ends as soon as it can. */
const WAIT = { timeout: 20_000, interval: 20 };

const LARGE = "x".repeat(60_000);

async function startHarness(options: HarnessOptions): Promise<WebSocketHarness> {
  const harness = await WebSocketHarness.start(options);
  onTestFinished(() => harness.close());
  return harness;
}

/** A harness over a journal on disk, with that many records in memory. */
async function startPagedHarness(
  memoryRecords: number,
): Promise<{ harness: WebSocketHarness; journal: PagedJournal }> {
  let journal: PagedJournal | undefined;
  const harness = await startHarness({
    journal: (inner) => (journal = new PagedJournal(inner, memoryRecords)),
    options: { stall_timeout_seconds: 1000 },
  });
  return { harness, journal: journal! };
}

/** Each in its own batch; the even ones are errors. */
function emit(harness: WebSocketHarness, from: number, to: number, text = ""): void {
  for (let number = from; number <= to; number++) {
    const severityText = number % 2 === 0 ? "ERROR" : "INFO";
    harness.emit([{ body: `${number} ${text}`, severityText }]);
  }
}

function firstNumbers(messages: readonly string[]): number[] {
  return messages.map((message) => Number(message.split(" ")[0]));
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, offset) => from + offset);
}

async function shows(
  client: { readonly messages: readonly string[] },
  expected: readonly number[],
): Promise<void> {
  await vi.waitFor(() => expect(client.messages).toHaveLength(expected.length), WAIT);
  expect(firstNumbers(client.messages)).toEqual(expected);
}

/**
 * Parsing all that a peer received costs more than waiting for the frame count and an empty buffer.
 */
async function hasTaken(harness: WebSocketHarness, frames: () => number): Promise<void> {
  await vi.waitFor(() => {
    expect(harness.metric("frames_sent")).toBe(frames());
    expect(harness.metric("clients_unsent_bytes")).toBe(0);
  }, WAIT);
}

test.each([
  ["", () => true],
  ["&level=ERROR", (number: number) => number % 2 === 0],
])(
  "records that the disk rejected are skipped by replay=1000%s, and counted",
  async (query, matches) => {
    const { harness, journal } = await startPagedHarness(Infinity);
    emit(harness, 1, 40);
    journal.rejectWrites(1, 5);
    journal.rejectWrites(11, 30);
    const client = await Client.open(harness.url(`?replay=1000${query}`));
    const past = [...numbers(6, 10), ...numbers(31, 40)].filter(matches);
    await shows(client, past);
    emit(harness, 41, 42);
    await shows(client, [...past, ...numbers(41, 42).filter(matches)]);
    // A search begins with the first match.
    expect(harness.metric("records_unavailable")).toBe(query === "" ? 25 : 20);
    expect(harness.metric("clients")).toBe(1);
  },
);

test.each([
  ["?replay=150", (number: number) => number > 250],
  ["?replay=1000", () => true],
  ["?replay=20&level=ERROR", (number: number) => number > 360 && number % 2 === 0],
  ["?replay=1000&level=ERROR", (number: number) => number % 2 === 0],
  ["?replay=0", () => false],
  ["", () => false],
])("records only on disk come first, with 50 of 400 records in memory: %s", async (query, due) => {
  const { harness, journal } = await startPagedHarness(50);
  emit(harness, 1, 400);
  const client = await Client.open(harness.url(query));
  // During the search.
  emit(harness, 401, 470);
  const isLive = (number: number): boolean => !query.includes("level") || number % 2 === 0;
  const live = numbers(401, 470).filter(isLive);
  await shows(client, [...numbers(1, 400).filter(due), ...live]);
  expect(harness.metric("records_unavailable")).toBe(0);
  expect(journal.reads).toBeLessThan(1000);
});

test("a search that no client waits for ends", async () => {
  const { harness, journal } = await startPagedHarness(1);
  emit(harness, 1, 1000);
  const client = await Client.open(harness.url("?replay=5&q=nothing"));
  await vi.waitFor(() => expect(journal.reads).toBeGreaterThan(0));
  client.socket.terminate();
  await vi.waitFor(() => expect(harness.metric("clients")).toBe(0), WAIT);
  const { reads } = journal;
  for (let turns = 0; turns < 10; turns++) await new Promise((resolve) => setImmediate(resolve));
  expect(journal.reads).toBeLessThanOrEqual(reads + 1);
});

describe("default_replay", () => {
  const past = { level: "ERROR" };

  test("applies to clients without a start position, up to replay_max", async () => {
    for (const [options, count] of [
      [{ default_replay: 3 }, 3],
      [{ default_replay: 9, replay_max: 4 }, 4],
      [{}, 0],
    ] as const) {
      const harness = await startHarness({ options });
      emit(harness, 1, 20);
      const plain = await Client.open(harness.url());
      const empty = await Client.open(harness.url("?replay="));
      const filtered = await Client.open(harness.url("?level=ERROR"));
      const none = await Client.open(harness.url("?replay=0"));
      const one = await Client.open(harness.url("?replay=1"));
      const subscriber = await SubprotocolClient.subscribe(harness.url(), { filter: past });
      const asked = await SubprotocolClient.subscribe(harness.url(), { replay: 2 });
      const { epoch } = harness.journal;
      const resumed = await SubprotocolClient.subscribe(harness.url(), {
        resume: { epoch, sequence: 19 },
      });
      emit(harness, 22, 22);
      await shows(plain, [...numbers(21 - count, 20), 22]);
      await shows(empty, [...numbers(21 - count, 20), 22]);
      await shows(filtered, [...evens(22 - 2 * count, 20), 22]);
      await shows(none, [22]);
      await shows(one, [20, 22]);
      for (const client of [subscriber, asked, resumed]) await client.untilSequence(21);
      expect(firstNumbers(subscriber.ledger.messages)).toEqual([...evens(22 - 2 * count, 20), 22]);
      expect(firstNumbers(asked.ledger.messages)).toEqual([19, 20, 22]);
      expect(firstNumbers(resumed.ledger.messages)).toEqual([20, 22]);
    }
  });
});

function evens(from: number, to: number): number[] {
  return numbers(from, to).filter((number) => number % 2 === 0);
}

test("after a restart, replay and default_replay read records stored by the previous gateway", async () => {
  await using gateway = await GatewayProcess.start(
    "receivers: { otlp: { port: null } }\nexporters: { websocket: { default_replay: 5 } }\n",
  );
  const post = (from: number, to: number): Promise<number> =>
    postMessages(gateway.url, numbers(from, to).map(String));
  expect(await post(1, 300)).toBe(200);
  await gateway.kill();
  await gateway.restart();
  const asking = await Client.open(`${gateway.websocketUrl}?replay=120`);
  const silent = await Client.open(gateway.websocketUrl);
  const filtered = await Client.open(`${gateway.websocketUrl}?replay=3&q=99`);
  expect(await post(301, 399)).toBe(200);
  await shows(asking, numbers(181, 399));
  await shows(silent, numbers(296, 399));
  await shows(filtered, [99, 199, 299, 399]);
});

test("records that leave memory during the replay are read from disk", async () => {
  const { harness } = await startPagedHarness(200);
  emit(harness, 1, 200, LARGE);
  const peer = await RawPeer.open(harness.port, "?replay=200");
  await vi.waitFor(() => expect(harness.metric("clients_unsent_bytes")).toBeGreaterThan(0));
  emit(harness, 201, 500);
  peer.read();
  await hasTaken(harness, () => 500);
  await shows(peer, numbers(1, 500));
  emit(harness, 501, 501);
  await shows(peer, numbers(1, 501));
  expect(harness.metric("records_unavailable")).toBe(0);
  peer.socket.destroy();
});

test("records that expire during the replay are skipped, and counted", async () => {
  const harness = await startHarness({
    journalBytesMax: 32 << 20,
    options: { stall_timeout_seconds: 1000 },
  });
  emit(harness, 1, 200, LARGE);
  const peer = await RawPeer.open(harness.port, "?replay=200");
  await vi.waitFor(() => expect(harness.metric("clients_unsent_bytes")).toBeGreaterThan(0));
  emit(harness, 201, 500, LARGE);
  peer.read();
  await hasTaken(harness, () => 500 - harness.metric("records_unavailable"));
  const lost = harness.metric("records_unavailable");
  expect(lost).toBeGreaterThan(0);
  await vi.waitFor(() => expect(firstNumbers(peer.messages).at(-1)).toBe(500), WAIT);
  const got = firstNumbers(peer.messages);
  expect(got).toHaveLength(500 - lost);
  expect(got).toEqual([...new Set(got)].toSorted((one, other) => one - other));
  expect(peer.closeFrame).toBeUndefined();
  peer.socket.destroy();
});

test("a lagging live client continues past records that the disk rejected", async () => {
  const { harness, journal } = await startPagedHarness(Infinity);
  const peer = await RawPeer.open(harness.port);
  for (let next = 1; harness.metric("clients_unsent_bytes") === 0; next += 10) {
    emit(harness, next, next + 9, LARGE);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const full = harness.journal.newest;
  emit(harness, full + 1, full + 100);
  journal.rejectWrites(full + 11, full + 30);
  peer.read();
  await shows(peer, [...numbers(1, full + 10), ...numbers(full + 31, full + 100)]);
  expect(harness.metric("records_unavailable")).toBe(20);
  peer.socket.destroy();
});
