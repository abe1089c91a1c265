/**
 * A journal whose envelopes were damaged by an older Tailgate (bf28791): damaged-envelopes.db.gz
 * holds the rows of five requests. In the second one, three records after a large one have its
 * attributes, copied from the wrong offset.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { decodeBlocks, encodeBlocks } from "../../src/batch/block.ts";
import { originOfRecords } from "../../src/batch/origin.ts";
import { recordOf } from "../../src/testing/batch.ts";
import { checksum } from "../../src/journal/schema.ts";
import { LoggingManager } from "tailgate";
import { temporaryDirectory } from "../harness/workspace.ts";
import { allOf, JournalDirectory } from "./journal-directory.ts";

const LARGE = '"\n'.repeat(22_500) + "ééé";

const DAMAGED = ["broken 1", "broken 2", "broken 3"];

/** All messages in the journal, except the gateway's own. */
const MESSAGES = ["sound 1", "sound 2", "before", LARGE, ...DAMAGED, "event", "sound 3"];

const cleanUps: (() => Promise<unknown> | void)[] = [];
const lines: string[] = [];
let logging: LoggingManager;

/** Restores the journal into a directory. */
function restore(directory: string): void {
  const journal = readFileSync(new URL("../fixtures/damaged-envelopes.db.gz", import.meta.url));
  writeFileSync(join(directory, "journal.db"), gunzipSync(journal), { mode: 0o600 });
  writeFileSync(join(directory, "journal.mark"), "100\n", { mode: 0o600 });
}

beforeAll(async () => {
  const logDir = await temporaryDirectory(cleanUps);
  restore(logDir);
  logging = await LoggingManager.start({
    port: 0,
    logDir,
    exporters: { websocket: {} },
    registerGlobally: false,
    write: (line) => lines.push(line),
  });
  cleanUps.push(() => logging.stop());
});

afterAll(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function found(query: string): Promise<Record<string, unknown>[]> {
  const response = await fetch(`${logging.url}/api/logs?${query}`);
  expect(response.status).toBe(200);
  const { records } = (await response.json()) as { records: { data: Record<string, unknown> }[] };
  return records.map(({ data }) => data);
}

describe("a journal with damaged envelopes", () => {
  it("is searchable and returns what was sent", async () => {
    const data = await found("order=asc&q=-checkpoint");
    expect(data.map(({ message }) => message)).toEqual(MESSAGES);
    expect(await found('q="broken 2"')).toEqual([
      {
        timestamp: "2025-10-13T09:27:24.000005Z",
        level: "ERROR",
        logger: "orchestrator.server",
        message: "broken 2",
        module: "",
        function: "",
        line: 0,
        a: "b",
        n: 7,
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
        service: "orchestrator",
      },
    ]);
  });

  it("is replayed to WebSocket clients, which stay connected", async () => {
    expect(await replayed()).toEqual(MESSAGES);
  });

  it("is reported to the operator once", () => {
    expect(lines.filter((line) => line.includes("damaged envelopes"))).toHaveLength(1);
  });
});

describe("a row with a valid checksum that cannot be decoded", () => {
  it.each([
    ["has an unknown form", (bytes: Buffer) => void bytes.writeInt32LE(99, 0)],
    ["tells wrong sizes", (bytes: Buffer) => void bytes.writeInt32LE(7, 12)],
    [
      "tells more records than there can be",
      (bytes: Buffer) => void bytes.writeInt32LE(2 ** 30, 4),
    ],
    ["has loggers that are no JSON", (bytes: Buffer) => void bytes.write("{{", 24 + 20)],
  ])("is a gap if it %s, and the others are read", async (_, change) => {
    await using directory = await JournalDirectory.create();
    restore(directory.path);
    changeRow(directory.file("journal.db"), 9, change);
    const journal = await directory.open();
    const texts = await allOf(journal, {});
    expect(texts.filter((text) => !text.includes(LARGE) && !text.includes("checkpoint"))).toEqual([
      "1 sound 1",
      "2 sound 2",
      "3 before",
      ...DAMAGED.map((text, index) => `${5 + index} ${text}`),
      "8 event",
      "9-9 damaged system_log",
    ]);
    expect(directory.alarms.join()).toContain("of its records 9 to 9 some are lost");
    await directory.close(journal);
  });
});

/**
 * Changes the row of system logs that ends with that sequence, as only a bug in the gateway could.
 */
function changeRow(path: string, last: number, change: (bytes: Buffer) => void): void {
  const db = new DatabaseSync(path);
  const row = db.prepare("SELECT first, appended, bytes FROM system_log WHERE last = ?").get(last);
  const { first, appended, bytes } = row as { first: number; appended: number; bytes: Uint8Array };
  change(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const crc = checksum(bytes, first, last, appended);
  db.prepare("UPDATE system_log SET crc = ?, bytes = ? WHERE last = ?").run(crc, bytes, last);
  db.close();
}

/** The messages that a client receives until it is live. */
async function replayed(): Promise<string[]> {
  const url = `${logging.url.replace("http", "ws")}/ws/logs`;
  const socket = new WebSocket(url, ["tailgate.v1"]);
  const messages: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.addEventListener("open", () => {
    const filter = { q: "-checkpoint" };
    socket.send(JSON.stringify({ type: "subscribe", filter, replay: 20 }));
  });
  socket.addEventListener("close", ({ code }) => reject(new Error(`closed with ${code}`)));
  socket.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data as string) as {
      type: string;
      envelopes?: { data: { message: string } }[];
    };
    for (const envelope of message.envelopes ?? []) messages.push(envelope.data.message);
    if (message.type === "caught_up") resolve();
  });
  await promise;
  socket.close();
  return messages;
}

it("a block of several slabs retains all of its records when one of them is repaired", () => {
  const bodies = ["x".repeat(900_000), "y".repeat(900_000), "last"];
  const origin = originOfRecords(bodies.map((body) => recordOf({ body })));
  const builder = new BatchBuilder(undefined, 4 << 20);
  bodies.forEach((body, index) => {
    builder.begin();
    const data = { timestamp: "2025-10-13T09:27:24.339163Z", message: body };
    const envelope = JSON.stringify({ type: "system_log", data });
    builder.writer.raw(Buffer.from(body === "last" ? envelope.replace('"last"', "?") : envelope));
    builder.commit(1, false, "orchestrator.server", origin, index);
  });
  const batches = builder.take();
  batches[0]!.firstSequence = 1;
  const stored = encodeBlocks(batches).map(({ bytes }) => ({
    firstSequence: 1,
    appendedAtMs: 0,
    bytes,
  }));
  const repaired: number[] = [];
  const batch = decodeBlocks(stored, (sequences) => repaired.push(...sequences));
  expect(repaired).toEqual([3]);
  expect(bodies.map((_, index) => batch.envelope(index).data.message)).toEqual(bodies);
  expect(bodies.map((_, index) => batch.sequence(index))).toEqual([1, 2, 3]);
});
