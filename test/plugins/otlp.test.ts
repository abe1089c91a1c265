import { execFileSync } from "node:child_process";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { batchOf, exporterContract, testHost } from "tailgate/testing";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import otlp from "../../plugins/otlp.ts";
import { decodeOtlpJson } from "../../src/otlp/decode.ts";
import { RetryLaterError, type Exporter } from "tailgate/plugin";
import { ExporterProcess } from "../harness/exporter-process.ts";
import { answer, Peer, take, type Behaviour } from "./otlp/peer.ts";
import { Sending } from "./otlp/sending.ts";

const NEVER = new AbortController().signal;
const JSON_TYPE = { "Content-Type": "application/json" };
const PROTOBUF_TYPE = { "Content-Type": "application/x-protobuf" };

beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (name.startsWith("OTEL_EXPORTER_OTLP_")) vi.stubEnv(name, undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

/** Opens the exporter without delivery. */
async function opened(options: Readonly<Record<string, unknown>>): Promise<Exporter> {
  const host = await testHost("otlp");
  onTestFinished(() => host.close());
  const exporter = await otlp.open(otlp.options.parse(options), host);
  onTestFinished(() => exporter.close?.(NEVER));
  return exporter;
}

/** Returns the error of a write with that response. */
async function rejection(behaviour: Behaviour): Promise<unknown> {
  await using peer = await Peer.open();
  peer.behaviour = behaviour;
  const exporter = await opened({ endpoint: peer.url });
  return await Promise.resolve(exporter.write(batchOf([{}]), NEVER)).then(
    () => expect.fail("It was written."),
    (error: unknown) => error,
  );
}

describe("otlp fulfills the exporter contract", () => {
  let peer: Peer;
  beforeEach(async () => {
    peer = await Peer.open();
  });
  afterEach(() => peer[Symbol.asyncDispose]());
  const cases = exporterContract(() => ({
    definition: otlp,
    options: { endpoint: peer.url },
    durable: true,
    connect: async () => () => peer.messages as string[],
  }));
  test.each(cases)("$name", (given) => given.run());
});

describe("a success response", () => {
  test.each([
    ["200", answer(200, PROTOBUF_TYPE)],
    ["200 in JSON", answer(200, JSON_TYPE, "{}")],
    ["204, as Loki's", answer(204)],
    ["202", answer(202)],
    ["200 with a body that is none", answer(200, PROTOBUF_TYPE, "<html>")],
    ["200 with JSON that is none", answer(200, JSON_TYPE, "{")],
    ["200 with a body without an end", answer(200, PROTOBUF_TYPE, "x".repeat(1 << 20))],
  ] satisfies [string, Behaviour][])("%s: goes on", async (_, behaviour) => {
    await using peer = await Peer.open();
    peer.behaviour = behaviour;
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("a");
    await sending.send("b");
    expect(peer.received).toHaveLength(2);
    expect(sending.delivery.counters).toMatchObject({ sent: 2, failed: 0 });
    expect(sending.dropped).toEqual({});
  });
});

describe("a retryable response", () => {
  test.each([408, 401, 403, 404, 429, 500, 502, 503, 504])(
    "%d: retries until the records are accepted, in order and once",
    async (status) => {
      await using peer = await Peer.open();
      peer.next.push(answer(status), answer(status, JSON_TYPE, '{"message":"not now"}'));
      await using sending = await Sending.open({ endpoint: peer.url });
      await sending.send("a", "b");
      await sending.send("c");
      expect(peer.messages).toEqual(["a", "b", "c"]);
      expect(sending.delivery.counters).toMatchObject({ sent: 3, failed: 4 });
      expect(sending.host.lines.join()).toContain(`/v1/logs responded with ${status}`);
    },
  );

  test.each([429, 503])("%d with Retry-After in seconds sets the delay", async (status) => {
    const error = await rejection(answer(status, { "Retry-After": "7" }));
    expect(RetryLaterError.is(error)).toBe(true);
    expect(error).toHaveProperty("retryAfterMs", 7000);
  });

  test.each([429, 503])("%d with Retry-After as a date sets the delay", async (status) => {
    const date = new Date(Date.now() + 3_600_000).toUTCString();
    const error = await rejection(answer(status, { "Retry-After": date }));
    expect((error as RetryLaterError).retryAfterMs).toBeGreaterThan(3_500_000);
    expect((error as RetryLaterError).retryAfterMs).toBeLessThanOrEqual(3_600_000);
  });

  test.each(["0", "-1", "soon", new Date(0).toUTCString()])(
    "Retry-After: %s sets no delay",
    async (header) => {
      const error = await rejection(answer(503, { "Retry-After": header }));
      expect(String(error)).toContain("responded with 503");
      expect(RetryLaterError.is(error)).toBe(false);
    },
  );

  test("the request is retried after the requested delay", async () => {
    await using peer = await Peer.open();
    const times: number[] = [];
    const timed =
      (behaviour: Behaviour): Behaviour =>
      (...given) => {
        times.push(performance.now());
        return behaviour(...given);
      };
    peer.next.push(timed(answer(429, { "Retry-After": "1" })), timed(take));
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("a");
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(990);
  });

  test("a redirect is reported, and not followed", async () => {
    await using elsewhere = await Peer.open();
    const error = await rejection(answer(307, { Location: `${elsewhere.url}/v1/logs` }));
    expect(String(error)).toContain(
      `307 Temporary Redirect, to ${elsewhere.url}/v1/logs: redirects are not followed`,
    );
    expect(elsewhere.received).toEqual([]);
  });

  test("the reason is shown, whatever it contains", async () => {
    const json = answer(503, JSON_TYPE, '{"code":14,"message":"no \\u001b[31mroom"}');
    expect(String(await rejection(json))).toContain("503 Service Unavailable: no \\x1b[31mroom");
    expect(String(await rejection(answer(503, {}, "busy\n")))).toMatch(/Unavailable: busy$/);
    const text = `sorry ${"x".repeat(150)}`;
    const status = Buffer.concat([
      Buffer.from([0x08, 0x0e, 0x12, text.length | 0x80, text.length >> 7]),
      Buffer.from(text),
    ]);
    const protobuf: Behaviour = (response) => {
      response.writeHead(503, PROTOBUF_TYPE).end(status);
      return false;
    };
    expect(String(await rejection(protobuf))).toContain(`503 Service Unavailable: ${text}`);
  });
});

describe("no response", () => {
  /** Reads the records and closes the connection without a response. */
  const reset: Behaviour = ({ socket }) => {
    socket!.resetAndDestroy();
    return true;
  };
  const close: Behaviour = ({ socket }) => {
    socket!.end();
    return false;
  };
  const garbage: Behaviour = ({ socket }) => {
    socket!.end("SSH-2.0-OpenSSH_9.2\r\n");
    return false;
  };

  test("a reset after the request was read: the same records are sent again", async () => {
    await using peer = await Peer.open();
    peer.next.push(reset);
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("a", "b");
    expect(peer.messages).toEqual(["a", "b", "a", "b"]);
    expect(peer.received[1]!.body).toEqual(peer.received[0]!.body);
    const uids = peer.records.map(({ attributes }) => attributes.get("log.record.uid"));
    const { epoch } = sending.host.journal;
    expect(uids).toEqual([`${epoch}:1`, `${epoch}:2`, `${epoch}:1`, `${epoch}:2`]);
    expect(sending.delivery.counters).toMatchObject({ sent: 2, failed: 2 });
  });

  test.each([
    ["a connection that is closed", close],
    ["an answer that is no HTTP", garbage],
  ] satisfies [string, Behaviour][])("%s: tries again", async (_, behaviour) => {
    await using peer = await Peer.open();
    peer.next.push(behaviour, behaviour);
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("a");
    expect(peer.messages).toEqual(["a"]);
    expect(sending.host.lines.join()).toContain("/v1/logs did not respond");
  });

  test("a server that hangs: the request times out, and is retried", async () => {
    await using peer = await Peer.open();
    let isGone = false;
    peer.next.push(({ socket }) => {
      socket!.on("close", () => (isGone = true));
      return false;
    });
    await using sending = await Sending.open({ endpoint: peer.url }, { timeoutMs: 200 });
    await sending.send("a");
    expect(peer.messages).toEqual(["a"]);
    expect(isGone).toBe(true);
    expect(sending.host.lines.join()).toContain("A write did not complete within 200 ms.");
  });

  test("OTEL_EXPORTER_OTLP_TIMEOUT limits a request", async () => {
    vi.stubEnv("OTEL_EXPORTER_OTLP_TIMEOUT", "50");
    const error = await rejection(() => false);
    expect(String(error)).toContain("did not respond");
  });

  test("closing the exporter aborts a hanging request", async () => {
    await using peer = await Peer.open();
    peer.behaviour = () => false;
    const exporter = await opened({ endpoint: peer.url });
    const writing = Promise.resolve(exporter.write(batchOf([{}]), NEVER));
    const closed = vi
      .waitFor(() => expect(peer.received).toHaveLength(1))
      .then(() => exporter.close?.(NEVER));
    await expect(writing).rejects.toThrow("The exporter is closed.");
    await closed;
  });
});

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `record ${index}`);
}

