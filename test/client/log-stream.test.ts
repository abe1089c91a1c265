import { describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket as Ws } from "ws";
import { LogHistory, LogStream, rawJson } from "tailgate/client";
import { envelope, FaultyGateway } from "./faulty-gateway.ts";
import { Proxy } from "./proxy.ts";
import { follow, startGateway } from "../harness/gateway.ts";

/** Returns how many clients were accepted. */
async function accepted(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(
    /^tailgate_websocket_clients_accepted_total(?:\{[^}]*\})? (\d+)/m.exec(metrics)?.[1],
  );
}

describe("delivery", () => {
  test("delivers new records in order with their sequences", async () => {
    const gateway = await startGateway();
    const { url } = gateway;
    gateway.getLogger("a").info("before");
    const log = follow({ url });
    await log.is("live");
    gateway.getLogger("a").info("one");
    gateway.getLogger("a").info("two", { port: 1 });
    await log.at(3);
    expect(log.messages).toEqual(["one", "two"]);
    expect([...log.entries.keys()]).toEqual([2, 3]);
    expect(log.entries.get(3)!.envelope).toMatchObject({ type: "system_log", data: { port: 1 } });
    expect(log.states).toEqual(["connecting", "catching-up", "live"]);
    expect(log.all("caught_up")).toEqual([{ type: "caught_up", sequence: 1 }]);
    expect(log.stream.status).toMatchObject({ reason: "", transport: "tailgate.v1", sequence: 3 });
  });

  test.each([
    [{ replay: 2 }, ["two", "three"]],
    [{ since: 0 }, ["one", "two", "three"]],
    [{ since: "2025-01-01T00:00:00Z" }, ["one", "two", "three"]],
    [{ since: "2999-01-01T00:00:00Z" }, []],
  ])("replays the records that start %j selects", async (start, expected) => {
    const gateway = await startGateway();
    const { url } = gateway;
    for (const message of ["one", "two", "three"]) gateway.getLogger("a").info(message);
    const log = follow({ url, start });
    await log.is("live");
    expect(log.messages).toEqual(expected);
  });

  test("with raw, delivers the JSON of each envelope as sent by the gateway", async () => {
    await using gateway = await FaultyGateway.speaking();
    const log = follow({ url: gateway.url, raw: rawJson });
    const texts = [
      String.raw`{"type":"system_log","data":{"message":"}]","b":1.0,"2":[{"a":"\"{"}],"1":-0}}`,
      '{"type":"audit_log","data":{}}',
    ];
    await gateway.hears(1);
    gateway.say(`{"type":"batch","from":1,"to":2,"durable":2,"envelopes":[${texts.join(",")}]}`);
    await log.at(2);
    expect([...log.entries.values()].map(({ raw }) => raw)).toEqual(texts);
    const fetcher: typeof fetch = async () => {
      const records = texts.map((text, index) => `{"sequence":${index + 1},${text.slice(1)}`);
      return new Response(`{"epoch":"e","records":[${records.join(",")}],"gaps":[]}`);
    };
    const history = new LogHistory({ url: gateway.url, fetch: fetcher });
    const { entries } = await history.page({ raw: rawJson });
    expect(entries.map(({ raw }) => raw)).toEqual(texts);
  });

  test("with ws, delivers nothing while paused", async () => {
    await using gateway = await FaultyGateway.speaking();
    const log = follow({ url: gateway.url, WebSocket: Ws as unknown as typeof WebSocket });
    await gateway.hears(1);
    log.stream.pause();
    gateway.say({ type: "batch", from: 1, to: 1, durable: 1, envelopes: [envelope("one")] });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(log.messages).toEqual([]);
    log.stream.resume();
    await log.at(1);
    expect(log.messages).toEqual(["one"]);
  });

  test("resumes after the status of another stream, with newer records only", async () => {
    const gateway = await startGateway();
    const { url } = gateway;
    gateway.getLogger("a").info("one");
    const first = follow({ url, start: { since: 0 } });
    await first.is("live");
    first.stream.close();
    gateway.getLogger("a").info("two");
    const { epoch, sequence, durable } = first.stream.status;
    const second = follow({
      url,
      start: { resume: { epoch: epoch!, sequence: sequence!, durable } },
    });
    await second.at(2);
    expect([first.messages, second.messages]).toEqual([["one"], ["two"]]);
  });
});

