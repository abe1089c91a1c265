import { chmod, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import fileExporter from "../plugins/file.ts";
import { type Config } from "tailgate";
import { HTTP_DEFAULTS } from "../src/config/config.ts";
import {
  defineExporter,
  defineProcessor,
  defineReceiver,
  PermanentError,
  z,
  type Exporter,
  type ExporterDefinition,
  type LogRecord,
  type Processor,
  type ReceiverHost,
} from "tailgate/plugin";
import { startTailgate, type RunningTailgate } from "tailgate";
import { recordOf } from "tailgate/testing";
import { ask } from "./harness/http-server.ts";
import { temporaryDirectory } from "./harness/workspace.ts";

const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };

const cleanUps: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

const options = z.object({});

const DELIVERY = { queueBytesMax: 64 << 20, timeoutMs: 30_000 };

function exporter(name: string, open: () => Exporter, more: Partial<ExporterDefinition> = {}) {
  return {
    ...DELIVERY,
    id: name,
    options: {},
    definition: defineExporter({ name, description: "", options, open, ...more }),
  };
}

function processor(name: string, process: NonNullable<Processor["process"]>) {
  const open = () => ({ process });
  return {
    id: name,
    options: {},
    definition: defineProcessor({ name, description: "", options, open }),
  };
}

const UNLIMITED = { bytes: Infinity, ms: Infinity };

/** An exporter that collects the messages. */
function collector(id: string): { component: ReturnType<typeof exporter>; messages: string[] } {
  const messages: string[] = [];
  const component = exporter(id, () => ({
    write: (batch) => {
      for (let index = 0; index < batch.length; index++)
        messages.push(batch.envelope(index).data.message);
    },
  }));
  return { component, messages };
}

interface Started extends RunningTailgate {
  readonly logDir: string;
  readonly lines: string[];
}

async function start(given: Partial<Config>): Promise<Started> {
  const logDir = given.logDir ?? (await temporaryDirectory(cleanUps));
  const lines: string[] = [];
  const base = {
    host: "127.0.0.1",
    port: 0,
    logLevel: "INFO",
    allowedHosts: [],
    trustsDefaultOrigins: false,
    http: HTTP_DEFAULTS,
    traceUrl: undefined,
    journal: { engine: "sqlite", retention: { system_log: UNLIMITED, audit_log: UNLIMITED } },
    auditKeyFile: join(await temporaryDirectory(cleanUps), "audit-key.pem"),
  } as const;
  const sections = { receivers: [], processors: [], exporters: [] };
  const running = await startTailgate(
    { ...base, ...sections, ...given, logDir },
    { write: (line) => lines.push(line) },
  );
  cleanUps.push(() => running.stop());
  return { ...running, logDir, lines };
}

function send({ gateway }: RunningTailgate, ...records: Partial<LogRecord>[]) {
  return gateway.intake.records(records.map(recordOf));
}

function flush({ gateway }: RunningTailgate): Promise<void> {
  return gateway.flush(new AbortController().signal);
}

function countersOf({ gateway }: RunningTailgate, id: string) {
  return gateway.components.find((component) => component.id === id)!.counters;
}