/** The bodies of the records in a quarantine file. */
async function quarantined(path: string): Promise<unknown[]> {
  const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
  return lines.flatMap((line) => {
    const { otlp: request } = JSON.parse(line) as { otlp: unknown };
    return decodeOtlpJson(Buffer.from(JSON.stringify(request))).map(({ body }) => body);
  });
}

describe("a permanent rejection", () => {
  /** Rejects requests that contain the record. */
  const refusing =
    (status: number, culprit: string): Behaviour =>
    (response, received) =>
      received.records.some(({ body }) => body === culprit)
        ? answer(status, JSON_TYPE, '{"message":"bad record"}')(response, received)
        : take(response, received);

  test.each([400, 413, 422])(
    "%d: the rejected record goes to quarantine, the others are delivered in order",
    async (status) => {
      await using peer = await Peer.open();
      peer.behaviour = refusing(status, "bad");
      await using sending = await Sending.open({ endpoint: peer.url });
      await sending.send("a", "b", "bad", "c", "d", "e", "f");
      await sending.send("g");
      expect(peer.messages).toEqual(["a", "b", "c", "d", "e", "f", "g"]);
      expect(sending.delivery.counters).toMatchObject({ received: 8, sent: 7 });
      expect(sending.dropped).toEqual({ refused: 1 });
      const path = join(sending.host.logDir, "quarantine", "otlp.jsonl");
      expect(await quarantined(path)).toEqual(["bad"]);
      const { otlp: _, time, ...kept } = JSON.parse(await readFile(path, "utf8"));
      expect(kept).toEqual({ sequence: 3, reason: expect.stringContaining(`${status} `) });
      expect(kept.reason).toContain("bad record");
      expect(Date.now() - Date.parse(time)).toBeLessThan(60_000);
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      const said = sending.host.lines.filter((text) =>
        text.includes("rejected 1 records permanently"),
      );
      expect(said).toHaveLength(1);
    },
  );

  test("the quarantine is bounded: the oldest are deleted, counted and logged", async () => {
    await using peer = await Peer.open();
    peer.behaviour = answer(400);
    await using sending = await Sending.open({ endpoint: peer.url, quarantine_max_bytes: 4000 });
    const path = join(sending.host.logDir, "quarantine", "otlp.jsonl");
    const bodies = numbered(30);
    for (const body of bodies) await sending.send(body);
    const kept = [...(await quarantined(`${path}.1`)), ...(await quarantined(path))];
    expect(kept).toEqual(bodies.slice(-kept.length));
    expect(kept.length).toBeGreaterThan(2);
    const sizes = [await stat(path), await stat(`${path}.1`)].map(({ size }) => size);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(2000);
    const [metric] = sending.host.pluginMetrics;
    expect(metric!.name).toBe("quarantine_deleted_records");
    expect([...metric!.read()].map(({ value }) => value)).toEqual([30 - kept.length]);
    expect(sending.dropped).toEqual({ refused: 30 });
    expect(sending.host.lines.join()).toContain("The quarantine is full: its ");
  });

  test("a full disk leaves no partial record in the quarantine", async () => {
    await using peer = await Peer.open();
    peer.behaviour = answer(400);
    const host = await testHost("otlp");
    onTestFinished(() => host.close());
    const exporter = await ExporterProcess.start({
      plugin: "otlp",
      logDir: host.logDir,
      options: { endpoint: peer.url },
      through: ["prlimit", "--fsize=5000:unlimited"],
    });
    onTestFinished(() => exporter.kill());
    const records = ["a", "b".repeat(9_000), "c"].map((body) => ({ body }));
    expect((await exporter.write(records)).error).toContain("EFBIG");
    execFileSync("prlimit", [`--pid=${exporter.child.pid}`, "--fsize=unlimited"]);
    expect(await exporter.write(records)).toEqual({});
    const path = join(host.logDir, "quarantine", "otlp.jsonl");
    expect(await quarantined(path)).toEqual(records.map(({ body }) => body));
  });

  test("a line torn by a power failure is removed, and the next record gets its own", async () => {
    await using peer = await Peer.open();
    peer.behaviour = answer(400);
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("first");
    const { logDir } = sending.host;
    const path = join(logDir, "quarantine", "otlp.jsonl");
    const whole = await readFile(path);
    const torn = Buffer.concat([whole.subarray(0, whole.length / 2), Buffer.alloc(100)]);
    for (const tail of [torn, torn.subarray(0, 1), whole.subarray(0, -2), Buffer.alloc(9)]) {
      await writeFile(path, Buffer.concat([whole, tail]));
      const host = await testHost("otlp", { logDir });
      await otlp.open(otlp.options.parse({ endpoint: peer.url }), host);
      await host.close();
      expect(await readFile(path)).toEqual(whole);
      expect(host.lines.join()).toContain(`incomplete: its ${tail.length} bytes were removed`);
    }
    await writeFile(path, Buffer.concat([whole, torn]));
    await sending.send("second");
    expect(await quarantined(path)).toEqual(["first", "second"]);
    await writeFile(path, (await readFile(path)).subarray(0, -1));
    await sending.send("third");
    expect(await quarantined(path)).toEqual(["first", "second", "third"]);
  });

  test("the start fails if a file is in the quarantine's path", async () => {
    const host = await testHost("otlp");
    onTestFinished(() => host.close());
    await writeFile(join(host.logDir, "quarantine"), "");
    const opening = otlp.open(otlp.options.parse({ endpoint: "http://127.0.0.1:1" }), host);
    await expect(opening).rejects.toMatchObject({ code: "LOG_DIR_UNUSABLE" });
  });

  test("413 before the body was read: the oversized record goes to quarantine", async () => {
    await using peer = await Peer.open();
    peer.bytesMax = 1 << 20;
    await using sending = await Sending.open({ endpoint: peer.url, max_batch_bytes: 64 << 20 });
    await sending.log({ body: "a" });
    await sending.log({ body: "x".repeat(6 << 20) });
    await sending.send("b");
    expect(peer.messages).toEqual(["a", "b"]);
    expect(sending.dropped).toEqual({ refused: 1 });
  });

  test("records already settled are not sent again when the server fails between the halves", async () => {
    await using peer = await Peer.open();
    peer.next.push(answer(400), take, answer(503));
    peer.behaviour = refusing(400, "bad");
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("a", "b", "bad", "c");
    expect(peer.messages).toEqual(["a", "b", "c"]);
    expect(sending.delivery.counters).toMatchObject({ sent: 3 });
    expect(sending.dropped).toEqual({ refused: 1 });
  });

  test("if the quarantine cannot be written, nothing is dropped", async () => {
    await using peer = await Peer.open();
    peer.behaviour = refusing(400, "bad");
    await using sending = await Sending.open({ endpoint: peer.url });
    const path = join(sending.host.logDir, "quarantine");
    await writeFile(path, "in the way");
    await sending.log({ body: "bad" }, { body: "good" });
    expect(await sending.lastError()).toMatch(/EEXIST|ENOTDIR/);
    expect(sending.dropped).toEqual({});
    await rm(path);
    await sending.delivery.drain(NEVER);
    expect(peer.messages).toEqual(["good"]);
    expect(sending.dropped).toEqual({ refused: 1 });
  });
});