describe("listeners", () => {
  test("exceptions are isolated from other listeners and the stream", async () => {
    const consoleError = vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => consoleError.mockRestore());
    const gateway = await startGateway();
    const { url } = gateway;
    const stream = new LogStream({ url });
    const fault = new Error("a fault of the page");
    stream.listen(() => {
      throw fault;
    });
    const log = follow({ url });
    await log.is("live");
    await vi.waitFor(() => expect(stream.status.state).toBe("live"));
    gateway.getLogger("a").info("one");
    await log.at(1);
    await vi.waitFor(() => expect(stream.status.sequence).toBe(1));
    stream.close();
    expect(consoleError).toHaveBeenCalledWith(
      "A listener of a log stream threw an exception.",
      fault,
    );
  });

  test("all see the same order, even if one of them reacts to an event", async () => {
    const gateway = await startGateway();
    const { url } = gateway;
    const stream = new LogStream({ url });
    const heard: string[][] = [[], []];
    for (const list of heard) {
      stream.listen((event) => {
        list.push(event.type === "status" ? event.status.state : event.type);
        if (event.type === "records" && event.entries.length > 0) stream.close();
      });
    }
    await vi.waitFor(() => expect(stream.status.state).toBe("live"));
    gateway.getLogger("a").info("one");
    await vi.waitFor(() => expect(stream.status.state).toBe("closed"));
    expect(heard[0]!.slice(-2)).toEqual(["records", "closed"]);
    expect(heard[1]).toEqual(heard[0]);
  });

  test("events received before a close precede the end, and nothing follows it", async () => {
    await using gateway = await FaultyGateway.speaking();
    const log = follow({ url: gateway.url });
    await gateway.hears(1);
    log.stream.listen((event) => {
      if (event.type === "gap") log.stream.close();
    });
    gateway.say(
      { type: "gap", from: 1, to: 1, reason: "slow" },
      { type: "batch", from: 1, to: 2, durable: 0, sequences: [2], envelopes: [envelope("two")] },
    );
    await log.is("closed");
    expect(log.events.slice(-3).map(({ type }) => type)).toEqual(["gap", "records", "status"]);
    expect(log.states.at(-1)).toBe("closed");
    expect(log.stream.status.sequence).toBe(2);
  });

  test("a listener added by another one gets the following events", async () => {
    const { url } = await startGateway();
    const stream = new LogStream({ url });
    const heard: string[] = [];
    const end = stream.listen(() => {
      end();
      stream.listen((event) =>
        heard.push(event.type === "status" ? event.status.state : event.type),
      );
    });
    await vi.waitFor(() => expect(heard).toContain("live"));
    stream.close();
    expect(heard[0]).toBe("catching-up");
  });

  test("a removed listener gets no more events", async () => {
    const { url } = await startGateway();
    const stream = new LogStream({ url });
    const heard: unknown[] = [];
    stream.listen((event) => heard.push(event))();
    await vi.waitFor(() => expect(stream.status.state).toBe("live"));
    stream.close();
    expect(heard).toEqual([]);
  });

  test("a stream that is closed immediately never connects", async () => {
    const gateway = await startGateway();
    const log = follow({ url: gateway.url });
    log.stream.close();
    log.stream.close();
    log.stream.setFilter({ q: "x" });
    log.stream.retry();
    const other = follow({ url: gateway.url });
    await other.is("live");
    expect(await accepted(gateway.url)).toBe(1);
    expect(log.states).toEqual(["closed"]);
  });
});