describe("a gateway", () => {
  it("delivers records from the intake to every exporter, with consistent counters", async () => {
    const first = collector("first");
    const second = collector("second");
    const running = await start({
      exporters: [first.component, { ...second.component, level: "ERROR" }],
    });
    await send(
      running,
      { body: "debug", severityText: "DEBUG" },
      { body: "info" },
      { body: "error", severityText: "ERROR" },
      { body: "event", scope: AUDIT, severityText: "CRITICAL" },
    );
    await flush(running);
    expect(first.messages).toEqual(["info", "error", "event"]);
    expect(second.messages).toEqual(["error", "event"]);
    expect(countersOf(running, "intake")).toMatchObject({ received: 4, filtered: 1, sent: 3 });
    for (const { counters } of running.gateway.components) {
      expect(counters.received).toBe(counters.filtered + counters.sent + counters.droppedSum);
    }
  });

  it("delivers to each exporter the type of records that it asks for when it is opened", async () => {
    const given = ["system_log", "audit_log", undefined] as const;
    const messages = given.map((): string[] => []);
    const exporters = given.map((type, place) =>
      exporter(`exporter-${place}`, () => ({
        type,
        write: (batch) => {
          for (let index = 0; index < batch.length; index++)
            messages[place]!.push(batch.envelope(index).data.message);
        },
      })),
    );
    const running = await start({ exporters });
    await send(running, { body: "log" }, { body: "event", scope: AUDIT });
    await flush(running);
    expect(messages).toEqual([["log"], ["event"], ["log", "event"]]);
    expect(countersOf(running, "exporter-1")).toMatchObject({ received: 2, filtered: 1, sent: 1 });
  });

  it("rejects an exporter that asks for an unknown type of records", async () => {
    const wrong = exporter("wrong", () => ({ type: "audit" as "audit_log", write: () => {} }));
    await expect(start({ exporters: [wrong] })).rejects.toThrow(
      'The exporter wrong could not be opened: its type is "audit", and must be system_log or audit_log.',
    );
  });

  it("logs the origins it trusts by default at startup, if any", async () => {
    const [trusting, strict] = [
      await start({ trustsDefaultOrigins: true }),
      await start({ trustsDefaultOrigins: false }),
    ];
    expect(trusting.notices).toEqual([
      "Pages of http://localhost:3000 and http://127.0.0.1:3000 can read logs over the WebSocket. To reject them, set trust_default_origins: false.",
    ]);
    expect(strict.notices).toEqual([]);
    const headers = { Origin: "http://localhost:3000" };
    const statuses = await Promise.all(
      [trusting, strict].map(async ({ url }) => (await ask(url, { headers })).status),
    );
    expect(statuses).toEqual([200, 403]);
  });

  it("isolates exporters that throw, reject or hang", async () => {
    const good = collector("good");
    const bad = [
      exporter("throws", () => ({
        write: () => {
          throw new Error("broken");
        },
      })),
      exporter("refuses", () => ({
        write: () => {
          throw new PermanentError("never");
        },
      })),
      exporter("hangs", () => ({ write: () => new Promise(() => {}) })),
    ];
    const running = await start({ exporters: [...bad, good.component] });
    for (let index = 0; index < 50; index++) await send(running, { body: `record ${index}` });
    await vi.waitFor(() => expect(good.messages).toHaveLength(50));
    expect(countersOf(running, "refuses").dropped.get("refused")).toBe(50);
    const lastErrors = running.gateway.components.map(({ id, lastError }) => [id, lastError]);
    expect(lastErrors).toContainEqual(["throws", "broken"]);
    expect(running.gateway.notReady).toBe(undefined);
    await running.stop();
    expect(countersOf(running, "throws").dropped).toEqual(new Map());
    expect(countersOf(running, "hangs").dropped).toEqual(new Map());
    expect(running.lines.filter((line) => line.includes("for the next start"))).toEqual([
      expect.stringContaining("tailgate.exporter.throws - WARNING - 50 records could not be"),
      expect.stringContaining("tailgate.exporter.hangs - WARNING - 50 records could not be"),
    ]);
    expect(running.lines.filter((line) => line.includes("continues without it"))).toEqual([
      expect.stringMatching(/ - tailgate\.exporter\.hangs - WARNING - Closing took longer than/),
    ]);
  });

  it("runs records through the processors in order", async () => {
    const seen = collector("seen");
    const running = await start({
      processors: [
        processor("redact", (record) => {
          if (record.attributes.has("password")) record.attributes.set("password", "[redacted]");
          return record;
        }),
        processor("drop-noise", (record) => (record.body === "noise" ? undefined : record)),
        processor("broken", (record) => {
          if (record.body === "kept") throw new Error("bug");
          return record;
        }),
        processor("rename", (record) => ({ ...record, body: `${record.body as string}!` })),
      ],
      exporters: [seen.component],
    });
    await send(
      running,
      { body: "noise" },
      { body: "kept", attributes: new Map([["password", "secret"]]) },
    );
    await flush(running);
    expect(seen.messages).toEqual(["kept!"]);
    const envelope = running.gateway.journal.readFrom(1)!.envelope(0);
    expect(envelope.data).toMatchObject({ password: "[redacted]" });
    expect(countersOf(running, "drop-noise")).toMatchObject({ received: 2, filtered: 1, sent: 1 });
    expect(countersOf(running, "broken")).toMatchObject({ received: 1, failed: 1, sent: 1 });
    expect(countersOf(running, "intake")).toMatchObject({ received: 2, filtered: 1, sent: 1 });
    const lastErrorOf = (id: string): string | undefined =>
      running.gateway.components.find((component) => component.id === id)!.lastError;
    expect(lastErrorOf("broken")).toBe("bug");
    await send(running, { body: "kept" });
    expect(running.lines.filter((line) => line.includes("could not be processed"))).toHaveLength(1);
    await send(running, { body: "fine" });
    expect(lastErrorOf("broken")).toBe(undefined);
  });

  it("rejects a processor's result that cannot be serialized, and accepts the other records", async () => {
    const seen = collector("seen");
    const running = await start({
      processors: [
        processor("odd", (record) =>
          record.body === "odd" ? ({ ...record, attributes: null } as never) : record,
        ),
      ],
      exporters: [seen.component],
    });
    const ingested = await send(running, { body: "odd" }, { body: "even" });
    expect(ingested).toMatchObject({
      accepted: 1,
      rejected: 1,
      reason: expect.stringMatching(/./),
    });
    await flush(running);
    expect(seen.messages).toEqual(["even"]);
    expect(countersOf(running, "intake").dropped.get("not_encodable")).toBe(1);
  });

  it("gives each receiver an intake that counts for it, and closes receivers first", async () => {
    const order: string[] = [];
    let host: ReceiverHost | undefined;
    const definition = defineReceiver({
      name: "mine",
      description: "",
      options,
      open: (_, given) => {
        host = given;
        return { close: () => void order.push("receiver") };
      },
    });
    const last = exporter("last", () => ({
      write: () => {},
      close: () => void order.push("exporter"),
    }));
    const running = await start({
      receivers: [{ id: "mine", options: {}, definition }],
      exporters: [last],
    });
    await host!.intake.records([recordOf({})]);
    expect(countersOf(running, "mine")).toMatchObject({ received: 1, sent: 1 });
    await running.stop();
    expect(order).toEqual(["receiver", "exporter"]);
    await expect(host!.intake.records([recordOf({})])).rejects.toMatchObject({ code: "STOPPED" });
  });

  it("loses no record that was accepted before stop", async () => {
    const file = {
      ...DELIVERY,
      id: "file",
      options: fileExporter.options.parse({}),
      definition: fileExporter,
    };
    const running = await start({ exporters: [file] });
    const sent: Promise<unknown>[] = [];
    for (let index = 0; index < 2000; index++)
      sent.push(send(running, { body: `record ${index}` }));
    await running.stop();
    const accepted = (await Promise.allSettled(sent)).filter(
      ({ status }) => status === "fulfilled",
    );
    expect(accepted).toHaveLength(2000);
    const text = await readFile(join(running.logDir, "orchestrator.log"), "utf8");
    expect(text.trimEnd().split("\n")).toHaveLength(2000);
  });

  it("closes the opened plugins if a later one fails to open", async () => {
    let closed = 0;
    const good = exporter("good", () => ({ write: () => {}, close: () => void closed++ }));
    const bad = exporter("bad", () => {
      throw new Error("no such host.");
    });
    await expect(start({ exporters: [good, bad] })).rejects.toThrow(
      "The exporter bad could not be opened: no such host. Check the reason",
    );
    expect(closed).toBe(1);
  });

  it("aborts startup if a plugin does not finish opening, and closes it once it does", async () => {
    const late = Promise.withResolvers<Exporter>();
    const hangs = {
      ...exporter("hangs", () => ({ write: () => {} })),
      definition: defineExporter({
        name: "hangs",
        description: "",
        options,
        open: () => late.promise,
      }),
    };
    await expect(start({ exporters: [hangs] })).rejects.toMatchObject({
      code: "PLUGIN_OPEN_FAILED",
      message: expect.stringContaining("exporter hangs could not be opened: it took longer than"),
    });
    const close = vi.fn();
    late.resolve({ write: () => {}, close });
    await vi.waitFor(() => expect(close).toHaveBeenCalledOnce());
  });

  it("reports which port is in use", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    cleanUps.push(() => void other.close());
    const { port } = other.address() as { port: number };
    await expect(start({ port })).rejects.toMatchObject({
      code: "PORT_IN_USE",
      exitCode: 69,
      message: expect.stringContaining(String(port)),
    });
  });
});

