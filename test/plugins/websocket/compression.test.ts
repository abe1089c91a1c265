/** permessage-deflate: the clients are `ws` and Node's own WebSocket, which decompress by themselves. */

import { once } from "node:events";
import * as fc from "fast-check";
import { expect, onTestFinished, test, vi } from "vitest";
import { WebSocket as WsClient } from "ws";
import { SUBPROTOCOL } from "tailgate/plugin";
import { batchOf } from "tailgate/testing";
import { WebSocketHarness } from "../../harness/websocket.ts";

const SUBSCRIBE = JSON.stringify({ type: "subscribe" });

/** A client, with what it has received and the bytes that its socket has read. */
class Viewer {
  readonly texts: string[] = [];
  readonly socket: WsClient;

  private constructor(socket: WsClient) {
    this.socket = socket;
    socket.on("message", (data: Buffer) => this.texts.push(data.toString()));
    onTestFinished(() => socket.terminate());
  }

  /** Connects; with the subprotocol, it is subscribed. */
  static async connect(
    url: string,
    subprotocols: readonly string[] = [],
    perMessageDeflate: boolean | object = true,
  ): Promise<Viewer> {
    const socket = new WsClient(url, [...subprotocols], { perMessageDeflate });
    const viewer = new Viewer(socket);
    await once(socket, "open");
    if (socket.protocol !== SUBPROTOCOL) return viewer;
    socket.send(SUBSCRIBE);
    await viewer.until(2);
    return viewer;
  }

  get bytesRead(): number {
    return (this.socket as unknown as { _socket: { bytesRead: number } })._socket.bytesRead;
  }

  async until(count: number): Promise<void> {
    while (this.texts.length < count) await once(this.socket, "message");
  }
}

async function start(options: Record<string, unknown>): Promise<WebSocketHarness> {
  const harness = await WebSocketHarness.start({ options });
  onTestFinished(() => harness.close());
  return harness;
}

/** Records like those of an orchestrator. */
function records(count: number): { body: string; attributes: Map<string, string> }[] {
  return Array.from({ length: count }, (_, index) => ({
    body: `Instance inst-${index} finished step 12 of 40 with exit status 0`,
    attributes: new Map([["instance_id", `inst-${index}`]]),
  }));
}

test("clients get any records as they are, compressed or not", async () => {
  const harness = await start({ compression: true, compression_threshold_bytes: 200 });
  const plain = await Viewer.connect(harness.url());
  const batches = await Viewer.connect(harness.url(), [SUBPROTOCOL]);
  const uncompressed = await Viewer.connect(harness.url(), [], false);
  expect(plain.socket.extensions).toMatch(/^permessage-deflate/);
  expect(uncompressed.socket.extensions).toBe("");
  const bodies = fc.array(
    fc.oneof(
      fc.string({ unit: "binary", maxLength: 200 }),
      fc.nat(70_000).map((size) => "é".repeat(size)),
      fc.uint8Array({ maxLength: 70_000 }).map((bytes) => Buffer.from(bytes).toString("base64")),
    ),
    { minLength: 1, maxLength: 8 },
  );
  await fc.assert(
    fc.asyncProperty(bodies, async (given) => {
      const sent = given.map((body) => ({ body }));
      const wanted = batchOf(sent);
      const texts = given.map((_, index) => Buffer.from(wanted.bytes(index)).toString());
      const viewers = [plain, uncompressed, batches];
      for (const viewer of viewers) viewer.texts.length = 0;
      harness.emit(sent);
      await Promise.all([plain.until(given.length), uncompressed.until(given.length)]);
      const envelopes = (): unknown[] =>
        batches.texts.flatMap(
          (text) => (JSON.parse(text) as { envelopes?: unknown[] }).envelopes ?? [],
        );
      await vi.waitFor(() => expect(envelopes()).toHaveLength(given.length));
      expect(plain.texts).toEqual(texts);
      expect(uncompressed.texts).toEqual(texts);
      expect(envelopes()).toEqual(texts.map((text) => JSON.parse(text) as unknown));
    }),
    { numRuns: 25 },
  );
});

test("clients of the same records share a compressed message of a fifth of the size", async () => {
  const harness = await start({ compression: true });
  const viewers = await Promise.all(
    [1, 2, 3].map(() => Viewer.connect(harness.url(), [SUBPROTOCOL])),
  );
  const before = viewers.map(({ bytesRead }) => bytesRead);
  harness.emit(records(100));
  await Promise.all(viewers.map((viewer) => viewer.until(3)));
  const sizes = viewers.map(({ bytesRead }, index) => bytesRead - before[index]!);
  const whole = viewers[0]!.texts.at(-1)!.length;
  expect(new Set(sizes).size).toBe(1);
  expect(sizes[0]! / whole).toBeLessThan(0.2);
  // Compressed once, and counted once.
  expect(harness.metric("compression_saved_bytes")).toBeGreaterThan(0.8 * whole);
  expect(harness.metric("compression_saved_bytes")).toBeLessThan(whole);
});

test("messages below the threshold are not compressed", async () => {
  const harness = await start({ compression: true, compression_threshold_bytes: 1 << 20 });
  const viewer = await Viewer.connect(harness.url(), [SUBPROTOCOL]);
  harness.emit(records(100));
  await viewer.until(3);
  expect(harness.metric("compression_saved_bytes")).toBe(0);
});

test("without the option, and with a smaller window than usual, nothing is compressed", async () => {
  const off = await start({});
  expect((await Viewer.connect(off.url())).socket.extensions).toBe("");
  const on = await start({ compression: true });
  const small = await Viewer.connect(on.url(), [SUBPROTOCOL], { serverMaxWindowBits: 9 });
  on.emit(records(100));
  await small.until(3);
  expect(on.metric("compression_saved_bytes")).toBe(0);
});

test("Node's WebSocket reads compressed messages, and its own are read", async () => {
  const harness = await start({ compression: true, compression_threshold_bytes: 0 });
  const socket = new WebSocket(harness.url(), SUBPROTOCOL);
  onTestFinished(() => socket.close());
  const texts: string[] = [];
  socket.addEventListener("message", ({ data }) => texts.push(data as string));
  await once(socket, "open");
  socket.send(JSON.stringify({ type: "subscribe", filter: { q: "x".repeat(2000) } }));
  await vi.waitFor(() => expect(texts.at(-1)).toMatch(/caught_up/));
  harness.emit([{ body: "x".repeat(5000) }]);
  await vi.waitFor(() => expect(texts.at(-1)).toMatch(/"envelopes":\[\{.*xxx/));
  expect(harness.metric("compression_saved_bytes")).toBeGreaterThan(4000);
});