describe("a partial success", () => {
  test.each([
    ["protobuf", PROTOBUF_TYPE, "\x0a\x09\x08\x02\x12\x05stale"],
    ["JSON", JSON_TYPE, '{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"stale"}}'],
    [
      "JSON, a number",
      JSON_TYPE,
      '{"partialSuccess":{"rejectedLogRecords":2,"errorMessage":"stale"}}',
    ],
  ])("in %s is counted, said, and not repeated", async (_, type, body) => {
    await using peer = await Peer.open();
    peer.behaviour = answer(200, type, body);
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("a", "b", "c");
    await sending.send("d", "e", "f");
    expect(peer.received).toHaveLength(2);
    expect(sending.delivery.counters).toMatchObject({ sent: 2, failed: 0 });
    expect(sending.dropped).toEqual({ rejected: 4 });
    const said = sending.host.lines.filter((line) => line.includes("rejected"));
    expect(said).toEqual([expect.stringContaining("rejected 2 of its records: stale")]);
  });

  test("never counts more records than were sent", async () => {
    await using peer = await Peer.open();
    peer.behaviour = answer(200, JSON_TYPE, '{"partialSuccess":{"rejectedLogRecords":"99"}}');
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("a");
    expect(sending.dropped).toEqual({ rejected: 1 });
    expect(sending.delivery.counters.sent).toBe(0);
  });
});

