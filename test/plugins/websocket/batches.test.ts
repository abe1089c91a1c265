import { describe, expect, test, vi } from "vitest";
import { batchOf } from "tailgate/testing";
import { Client, AUDIT, emitMixed, numbers, startHarness } from "../../harness/websocket.ts";
import { SubprotocolClient } from "../../harness/subprotocol-client.ts";

describe("batches", () => {
  test("envelopes are the journal's bytes, and sequences are included if needed", async () => {
    const harness = await startHarness();
    const everything = await SubprotocolClient.subscribe(harness.url());
    const errors = await SubprotocolClient.subscribe(harness.url(), { filter: { level: "ERROR" } });
    const bodies = ["1", 'grüße 🌍 \u2028 }] \\"', "lone \ud800", "\u0000\u001b[31m"];
    const records = bodies.map((body, index) => ({
      body,
      severityText: index % 2 === 0 ? "ERROR" : "INFO",
      attributes: new Map<string, number>([["ratio", 1.5e300]]),
    }));
    harness.emit(records);
    await everything.untilSequence(4);
    await errors.untilSequence(4);
    const plain = batchOf(records);
    const bytes = numbers(0, 3).map((index) => Buffer.from(plain.bytes(index)).toString());
    expect(everything.texts.at(-1)).toBe(
      `{"type":"batch","from":1,"to":4,"durable":4,"envelopes":[${bytes.join(",")}]}`,
    );
    expect(errors.texts.at(-1)).toBe(
      `{"type":"batch","from":1,"to":4,"durable":4,"sequences":[1,3],"envelopes":[${bytes[0]},${bytes[2]}]}`,
    );
  });

  test("an idle client receives its position", async () => {
    const harness = await startHarness();
    const client = await SubprotocolClient.subscribe(harness.url(), {
      filter: { level: "CRITICAL" },
    });
    emitMixed(harness, 30);
    emitMixed(harness, 30);
    await client.untilSequence(60);
    expect(client.all("batch")).toMatchObject([{ from: 1, to: 60, envelopes: [] }]);
    harness.emit([{ body: "fatal", severityText: "FATAL" }]);
    await client.untilSequence(61);
    expect(client.all("batch")[1]).toMatchObject({ from: 61, to: 61 });
  });

  test("clients with one filter and different positions share matches, but not their start", async () => {
    const harness = await startHarness();
    const filter = { level: "CRITICAL" };
    const early = await SubprotocolClient.subscribe(harness.url(), { filter });
    emitMixed(harness, 20);
    const late = await SubprotocolClient.subscribe(harness.url(), { filter });
    harness.emit([{ body: "fatal", severityText: "FATAL" }]);
    await early.untilSequence(21);
    await late.untilSequence(21);
    expect(late.all("batch")).toMatchObject([{ from: 21, to: 21 }]);
    expect(early.all("batch").at(-1)!.to).toBe(21);
    expect([early.ledger.sequences, late.ledger.sequences]).toEqual([[21], [21]]);
  });

  test("clients share nothing if a line feed makes filters look alike", async () => {
    const harness = await startHarness();
    const { name: logger } = AUDIT;
    const oddFilter = { logger: `${logger}\nlevel:INFO` };
    const odd = await SubprotocolClient.subscribe(harness.url(), { filter: oddFilter });
    const filter = { logger, q: "level:INFO" };
    const usual = await SubprotocolClient.subscribe(harness.url(), { filter });
    harness.emit([{ body: "an event", scope: AUDIT }]);
    await odd.untilSequence(1);
    await usual.untilSequence(1);
    expect([odd.ledger.messages, usual.ledger.messages]).toEqual([[], ["an event"]]);
  });

  test("large batches are split, and a record of a megabyte is sent alone", async () => {
    const harness = await startHarness({ options: { client_buffer_bytes: 128 << 10 } });
    const client = await SubprotocolClient.subscribe(harness.url());
    const sizes = [...Array<number>(2000).fill(100), 1 << 20, ...Array<number>(5).fill(40_000)];
    harness.emit(sizes.map((size, index) => ({ body: `${index + 1} ${"x".repeat(size)}` })));
    await client.untilSequence(sizes.length);
    expect(client.ledger.sequences).toEqual(numbers(1, sizes.length));
    const lengths = client.texts.map((text) => text.length);
    expect(lengths.filter((length) => length > 70_000)).toHaveLength(1);
  });

  test("the exporter's level and filter apply, and records that delivery skips come from the journal", async () => {
    const harness = await startHarness({ level: "WARNING", filter: "-secret" });
    const client = await SubprotocolClient.subscribe(harness.url());
    harness.append([
      { body: "late", severityText: "ERROR" },
      { body: "no" },
      { body: "a secret", severityText: "ERROR" },
    ]);
    harness.emit([{ body: "now here", severityText: "WARNING" }]);
    await client.untilSequence(4);
    expect(client.ledger.messages).toEqual(["late", "now here"]);
    const plain = await Client.open(harness.url("?replay=9&q=e"));
    await vi.waitFor(() => expect(plain.envelopes).toHaveLength(2));
    expect(plain.envelopes.map(({ data }) => data.message)).toEqual(["late", "now here"]);
  });

  test("clients of both kinds work side by side", async () => {
    const harness = await startHarness();
    const plain = await Client.open(harness.url());
    const client = await SubprotocolClient.subscribe(harness.url());
    emitMixed(harness, 500);
    await client.untilSequence(500);
    await vi.waitFor(() => expect(plain.texts).toHaveLength(500));
    expect(client.ledger.envelopes.get(77)).toEqual(plain.envelopes[76]);
    expect([...client.ledger.envelopes.values()]).toEqual(plain.envelopes);
  });
});
