import { describe, expect, test, vi } from "vitest";
import { batchOf } from "tailgate/testing";
import { Viewer } from "../../harness/websocket.ts";
import { AUDIT, emitMixed, numbers, startRig } from "../../harness/websocket-tests.ts";
import { SubprotocolViewer } from "./subprotocol-viewer.ts";

describe("batches", () => {
  test("the envelopes are the bytes of the journal, and sequences are there where they are needed", async () => {
    const rig = await startRig();
    const everything = await SubprotocolViewer.subscribe(rig.url());
    const errors = await SubprotocolViewer.subscribe(rig.url(), { filter: { level: "ERROR" } });
    const bodies = ["1", 'grüße 🌍 \u2028 }] \\"', "lone \ud800", "\u0000\u001b[31m"];
    const records = bodies.map((body, index) => ({
      body,
      severityText: index % 2 === 0 ? "ERROR" : "INFO",
      attributes: new Map<string, number>([["ratio", 1.5e300]]),
    }));
    rig.emit(records);
    await everything.at(4);
    await errors.at(4);
    const plain = batchOf(records);
    const bytes = numbers(0, 3).map((index) => Buffer.from(plain.bytes(index)).toString());
    expect(everything.texts.at(-1)).toBe(
      `{"type":"batch","from":1,"to":4,"durable":4,"envelopes":[${bytes.join(",")}]}`,
    );
    expect(errors.texts.at(-1)).toBe(
      `{"type":"batch","from":1,"to":4,"durable":4,"sequences":[1,3],"envelopes":[${bytes[0]},${bytes[2]}]}`,
    );
  });

  test("who gets nothing for a while learns how far it is", async () => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { filter: { level: "CRITICAL" } });
    emitMixed(rig, 30);
    emitMixed(rig, 30);
    await viewer.at(60);
    expect(viewer.all("batch")).toMatchObject([{ from: 1, to: 60, envelopes: [] }]);
    rig.emit([{ body: "fatal", severityText: "FATAL" }]);
    await viewer.at(61);
    expect(viewer.all("batch")[1]).toMatchObject({ from: 61, to: 61 });
  });

  test("viewers with one filter and different places share what matches, not where it begins", async () => {
    const rig = await startRig();
    const filter = { level: "CRITICAL" };
    const early = await SubprotocolViewer.subscribe(rig.url(), { filter });
    emitMixed(rig, 20);
    const late = await SubprotocolViewer.subscribe(rig.url(), { filter });
    rig.emit([{ body: "fatal", severityText: "FATAL" }]);
    await early.at(21);
    await late.at(21);
    expect(late.all("batch")).toMatchObject([{ from: 21, to: 21 }]);
    expect(early.all("batch").at(-1)!.to).toBe(21);
    expect([early.ledger.sequences, late.ledger.sequences]).toEqual([[21], [21]]);
  });

  test("viewers share nothing where a line feed makes one filter read like another", async () => {
    const rig = await startRig();
    const { name: logger } = AUDIT;
    const oddFilter = { logger: `${logger}\nlevel:INFO` };
    const odd = await SubprotocolViewer.subscribe(rig.url(), { filter: oddFilter });
    const filter = { logger, q: "level:INFO" };
    const usual = await SubprotocolViewer.subscribe(rig.url(), { filter });
    rig.emit([{ body: "an event", scope: AUDIT }]);
    await odd.at(1);
    await usual.at(1);
    expect([odd.ledger.messages, usual.ledger.messages]).toEqual([[], ["an event"]]);
  });

  test("large batches come in parts, and a record of a megabyte alone", async () => {
    const rig = await startRig({ options: { client_buffer_bytes: 128 << 10 } });
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    const sizes = [...Array<number>(2000).fill(100), 1 << 20, ...Array<number>(5).fill(40_000)];
    rig.emit(sizes.map((size, index) => ({ body: `${index + 1} ${"x".repeat(size)}` })));
    await viewer.at(sizes.length);
    expect(viewer.ledger.sequences).toEqual(numbers(1, sizes.length));
    const lengths = viewer.texts.map((text) => text.length);
    expect(lengths.filter((length) => length > 70_000)).toHaveLength(1);
  });

  test("the exporter's own level holds, and what delivery leaves out comes from the journal", async () => {
    const rig = await startRig({ level: "WARNING" });
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    rig.append([{ body: "late", severityText: "ERROR" }, { body: "no" }]);
    rig.emit([{ body: "now", severityText: "WARNING" }]);
    await viewer.at(3);
    expect(viewer.ledger.messages).toEqual(["late", "now"]);
  });

  test("viewers of both kinds stand side by side", async () => {
    const rig = await startRig();
    const plain = await Viewer.open(rig.url());
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    emitMixed(rig, 500);
    await viewer.at(500);
    await vi.waitFor(() => expect(plain.texts).toHaveLength(500));
    expect(viewer.ledger.envelopes.get(77)).toEqual(plain.envelopes[76]);
    expect([...viewer.ledger.envelopes.values()]).toEqual(plain.envelopes);
  });
});
