/** Viewers without the subprotocol, where the journal does not have all that is due. */

import { expect, onTestFinished, test, vi } from "vitest";
import { JournalStage } from "./journal-stage.ts";
import { RawPeer, Rig, Viewer, type RigOptions } from "./rig.ts";

/** Long, as it ends as soon as it can. */
const WAIT = { timeout: 20_000, interval: 20 };

const LARGE = "x".repeat(60_000);

async function startRig(options: RigOptions): Promise<Rig> {
  const rig = await Rig.start(options);
  onTestFinished(() => rig.close());
  return rig;
}

/** A rig over a journal with a disk, of which memory holds so many records. */
async function startStage(memoryRecords: number): Promise<{ rig: Rig; journal: JournalStage }> {
  let journal: JournalStage | undefined;
  const rig = await startRig({
    journal: (inner) => (journal = new JournalStage(inner, memoryRecords)),
    options: { stall_timeout_seconds: 1000 },
  });
  return { rig, journal: journal! };
}

/** Each a batch of its own; the even ones are errors. */
function emit(rig: Rig, from: number, to: number, text = ""): void {
  for (let number = from; number <= to; number++) {
    const severityText = number % 2 === 0 ? "ERROR" : "INFO";
    rig.emit([{ body: `${number} ${text}`, severityText }]);
  }
}

function firstNumbers(messages: readonly string[]): number[] {
  return messages.map((message) => Number(message.split(" ")[0]));
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, offset) => from + offset);
}

async function shows(
  viewer: { readonly messages: readonly string[] },
  expected: readonly number[],
): Promise<void> {
  await vi.waitFor(() => expect(viewer.messages).toHaveLength(expected.length), WAIT);
  expect(firstNumbers(viewer.messages)).toEqual(expected);
}

/** To look at all that a peer has costs more than to wait until so many frames were sent, and all of it was taken. */
async function hasTaken(rig: Rig, frames: () => number): Promise<void> {
  await vi.waitFor(() => {
    expect(rig.metric("frames_sent")).toBe(frames());
    expect(rig.metric("clients_unsent_bytes")).toBe(0);
  }, WAIT);
}

test.each([
  ["", () => true],
  ["&level=ERROR", (number: number) => number % 2 === 0],
])(
  "what the disk has refused is left out of replay=1000%s, and counted",
  async (query, matches) => {
    const { rig, journal } = await startStage(Infinity);
    emit(rig, 1, 40);
    journal.refuse(1, 5);
    journal.refuse(11, 30);
    const viewer = await Viewer.open(rig.url(`?replay=1000${query}`));
    const past = [...numbers(6, 10), ...numbers(31, 40)].filter(matches);
    await shows(viewer, past);
    emit(rig, 41, 42);
    await shows(viewer, [...past, ...numbers(41, 42).filter(matches)]);
    // A search begins with the first one that matches.
    expect(rig.metric("records_unavailable")).toBe(query === "" ? 25 : 20);
    expect(rig.metric("clients")).toBe(1);
  },
);

test("what leaves memory while it is replayed comes from the disk", async () => {
  const { rig } = await startStage(200);
  emit(rig, 1, 200, LARGE);
  const peer = await RawPeer.open(rig.port, "?replay=200");
  await vi.waitFor(() => expect(rig.metric("clients_unsent_bytes")).toBeGreaterThan(0));
  emit(rig, 201, 500);
  peer.read();
  await hasTaken(rig, () => 500);
  await shows(peer, numbers(1, 500));
  emit(rig, 501, 501);
  await shows(peer, numbers(1, 501));
  expect(rig.metric("records_unavailable")).toBe(0);
  peer.socket.destroy();
});

test("what retention deletes while it is replayed is left out, and counted", async () => {
  const rig = await startRig({
    journalBytesMax: 32 << 20,
    options: { stall_timeout_seconds: 1000 },
  });
  emit(rig, 1, 200, LARGE);
  const peer = await RawPeer.open(rig.port, "?replay=200");
  await vi.waitFor(() => expect(rig.metric("clients_unsent_bytes")).toBeGreaterThan(0));
  emit(rig, 201, 500, LARGE);
  peer.read();
  await hasTaken(rig, () => 500 - rig.metric("records_unavailable"));
  const lost = rig.metric("records_unavailable");
  expect(lost).toBeGreaterThan(0);
  await vi.waitFor(() => expect(firstNumbers(peer.messages).at(-1)).toBe(500), WAIT);
  const got = firstNumbers(peer.messages);
  expect(got).toHaveLength(500 - lost);
  expect(got).toEqual([...new Set(got)].toSorted((one, other) => one - other));
  expect(peer.closeFrame).toBeUndefined();
  peer.socket.destroy();
});

test("a live viewer that falls behind over what the disk has refused goes on", async () => {
  const { rig, journal } = await startStage(Infinity);
  const peer = await RawPeer.open(rig.port);
  for (let next = 1; rig.metric("clients_unsent_bytes") === 0; next += 10) {
    emit(rig, next, next + 9, LARGE);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const full = rig.journal.newest;
  emit(rig, full + 1, full + 100);
  journal.refuse(full + 11, full + 30);
  peer.read();
  await shows(peer, [...numbers(1, full + 10), ...numbers(full + 31, full + 100)]);
  expect(rig.metric("records_unavailable")).toBe(20);
  peer.socket.destroy();
});