describe("endpoint and headers", () => {
  async function request(
    options: Readonly<Record<string, unknown>> | ((peer: Peer) => object),
  ): Promise<{ url?: string | undefined; headers: Record<string, unknown> }> {
    await using peer = await Peer.open();
    const given =
      typeof options === "function" ? options(peer) : { endpoint: peer.url, ...options };
    await using sending = await Sending.open({ ...given });
    await sending.send("a");
    expect(peer.messages).toEqual(["a"]);
    return peer.received[0]!;
  }

  test.each([
    ["", "/v1/logs"],
    ["/", "/v1/logs"],
    ["/otlp", "/otlp/v1/logs"],
    ["/insert/opentelemetry/v1/logs", "/insert/opentelemetry/v1/logs"],
    ["/otlp/v1/logs/", "/otlp/v1/logs/"],
    ["/otlp?tenant=1", "/otlp/v1/logs?tenant=1"],
  ])("endpoint with the path %s: %s", async (path, wanted) => {
    const { url, headers } = await request((peer) => ({ endpoint: `${peer.url}${path}` }));
    expect(url).toBe(wanted);
    expect(headers).toMatchObject({ "content-type": "application/x-protobuf" });
  });

  test("the environment supplies everything that is not set", async () => {
    const { url, headers } = await request((peer) => {
      vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", `${peer.url}/base/`);
      vi.stubEnv("OTEL_EXPORTER_OTLP_HEADERS", "x-one=1,x-two=a%20b");
      vi.stubEnv("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-one=2");
      vi.stubEnv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
      vi.stubEnv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
      vi.stubEnv("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json");
      return {};
    });
    expect(url).toBe("/base/v1/logs");
    expect(headers).toMatchObject({
      "x-one": "2",
      "x-two": "a b",
      "content-encoding": "gzip",
      "content-type": "application/json",
    });
  });

  test("the variable for logs is used as is, and options override both", async () => {
    const { url } = await request((peer) => {
      vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
      vi.stubEnv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", `${peer.url}/mine`);
      return {};
    });
    expect(url).toBe("/mine");
    vi.stubEnv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://127.0.0.1:1");
    vi.stubEnv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    vi.stubEnv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    const given = await request({
      protocol: "http/protobuf",
      compression: "none",
      headers: { Authorization: "Bearer 123" },
    });
    expect(given.headers).toMatchObject({
      "content-type": "application/x-protobuf",
      authorization: "Bearer 123",
    });
    expect(given.headers).not.toHaveProperty("content-encoding");
  });

  test("the endpoint's user and password are sent and not shown", async () => {
    await using peer = await Peer.open();
    peer.next.push(answer(503));
    const endpoint = peer.url.replace("//", "//me:secret@");
    await using sending = await Sending.open({ endpoint });
    await sending.send("a");
    const basic = Buffer.from("me:secret").toString("base64");
    expect(peer.received[0]!.headers.authorization).toBe(`Basic ${basic}`);
    expect(sending.host.lines.join()).toContain("responded with 503");
    expect(sending.host.lines.join()).not.toContain("secret");
  });

  test.each(["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"])(
    "credentials and the query of %s are sent in the right places",
    async (variable) => {
      const path = variable.includes("LOGS") ? "/base/v1/logs" : "/base";
      const { url, headers } = await request((peer) => {
        vi.stubEnv(variable, `${peer.url.replace("//", "//m%C3%A9:100%@")}${path}?tenant=1`);
        return {};
      });
      expect(url).toBe("/base/v1/logs?tenant=1");
      expect(headers["authorization"]).toBe(`Basic ${Buffer.from("mé:100%").toString("base64")}`);
    },
  );

  test("a configured Authorization header overrides the endpoint's credentials", async () => {
    const { headers } = await request((peer) => ({
      endpoint: peer.url.replace("//", "//me:secret@"),
      headers: { authorization: "Bearer 123" },
    }));
    expect(headers["authorization"]).toBe("Bearer 123");
  });

  test("requests are as large as allowed, over one connection", async () => {
    await using peer = await Peer.open();
    const ports = new Set<number | undefined>();
    peer.behaviour = (response, received) => {
      ports.add(response.socket!.remotePort);
      return take(response, received);
    };
    await using sending = await Sending.open({ endpoint: peer.url, max_batch_bytes: 10_000 });
    const long = "x".repeat(4000);
    await sending.send(`1${long}`, `2${long}`, `3${long}`, `4${long.repeat(5)}`, `5${long}`);
    expect(peer.received.map(({ records }) => records.length)).toEqual([2, 1, 1, 1]);
    expect(peer.messages.map((body) => String(body)[0])).toEqual(["1", "2", "3", "4", "5"]);
    expect(ports.size).toBe(1);
  });

  test("record_uid: false sends the records unchanged", async () => {
    await using peer = await Peer.open();
    await using sending = await Sending.open({ endpoint: peer.url, record_uid: false });
    await sending.send("a");
    expect([...peer.records[0]!.attributes.keys()]).toEqual([]);
  });

  test.each(["http/protobuf", "http/json"])("logger_attribute over %s", async (protocol) => {
    await using peer = await Peer.open();
    const named = { endpoint: peer.url, protocol, logger_attribute: "logger" };
    await using sending = await Sending.open(named);
    await sending.send("a");
    const [record] = peer.records;
    expect(record!.scope.name).toBe("orchestrator.server");
    expect(record!.attributes.get("logger")).toBe("orchestrator.server");
  });
});

