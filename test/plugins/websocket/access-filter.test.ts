/** Clients that may read only some records, and clients whose access ends. */

import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { type Access, type FilterQuery, type ServerMessage } from "tailgate/plugin";
import { grantedAccess } from "../../../src/auth/access.ts";
import { OPEN_ACCESS } from "../../../src/plugin/access.ts";
import {
  AUDIT,
  Client,
  PagedJournal,
  RawPeer,
  startHarness,
  startPagedHarness,
  WebSocketHarness,
} from "../../harness/websocket.ts";
import {
  accessOf,
  anyFilter,
  anyReader,
  marked,
  markedRecord,
  markersIn,
  READERS,
  STARTED_MS,
  type MarkedRecord,
  type Reader,
} from "../../harness/restricted-readers.ts";
import { SubprotocolClient } from "../../harness/subprotocol-client.ts";

interface Start {
  /** Relative to the first record. */
  readonly since?: number;
  readonly replay?: number;
  /** The share of the stored records that the client has. */
  readonly resume?: number;
}

const start: fc.Arbitrary<Start> = fc.oneof(
  fc.constant({}),
  fc.record({ since: fc.nat({ max: 5000 }) }),
  fc.record({ replay: fc.integer({ min: 1, max: 60 }) }),
  fc.record({ resume: fc.float({ min: 0, max: 1, noNaN: true }) }),
);

/** A gateway that has the records that a reader may read, or all of them. */
class Gateway {
  readonly #harness: WebSocketHarness;
  readonly #holds: (record: MarkedRecord) => boolean;
  #count = 0;

  private constructor(harness: WebSocketHarness, holds: (record: MarkedRecord) => boolean) {
    this.#harness = harness;
    this.#holds = holds;
  }

  static async open(
    memoryRecords: number,
    holds: (record: MarkedRecord) => boolean = () => true,
  ): Promise<Gateway> {
    const harness = await WebSocketHarness.start({
      journal: (inner) => new PagedJournal(inner, memoryRecords),
    });
    return new Gateway(harness, holds);
  }