describe("filters", () => {
  test("change in place: records after the filter event match it", async () => {
    const gateway = await startGateway();
    const { url } = gateway;
    const log = follow({ url, filter: { level: "ERROR" } });
    await log.is("live");
    gateway.getLogger("a").info("dull");
    gateway.getLogger("a").error("bad");
    await log.at(2);
    const version = log.stream.setFilter({ q: "wanted" });
    await log.until("filter", (event) => event.version === version);
    gateway.getLogger("a").error("worse");
    gateway.getLogger("a").info("wanted");
    await log.at(4);
    expect(log.messages).toEqual(["bad", "wanted"]);
    expect(await accepted(url)).toBe(1);
  });

  test("that the gateway rejects are reported, and the previous one stays in effect", async () => {
    const gateway = await startGateway();
    const { url } = gateway;
    const log = follow({ url, filter: { level: "ERROR" } });
    await log.is("live");
    const version = log.stream.setFilter({ q: "level:LOUD" });
    const rejection = await log.until("refused");
    expect(rejection).toMatchObject({ version });
    expect(rejection.reason).toMatch(
      /^The filter term "level:LOUD" is invalid: the level must be one/,
    );
    gateway.getLogger("a").info("dull");
    gateway.getLogger("a").error("bad");
    await log.at(2);
    expect(log.messages).toEqual(["bad"]);
    expect(log.all("filter")).toEqual([]);
  });

  test("that are invalid at the start are reported, and the stream waits for a valid one", async () => {
    const gateway = await startGateway();
    const { url } = gateway;
    const log = follow({ url, filter: { q: '"open' } });
    const { reason, retryInMs } = await log.is("waiting");
    expect(reason).toContain("a quote is not closed");
    expect(retryInMs).toBeUndefined();
    log.stream.setFilter({ q: "open" });
    await log.is("live");
    gateway.getLogger("a").info("open");
    gateway.getLogger("a").info("closed");
    await log.at(2);
    expect(log.messages).toEqual(["open"]);
    expect(await accepted(url)).toBe(1);
  });

  test.each([5_000, 100_000])(
    "of %i characters are rejected, at the start and in place",
    async (length) => {
      const gateway = await startGateway();
      const { url } = gateway;
      const log = follow({ url, filter: { q: "x".repeat(length) } });
      const { reason } = await log.is("waiting");
      expect(reason).toMatch(
        /^The filter.* has 5000 characters|^The filter is too long: its message has 1000/,
      );
      log.stream.setFilter({ q: "kept" });
      await log.is("live");
      const version = log.stream.setFilter({ q: "-x".repeat(length) });
      await log.until("refused", (event) => event.version === version);
      gateway.getLogger("a").info("kept");
      gateway.getLogger("a").info("other");
      await log.at(2);
      expect(log.messages).toEqual(["kept"]);
      expect(await accepted(url)).toBe(1);
    },
  );

  test("many changes in a row result in the last one", async () => {
    const gateway = await startGateway();
    const { url } = gateway;
    const log = follow({ url });
    for (let index = 0; index < 50; index++) log.stream.setFilter({ q: `number-${index}` });
    await log.is("live");
    for (let index = 50; index < 100; index++)
      log.stream.setFilter({ q: index % 3 ? `n${index}` : "level:X" });
    const version = log.stream.setFilter({ q: "last" });
    await log.until("filter", (event) => event.version === version);
    gateway.getLogger("a").info("number-99");
    gateway.getLogger("a").info("last");
    await log.at(2);
    expect(log.messages).toEqual(["last"]);
  });

  test("changed while disconnected apply to the next connection", async () => {
    const gateway = await startGateway();
    const { url } = gateway;
    await using proxy = await Proxy.start(Number(new URL(url).port));
    const log = follow({ url: proxy.url });
    await log.is("live");
    const { port } = proxy;
    proxy.port = 1;
    proxy.cut();
    await log.is("waiting");
    const version = log.stream.setFilter({ level: "ERROR" });
    gateway.getLogger("a").info("dull");
    gateway.getLogger("a").error("bad");
    proxy.port = port;
    log.stream.retry();
    await log.impatient.at(2);
    expect(log.messages).toEqual(["bad"]);
    const kinds = log.events.map(({ type }) => type);
    expect(log.all("filter")).toEqual([{ type: "filter", version }]);
    expect(kinds.indexOf("filter")).toBeLessThan(kinds.lastIndexOf("records"));
  });
});

