/** When a stream reconnects, with a clock that the test advances. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { LogStream, type StreamStatus } from "tailgate/client";

/** A WebSocket that the test controls. */
class FakeSocket extends EventTarget {
  static readonly made: FakeSocket[] = [];
  readonly protocol = "tailgate.v1";
  readyState = 0;
  readonly sent: { type: string; version?: number }[] = [];

  constructor() {
    super();
    FakeSocket.made.push(this);
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text) as { type: string });
  }

  open(): void {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
    this.say({ type: "hello", epoch: "e", sequence: 0, durable: 0 });
  }

  say(message: object): void {
    this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(message) }));
  }

  close(): void {
    this.readyState = 3;
  }

  lose(): void {
    this.dispatchEvent(Object.assign(new Event("close"), { code: 1006, reason: "" }));
  }
}

const absent = (): Promise<never> => Promise.reject(new TypeError("fetch failed"));

let stream: LogStream;
let waits: number[];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
  FakeSocket.made.length = 0;
  waits = [];
});

afterEach(() => {
  stream.close();
  vi.restoreAllMocks();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function start(): void {
  stream = new LogStream({
    url: "http://127.0.0.1:8001",
    WebSocket: FakeSocket as unknown as typeof WebSocket,
    fetch: absent,
  });
  stream.listen((event) => {
    if (event.type === "status" && event.status.state === "waiting") {
      waits.push(event.status.retryInMs!);
    }
  });
}

/** Resolves once promises that do not depend on the clock have settled. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function loseLast(): Promise<void> {
  await settled();
  FakeSocket.made.at(-1)!.lose();
  await settled();
}

describe("the delay before the next attempt", () => {
  test("is at most half a second at first, and doubles up to 30 s", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    start();
    for (let failures = 0; failures < 9; failures++) {
      await loseLast();
      expect(FakeSocket.made).toHaveLength(failures + 1);
      await vi.advanceTimersByTimeAsync(waits.at(-1)! - 1);
      expect(FakeSocket.made).toHaveLength(failures + 1);
      await vi.advanceTimersByTimeAsync(1);
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  });

  test("is a random fraction of that, starting at zero", async () => {
    const parts = [0, 0.25, 0.5, 0.1];
    vi.spyOn(Math, "random").mockImplementation(() => parts[waits.length]!);
    start();
    for (let failures = 0; failures < 4; failures++) {
      await loseLast();
      await vi.advanceTimersByTimeAsync(waits.at(-1)!);
    }
    expect(waits).toEqual([0, 250, 1000, 400]);
  });

  test.each([
    ["continues to grow after a connection that closed early", 9_999, 4000],
    ["is reset after a stable connection", 10_000, 500],
  ])("%s", async (_name, lastedMs, expected) => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    start();
    for (let failures = 0; failures < 3; failures++) {
      await loseLast();
      await vi.advanceTimersByTimeAsync(waits.at(-1)!);
    }
    await settled();
    FakeSocket.made.at(-1)!.open();
    await vi.advanceTimersByTimeAsync(lastedMs);
    await loseLast();
    expect(waits.at(-1)).toBe(expected);
  });
});

describe("reconnects without further delay", () => {
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "hidden" });

  beforeEach(async () => {
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
    vi.stubGlobal("document", document);
    document.visibilityState = "hidden";
    vi.spyOn(Math, "random").mockReturnValue(0.9);
    start();
    await loseLast();
  });

  test("when the browser is online again", async () => {
    page.dispatchEvent(new Event("online"));
    await settled();
    expect(FakeSocket.made).toHaveLength(2);
  });

  test("when the page becomes visible, not when it is hidden", async () => {
    document.dispatchEvent(new Event("visibilitychange"));
    await settled();
    expect(FakeSocket.made).toHaveLength(1);
    document.visibilityState = "visible";
    document.dispatchEvent(new Event("visibilitychange"));
    await settled();
    expect(FakeSocket.made).toHaveLength(2);
  });

  test("when reconnect is called", async () => {
    stream.retry();
    await settled();
    expect(FakeSocket.made).toHaveLength(2);
  });

  test("when a listener requests it, at once or never", async () => {
    let attempts = 0;
    stream.listen((event) => {
      if (event.type !== "status" || event.status.state !== "waiting") return;
      if (++attempts < 3) stream.retry();
      else stream.close();
    });
    stream.retry();
    for (let lost = 0; lost < 3; lost++) await loseLast();
    expect(FakeSocket.made).toHaveLength(4);
    expect(stream.status.state).toBe("closed");
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a closed stream does nothing", async () => {
    stream.close();
    page.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.made).toHaveLength(1);
  });
});

describe("a silent connection", () => {
  async function live(): Promise<FakeSocket> {
    start();
    await settled();
    const socket = FakeSocket.made[0]!;
    socket.open();
    socket.say({ type: "filter", version: 0 });
    socket.say({ type: "caught_up", sequence: 0 });
    return socket;
  }

  function reason(): StreamStatus["reason"] {
    return stream.status.reason;
  }

  test("is abandoned ten seconds into the handshake", async () => {
    start();
    await vi.advanceTimersByTimeAsync(10_000);
    await settled();
    expect(stream.status.state).toBe("waiting");
  });

  test("is pinged after half a minute, without a visible effect", async () => {
    const socket = await live();
    for (let sign = 1; sign <= 3; sign++) {
      await vi.advanceTimersByTimeAsync(30_000);
      expect(socket.sent).toHaveLength(1 + sign);
      expect(socket.sent.at(-1)).toMatchObject({ type: "filter", version: 0 });
      socket.say({ type: "filter", version: 0 });
    }
    await vi.advanceTimersByTimeAsync(9_000);
    expect(stream.status.state).toBe("live");
  });

  test("is abandoned if the ping is not answered", async () => {
    await live();
    await vi.advanceTimersByTimeAsync(30_000 + 9_999);
    expect(stream.status.state).toBe("live");
    await vi.advanceTimersByTimeAsync(1);
    await settled();
    expect([stream.status.state, reason()]).toEqual(["waiting", "Connection lost."]);
  });
});