  emit(records: readonly MarkedRecord[]): void {
    const logged = marked(records, this.#count).filter((_, index) => this.#holds(records[index]!));
    this.#count += records.length;
    if (logged.length > 0) this.#harness.emit(logged);
  }

  async plain(access: Access, { q, type, level }: FilterQuery, replay: number): Promise<Client> {
    this.#harness.access = access;
    const query = new URLSearchParams({ q: q ?? "", type: type ?? "", level: level ?? "" });
    return Client.open(this.#harness.url(`?${query.toString()}&replay=${replay}`));
  }

  /** A client of `tailgate.v1` that has caught up. `had`: how many of the records here it has. */
  async subscribe(
    access: Access,
    { filter, since, replay, had }: { filter: FilterQuery } & Start & { had: number | undefined },
  ): Promise<SubprotocolClient> {
    this.#harness.access = access;
    const client = await SubprotocolClient.open(this.#harness.url());
    const { epoch } = this.#harness.journal;
    const from = {
      ...(since !== undefined && { since: STARTED_MS + since }),
      ...(replay !== undefined && { replay }),
      ...(had !== undefined && { resume: { epoch, sequence: had } }),
    };
    client.send({ type: "subscribe", filter, ...from });
    await client.until("caught_up");
    return client;
  }

  close(): Promise<void> {
    return this.#harness.close();
  }
}

/** What a client got: its records, whatever their sequences are. */
function gotBy({ messages }: SubprotocolClient): object[] {
  return messages.flatMap((message) => (message.type === "batch" ? message.envelopes : []));
}

/** Resolves when the client has everything that was sent with its filter, which then is replaced. */
async function changeFilter(
  client: SubprotocolClient,
  filter: FilterQuery,
  version: number,
): Promise<void> {
  client.send({ type: "filter", filter, version });
  await client.poll(() => {
    expect(client.all("filter").at(-1)?.version).toBe(version);
  });
}

describe("a client that may read only some records", () => {
  test("gets what a gateway that has only these would send, live and stored, and nothing of others", async () => {
    const records = fc.array(markedRecord, { maxLength: 40 });
    const property = fc.asyncProperty(
      fc.record({
        stored: records,
        live: records,
        last: records,
        who: anyReader,
        other: anyReader,
        start,
        filter: anyFilter,
        next: anyFilter,
        memoryRecords: fc.integer({ min: 5, max: 100 }),
      }),
      async ({ stored, live, last, who, other, start: from, filter, next, memoryRecords }) => {
        const full = await Gateway.open(memoryRecords);
        const oracle = await Gateway.open(memoryRecords, (record) => who.reads(record));
        try {
          full.emit(stored);
          oracle.emit(stored);
          const { resume, ...rest } = from;
          const has = resume === undefined ? undefined : Math.floor(resume * stored.length);
          const held = stored.slice(0, has).filter((record) => who.reads(record)).length;
          const subscription = { filter, ...rest, had: has };
          // The others have the same filter and position, and must not share matches or frames.
          const all = await full.subscribe(OPEN_ACCESS, subscription);
          const restricted = await full.subscribe(accessOf(who), subscription);
          const neighbor = await full.subscribe(accessOf(other), subscription);
          const plain = await full.plain(accessOf(who), filter, 30);
          const expected = await oracle.subscribe(OPEN_ACCESS, {
            ...subscription,
            had: has === undefined ? undefined : held,
          });
          const expectedPlain = await oracle.plain(OPEN_ACCESS, filter, 30);
          full.emit(live);
          oracle.emit(live);
          const clients = [all, restricted, neighbor, expected];
          for (const client of clients) await changeFilter(client, next, 1);
          full.emit(last);
          oracle.emit(last);
          for (const client of clients) await changeFilter(client, {}, 2);
          expect(gotBy(restricted)).toEqual(gotBy(expected));
          expect(restricted.ledger.gaps).toEqual(expected.ledger.gaps);
          await expectedPlain.settled();
          await vi.waitFor(() => expect(plain.texts).toEqual(expectedPlain.texts));
          await plain.settled();
          expect(plain.texts).toEqual(expectedPlain.texts);
          const given = [...stored, ...live, ...last];
          expectOnlyReadable(who, given, restricted.texts.join("\n"));
          expectOnlyReadable(who, given, plain.texts.join("\n"));
          expectOnlyReadable(other, given, neighbor.texts.join("\n"));
          for (const client of clients) expect(client.fault).toBeUndefined();
        } finally {
          await full.close();
          await oracle.close();
        }
      },
    );
    await fc.assert(property, { numRuns: 20 });
  });

  test("does not cost those anything that may read everything: nothing is matched for them", async () => {
    const harness = await startHarness();
    harness.access = grantedAccess("token:boss", { scopes: ["admin"] });
    const boss = await SubprotocolClient.subscribe(harness.url());
    harness.emit([{}, { scope: AUDIT }]);
    await boss.untilSequence(2);
    expect(boss.ledger.sequences).toEqual([1, 2]);
    expect(harness.metric("matching_seconds")).toBe(0);
  });

  test("is not told whether a record that it may not read is older than its start", async () => {
    const { harness, journal } = await startPagedHarness(1);
    const [, , tenant] = READERS;
    const theirs: MarkedRecord = {
      tenant: "theirs",
      isAudit: false,
      severityText: "INFO",
      micros: 0,
      padding: 0,
    };
    harness.emit(marked(Array.from({ length: 4 }, () => theirs)));
    harness.emit([
      { ...marked([theirs], 4)[0]!, timestamp: BigInt(STARTED_MS + 9000) * 1_000_000n },
    ]);
    journal.gaps.push({ from: 1, to: 2, reason: "retention" });
    harness.access = accessOf(tenant!);
    const gapsSince = async (since: number): Promise<unknown> => {
      const client = await SubprotocolClient.subscribe(harness.url(), { since });
      return client.all("gap");
    };
    const before = await gapsSince(STARTED_MS - 1000);
    expect(before).toEqual([{ type: "gap", from: 1, to: 2, reason: "retention" }]);
    expect(await gapsSince(STARTED_MS + 1000)).toEqual(before);
    harness.access = OPEN_ACCESS;
    expect(await gapsSince(STARTED_MS + 1000)).toEqual([]);
  });

  test("hears nothing about gaps of the other type", async () => {
    const { harness, journal } = await startPagedHarness(1);
    harness.emit([{}, { scope: AUDIT }, {}]);
    journal.gaps.push({ from: 1, to: 1, type: "audit_log", reason: "damaged" });
    const [system, audit] = READERS;
    const gapsOf = async (who: Reader): Promise<ServerMessage[]> => {
      harness.access = accessOf(who);
      const client = await SubprotocolClient.subscribe(harness.url(), { since: 0 });
      return client.all("gap");
    };
    expect(await gapsOf(system!)).toEqual([]);
    expect(await gapsOf(audit!)).toHaveLength(1);
  });
});

function expectOnlyReadable(who: Reader, records: readonly MarkedRecord[], bytes: string): void {
  const hidden = markersIn(bytes).filter((marker) => !who.reads(records[marker]!));
  expect(hidden).toEqual([]);
}

describe("when the access of a client ends", () => {
  const [system] = READERS;
  const REASON = "unauthorized: access expired or was revoked";

  test("it gets what was sent, a goodbye and 1008, and nothing more", async () => {
    const harness = await startHarness();
    const ended = new AbortController();
    harness.access = accessOf(system!, ended.signal);
    const client = await SubprotocolClient.subscribe(harness.url());
    const plain = await Client.open(harness.url());
    harness.access = OPEN_ACCESS;
    const other = await Client.open(harness.url());
    harness.emit([{ body: "one" }]);
    ended.abort();
    harness.emit([{ body: "two" }]);
    expect(await client.closed).toEqual({ code: 1008, reason: REASON });
    expect(await plain.closed).toEqual({ code: 1008, reason: REASON });
    expect(client.all("goodbye")).toEqual([{ type: "goodbye", reason: "unauthorized" }]);
    expect(client.messages.at(-1)?.type).toBe("goodbye");
    expect(gotBy(client)).toMatchObject([{ data: { message: "one" } }]);
    expect(plain.messages).toEqual(["one"]);
    await other.settled();
    expect(other.messages).toEqual(["one", "two"]);
    expect(harness.metric("clients_closed", "unauthorized")).toBe(2);
  });

  test("one whose access had ended before it connected gets nothing", async () => {
    const harness = await startHarness();
    harness.emit([{ body: "before" }]);
    harness.access = accessOf(system!, AbortSignal.abort());
    const plain = await Client.open(harness.url("?replay=1"));
    const client = await SubprotocolClient.open(harness.url());
    harness.emit([{ body: "after" }]);
    expect(await plain.closed).toEqual({ code: 1008, reason: REASON });
    expect(await client.closed).toEqual({ code: 1008, reason: REASON });
    expect(plain.messages).toEqual([]);
    expect(client.messages.map(({ type }) => type)).toEqual(["hello", "goodbye"]);
  });

  test("it is cut off if it does not read or answer", async () => {
    const harness = await startHarness();
    const ended = new AbortController();
    harness.access = accessOf(system!, ended.signal);
    const peer = await RawPeer.open(harness.port);
    ended.abort();
    await vi.waitFor(() => expect(harness.metric("clients")).toBe(0), 10_000);
    peer.read();
    await vi.waitFor(() => expect(peer.socket.closed).toBe(true));
    expect(peer.closeFrame).toEqual({ code: 1008, reason: REASON });
  });

  test("a client that has left is forgotten", async () => {
    const harness = await startHarness();
    const { signal } = new AbortController();
    const listeners = new Set<unknown>();
    vi.spyOn(signal, "addEventListener").mockImplementation((_, listener) => {
      listeners.add(listener);
    });
    vi.spyOn(signal, "removeEventListener").mockImplementation((_, listener) => {
      listeners.delete(listener);
    });
    harness.access = accessOf(system!, signal);
    const client = await Client.open(harness.url());
    expect(listeners.size).toBe(1);
    client.socket.close();
    await client.closed;
    await vi.waitFor(() => expect(listeners.size).toBe(0));
  });
});