describe("the log directory", () => {
  const expectRejected = (logDir: string, why: string) =>
    expect(start({ logDir })).rejects.toMatchObject({
      code: "LOG_DIR_UNUSABLE",
      message: expect.stringContaining(`The log directory ${logDir} ${why}`),
    });

  it("is created with its parents, accessible to the owner only", async () => {
    const logDir = join(await temporaryDirectory(cleanUps), "a", "b");
    await start({ logDir });
    const { stat } = await import("node:fs/promises");
    expect((await stat(logDir)).mode & 0o777).toBe(0o700);
  });

  it("is rejected if it is a symbolic link", async () => {
    const parent = await temporaryDirectory(cleanUps);
    await mkdir(join(parent, "real"));
    await symlink(join(parent, "real"), join(parent, "link"));
    await expectRejected(join(parent, "link"), "is a symbolic link");
  });

  it("is rejected if it is a file", async () => {
    const path = join(await temporaryDirectory(cleanUps), "file");
    await writeFile(path, "");
    await expectRejected(path, "cannot be created (EEXIST");
  });

  it("is rejected if it is world-writable", async () => {
    const path = await temporaryDirectory(cleanUps);
    await chmod(path, 0o777);
    await expectRejected(path, "is writable by all users");
  });

  it("is rejected if it cannot be created", async () => {
    await expectRejected("/proc/tailgate", "cannot be created (ENOENT");
  });
});