describe("an invalid configuration fails the start", () => {
  const open = async (options: object): Promise<unknown> => opened({ ...options });
  const endpoint = "https://127.0.0.1:1";

  test("no endpoint at all", async () => {
    await expect(open({})).rejects.toThrow("endpoint is missing: set it, or OTEL_EXPORTER_OTLP");
  });

  test.each(["127.0.0.1:4318", "ftp://127.0.0.1", "http://"])("%s as endpoint", async (given) => {
    vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", given);
    await expect(open({})).rejects.toThrow(
      "OTEL_EXPORTER_OTLP_ENDPOINT is not an http:// or https:// URL",
    );
    expect(otlp.options.safeParse({ endpoint: given }).success).toBe(false);
  });

  test("an unsupported protocol", async () => {
    vi.stubEnv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    await expect(open({ endpoint })).rejects.toThrow(
      "OTEL_EXPORTER_OTLP_PROTOCOL is grpc; expected http/protobuf or http/json",
    );
  });

  test("a certificate that is unreadable or invalid", async () => {
    await expect(open({ endpoint, certificate: "/nowhere.pem" })).rejects.toThrow(
      "the file of certificate cannot be read",
    );
    vi.stubEnv("OTEL_EXPORTER_OTLP_CLIENT_KEY", import.meta.filename);
    await expect(open({ endpoint })).rejects.toThrow("the certificates are not valid");
  });
});
