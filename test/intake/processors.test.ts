/** Processors that throw, return something other than a record, or change the logger. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LoggingManager } from "tailgate";
import { Workspace } from "../harness/workspace.ts";

/** Processes a record as its attribute `do` says, if it is addressed to this component. */
const TRICKY = `
  import { defineProcessor, z } from "tailgate/plugin";

  export default defineProcessor({
    name: "tricky",
    description: "For tests.",
    options: z.object({}),
    open: (options, { id }) => ({
      process(record) {
        if (record.attributes.get("for") !== id) return record;
        switch (record.attributes.get("do")) {
          case "throw": throw new Error("bug");
          case "throw nothing": throw undefined;
          case "spoil and throw": {
            record.scope = { ...record.scope, name: "spoiled" };
            record.attributes = new Map();
            throw new Error("bug");
          }
          case "promise": return Promise.resolve(record);
          case "rejected promise": return Promise.reject(new Error("later"));
          case "thenable": return { then() {} };
          case "null": return null;
          case "text": return "text";
          case "drop": return undefined;
          case "no attributes": return { ...record, attributes: null };
          case "rename": return { ...record, scope: { ...record.scope, name: record.attributes.get("to") } };
          default: return record;
        }
      },
    }),
  });`;

const unhandled: unknown[] = [];
const lines: string[] = [];
let workspace: Workspace;
let logging: LoggingManager;

const note = (error: unknown): void => void unhandled.push(error);

beforeAll(async () => {
  workspace = await Workspace.create({ "tricky.mjs": TRICKY });
  await workspace.install("tailgate");
  const use = workspace.path("tricky.mjs");
  process.on("unhandledRejection", note);
  logging = await LoggingManager.start({
    port: 0,
    logDir: workspace.path("logs"),
    receivers: { otlp: { port: null } },
    processors: {
      tricky: { use },
      "tricky/fail": { use, on_error: "fail" },
      "tricky/keep": { use, on_error: "keep" },
      "tricky/drop": { use, on_error: "drop" },
    },
    exporters: {},
    registerGlobally: false,
    write: (line) => void lines.push(line),
  });
});

afterAll(async () => {
  await logging.stop();
  process.off("unhandledRejection", note);
  await workspace[Symbol.asyncDispose]();
});

let count = 0;

/** Returns a text that no other record has. */
function unique(): string {
  return `record-${++count}-`;
}

interface Stored {
  readonly sequence: number;
  readonly type: string;
  readonly data: { readonly logger: string; readonly message: string };
}

/** Returns the records that contain the text. */
async function stored(text: string): Promise<Stored[]> {
  await logging.flush();
  const response = await fetch(`${logging.url}/api/logs?q=${text}`);
  return ((await response.json()) as { records: Stored[] }).records;
}

async function metric(name: string, component: string, reason?: string): Promise<number> {
  const text = await (await fetch(`${logging.url}/metrics`)).text();
  const wanted = [`component="${component}"`, ...(reason ? [`reason="${reason}"`] : [])];
  const line = text
    .split("\n")
    .find((one) => one.startsWith(`${name}{`) && wanted.every((label) => one.includes(label)));
  return Number(line?.split(" ").at(-1) ?? 0);
}