describe("protocol violations by the gateway", () => {
  const batch = { type: "batch", durable: 0 };
  const records = (...messages: string[]): object => ({ envelopes: messages.map(envelope) });

  test("a hole between two batches is reported as a gap", async () => {
    await using gateway = await FaultyGateway.speaking();
    const log = follow({ url: gateway.url });
    await gateway.hears(1);
    gateway.say({ ...batch, from: 1, to: 2, ...records("one", "two") });
    gateway.say({ ...batch, from: 5, to: 5, ...records("five") });
    await log.at(5);
    expect(log.gaps).toEqual([{ from: 3, to: 4, reason: "hole" }]);
    expect(log.messages).toEqual(["one", "two", "five"]);
  });

  test("duplicates and records outside their batch's range are not delivered", async () => {
    await using gateway = await FaultyGateway.speaking();
    const log = follow({ url: gateway.url });
    await gateway.hears(1);
    gateway.say({ ...batch, from: 1, to: 2, ...records("one", "two") });
    gateway.say({ ...batch, from: 1, to: 3, ...records("one", "two", "three") });
    gateway.say({ ...batch, from: 1, to: 1, ...records("one") });
    gateway.say({
      ...batch,
      from: 4,
      to: 9,
      sequences: [4, 4, 3, 12],
      ...records("four", "4", "3", "12"),
    });
    await log.at(9);
    expect(log.messages).toEqual(["one", "two", "three", "four"]);
    expect(log.faults).toEqual([]);
    expect(log.gaps).toEqual([]);
  });

  test("a gap takes effect with its batch, and is not duplicated by an earlier disconnect", async () => {
    await using gateway = await FaultyGateway.speaking();
    const log = follow({ url: gateway.url }).impatient;
    const gap = { type: "gap", from: 2, to: 3, reason: "slow", lane: "system_log" };
    await gateway.hears(1);
    gateway.say({ ...batch, from: 1, to: 1, ...records("one") }, gap);
    await log.at(1);
    gateway.cut();
    await gateway.hears(2);
    expect(gateway.heard[1]).toMatchObject({ resume: { epoch: "e1", sequence: 1 } });
    gateway.say(gap, { ...batch, from: 2, to: 4, sequences: [4], ...records("four") });
    await log.at(4);
    expect(log.gaps).toEqual([
      { from: 2, to: 3, reason: "slow", type: "system_log", lane: "system_log" },
    ]);
  });

  test.each([
    ["no JSON", "hello"],
    ["null", "null"],
    ["a batch without records", { type: "batch", from: 1, to: 2 }],
    [
      "a batch with too few sequences",
      { ...batch, from: 1, to: 2, sequences: [], ...records("one") },
    ],
    ["a second hello", { type: "hello", epoch: "e2" }],
    ["a gap that ends before it begins", { type: "gap", from: 3, to: 2, reason: "slow" }],
  ])(
    "%s closes the connection with a readable reason, and the stream reconnects",
    async (_name, message) => {
      await using gateway = await FaultyGateway.speaking();
      const log = follow({ url: gateway.url });
      await gateway.hears(1);
      gateway.say(message);
      const { reason } = await log.was("waiting");
      expect(reason).toMatch(/^The gateway sent an invalid message: .+\.$/);
      log.stream.retry();
      await gateway.hears(2);
    },
  );

  test("unknown message types are ignored", async () => {
    await using gateway = await FaultyGateway.speaking();
    const log = follow({ url: gateway.url });
    await gateway.hears(1);
    gateway.say({ type: "weather" }, { ...batch, from: 1, to: 1, ...records("one") });
    await log.at(1);
    expect(log.messages).toEqual(["one"]);
  });
});

describe("an older gateway, without the subprotocol", () => {
  test("sends plain frames; filter and replay are in the URL", async () => {
    await using gateway = await FaultyGateway.older();
    const log = follow({ url: gateway.url, filter: { level: "ERROR" }, start: { replay: 5 } });
    expect(await log.is("live")).toMatchObject({ transport: "plain", reason: "" });
    gateway.say(envelope("one"), "no JSON", { type: "news" }, envelope("two"));
    await vi.waitFor(() => expect(log.messages).toEqual(["one", "two"]));
    expect(gateway.queries.at(-1)).toBe("/ws/logs?level=ERROR&replay=5");
    const sequences = log
      .all("records")
      .flatMap(({ entries }) => entries.map((one) => one.sequence));
    expect(sequences).toEqual([0, 0]);
  });

  test("replaced by a newer one: no replayed record is repeated, and possible losses are reported", async () => {
    await using older = await FaultyGateway.older();
    await using newer = await FaultyGateway.speaking();
    await using proxy = await Proxy.start(Number(new URL(older.url).port));
    const log = follow({ url: proxy.url, start: { replay: 5 } }).impatient;
    await log.is("live");
    older.say(envelope("one"));
    await vi.waitFor(() => expect(log.messages).toEqual(["one"]));
    proxy.port = Number(new URL(newer.url).port);
    proxy.cut();
    expect((await newer.hears(1))[0]).toEqual({ type: "subscribe", filter: {}, version: 0 });
    newer.say({ type: "filter", version: 0 }, { type: "caught_up", sequence: 7 });
    newer.say({ type: "batch", from: 8, to: 8, durable: 8, envelopes: [envelope("two")] });
    await log.at(8);
    expect(log.messages).toEqual(["one", "two"]);
    expect(log.gaps).toEqual([{ from: 0, to: 0, reason: "unknown" }]);
  });

  test("is reconnected at once for another filter; possible losses are reported", async () => {
    await using gateway = await FaultyGateway.older();
    const log = follow({ url: gateway.url, start: { replay: 5 } });
    await log.is("live");
    const version = log.stream.setFilter({ q: "wanted words" });
    await log.until("filter", (event) => event.version === version);
    const queries = gateway.queries.filter((query) => query.includes("?"));
    expect(queries).toEqual(["/ws/logs?replay=5", "/ws/logs?q=wanted+words"]);
    expect(log.gaps).toEqual([{ from: 0, to: 0, reason: "unknown" }]);
    expect(log.states).not.toContain("waiting");
  });
});