/** Sends one record over OTLP, and returns its partial success. */
async function send(
  logger: string,
  body: string,
  attributes: Readonly<Record<string, string>>,
): Promise<{ rejectedLogRecords?: string | number; errorMessage?: string } | undefined> {
  const record = {
    body: { stringValue: body },
    attributes: Object.entries(attributes).map(([key, stringValue]) => ({
      key,
      value: { stringValue },
    })),
  };
  const scopeLogs = [{ scope: { name: logger }, logRecords: [record] }];
  const response = await fetch(`${logging.url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs }] }),
  });
  expect(response.status).toBe(200);
  return ((await response.json()) as { partialSuccess?: object }).partialSuccess;
}

const AUDIT = "orchestrator.audit";

const FAILURES = [
  ["throw", "bug"],
  ["throw nothing", "undefined"],
  ["spoil and throw", "bug"],
  ["promise", "promise"],
  ["rejected promise", "promise"],
  ["thenable", "promise"],
  ["null", "null"],
  ["text", "string"],
] as const;

describe.each(FAILURES)("a misbehaving processor: %s", (action, why) => {
  it("makes audit() reject with a code, and the event is not stored", async () => {
    const eventType = unique();
    const dropped = await metric("tailgate_records_dropped_total", "intake", "processor_failed");
    for (const id of ["tricky", "tricky/fail", "tricky/drop"]) {
      const event = { eventType, for: id, do: action };
      await expect(logging.audit(event)).rejects.toMatchObject({
        code: "AUDIT_REFUSED",
        message: expect.stringContaining(`The processor ${id} failed`),
      });
    }
    await expect(logging.audit({ eventType, for: "tricky", do: action })).rejects.toThrow(why);
    expect(await stored(eventType)).toEqual([]);
    expect(await metric("tailgate_records_dropped_total", "intake", "processor_failed")).toBe(
      dropped + 4,
    );
  });

  it("is skipped for an audit event if on_error is keep", async () => {
    const eventType = unique();
    const receipt = await logging.audit({ eventType, for: "tricky/keep", do: action });
    expect(await stored(eventType)).toMatchObject([{ sequence: receipt.seq, type: "audit_log" }]);
  });

  it("is reported to the sender of the event over OTLP", async () => {
    const body = unique();
    for (const id of ["tricky", "tricky/fail"]) {
      const answer = await send(AUDIT, body, { for: id, do: action });
      expect(Number(answer?.rejectedLogRecords)).toBe(1);
      expect(answer?.errorMessage).toContain(`The processor ${id} failed: `);
      expect(answer?.errorMessage).toContain(why);
    }
    expect(await send(AUDIT, body, { for: "tricky/drop", do: action })).toBe(undefined);
    expect(await stored(body)).toEqual([]);
  });

  it("loses no system log by default; if on_error allows it, the loss is counted", async () => {
    const body = unique();
    const logger = logging.getLogger("app");
    const before = await metric("tailgate_records_failed_total", "tricky");
    for (const id of ["tricky", "tricky/keep", "tricky/fail", "tricky/drop"]) {
      const failed = await metric("tailgate_records_dropped_total", id, "processor_failed");
      logger.info(`${body}${id.replace("/", "-")}`, { for: id, do: action });
      const isLost = id.endsWith("fail") || id.endsWith("drop");
      expect(await metric("tailgate_records_dropped_total", id, "processor_failed")).toBe(
        failed + (isLost ? 1 : 0),
      );
    }
    const messages = (await stored(body)).map(({ data }) => data.message);
    expect(messages.sort()).toEqual([`${body}tricky`, `${body}tricky-keep`]);
    expect(await metric("tailgate_records_failed_total", "tricky")).toBe(before + 1);
    const rejected = await send("app", body, { for: "tricky/fail", do: action });
    expect(Number(rejected?.rejectedLogRecords)).toBe(1);
    expect(await send("app", body, { for: "tricky/drop", do: action })).toBe(undefined);
  });
});

it("causes no unhandled rejection", async () => {
  await new Promise((resolve) => setTimeout(resolve, 1));
  expect(unhandled).toEqual([]);
});

it("notifies the operator by the processor's name, also of lost audit events", () => {
  const of = (name: string): string[] => lines.filter((line) => line.includes(` - ${name} - `));
  for (const id of ["tricky", "tricky/keep", "tricky/drop", "tricky/fail"]) {
    expect(of(`tailgate.processor.${id}`)[0]).toMatch(
      /ERROR - A record could not be processed.*bug/,
    );
  }
  expect(of("tailgate.intake")[0]).toMatch(
    /ERROR - 1 audit event was not stored: The processor tricky failed: bug\./,
  );
});

describe("a processor that changes the logger", () => {
  it.each(["app.renamed", "orchestrator.auditor", "orchestrator.audit.child"])(
    "to %s yields the receipt of the stored record",
    async (to) => {
      const eventType = unique();
      const receipt = await logging.audit({ eventType, for: "tricky", do: "rename", to });
      const isAudit = to.startsWith(`${AUDIT}.`);
      expect(receipt.hash).toMatch(isAudit ? /^[0-9a-f]{64}$/ : /^$/);
      expect(await stored(eventType)).toMatchObject([
        {
          sequence: receipt.seq,
          type: isAudit ? "audit_log" : "system_log",
          data: { logger: to, message: eventType },
        },
      ]);
    },
  );

  it("gives each of many receipts its own record, including large ones", async () => {
    const text = unique();
    const sizes = [0, 1, 2 << 20, 3, 1 << 19, 1 << 19, 1 << 19, 7];
    const receipts = await Promise.all(
      sizes.map((size, index) =>
        logging.audit({
          eventType: `${text}${index}`,
          pad: "x".repeat(size),
          ...(index % 2 === 0 && { for: "tricky", do: "rename", to: "app.renamed" }),
        }),
      ),
    );
    for (const [index, { seq }] of receipts.entries()) {
      const [record] = await stored(`${text}${index}`);
      expect(record?.sequence).toBe(seq);
    }
  });

  it("to that of the audit makes a system log an audit event", async () => {
    const message = unique();
    logging.getLogger("app").info(message, { for: "tricky", do: "rename", to: AUDIT });
    expect(await stored(message)).toMatchObject([{ type: "audit_log", data: { logger: AUDIT } }]);
  });
});

it("an audit event dropped by a processor continues regardless of on_error", async () => {
  for (const id of ["tricky", "tricky/fail", "tricky/keep", "tricky/drop"]) {
    const eventType = unique();
    const { seq } = await logging.audit({ eventType, for: id, do: "drop" });
    expect(await stored(eventType)).toMatchObject([{ sequence: seq }]);
  }
});

describe("is rejected at startup:", () => {
  it.each([
    ["process: async (record) => record", "its process function is async"],
    ["async process(record) { return record; }", "its process function is async"],
    ["*process(record) { yield record; }", "its process function is a generator"],
    ["async *process(record) { yield record; }", "its process function is a generator"],
    ["", "it has no process function"],
    ["process: {}", "it has no process function"],
  ])("{ %s }", async (member, why) => {
    // A module is imported only once.
    const path = `refused-${unique()}.mjs`;
    await workspace.write(
      path,
      `import { defineProcessor, z } from "tailgate/plugin";
      export default defineProcessor({
        name: "refused", description: "", options: z.object({}),
        open: () => ({ close() { globalThis.closedRefused = true; }, ${member} }),
      });`,
    );
    Reflect.set(globalThis, "closedRefused", false);
    const started = LoggingManager.start({
      port: 0,
      logDir: workspace.path("refused"),
      processors: { refused: { use: workspace.path(path) } },
      exporters: {},
      journal: { engine: "memory" },
      registerGlobally: false,
      write: () => {},
    });
    const outcome = await started.then(
      (running) => running.stop(),
      (error: unknown) => error,
    );
    expect(outcome).toMatchObject({
      code: "PLUGIN_OPEN_FAILED",
      message: expect.stringContaining(`The processor refused could not be opened: ${why}`),
    });
    expect(Reflect.get(globalThis, "closedRefused")).toBe(true);
  });
});

it("an audit event that is no longer a record is rejected, and the operator is notified", async () => {
  const eventType = unique();
  const event = { eventType, for: "tricky/drop", do: "no attributes" };
  await expect(logging.audit(event)).rejects.toMatchObject({ code: "AUDIT_REFUSED" });
  logging.logAuditEvent(event);
  await logging.flush();
  expect(await metric("tailgate_records_dropped_total", "intake", "not_encodable")).toBe(2);
  await logging.stop();
  expect(lines.join("\n")).toMatch(
    /ERROR - \d+ audit events were not stored: It cannot be encoded: /,
  );
});
