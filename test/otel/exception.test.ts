import { logs, SeverityNumber } from "@opentelemetry/api";
import fc from "fast-check";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LoggingManager } from "tailgate";
import { temporaryDirectory } from "../harness/workspace.ts";

type Line = Record<string, unknown>;

const cleanUps: (() => Promise<unknown> | void)[] = [];

let logDir: string;
/** Of `direct`. */
let directory: string;
let manager: LoggingManager;
let direct: LoggingManager;

beforeAll(async () => {
  logDir = await temporaryDirectory(cleanUps);
  const common = { port: 0, exporters: { file: {}, "audit-file": {} }, write: () => {} };
  manager = await LoggingManager.start({ ...common, logDir });
  directory = await temporaryDirectory(cleanUps);
  const journal = { engine: "memory" };
  const loggerProvider = "direct";
  direct = await LoggingManager.start({ ...common, logDir: directory, journal, loggerProvider });
  cleanUps.push(
    () => manager.stop(),
    () => direct.stop(),
  );
});

afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

/** Returns the file's lines of what `log` logs. */
async function logged(log: () => void, path = "orchestrator.log"): Promise<Line[]> {
  const before = (await linesOf(path)).length;
  log();
  await manager.flush();
  return (await linesOf(path)).slice(before);
}

async function linesOf(path: string): Promise<Line[]> {
  const text = await readFile(join(logDir, path), "utf8").catch(() => "");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Line);
}

/** Logs the same error in every way that sets the exception of a record. */
async function everyWay(error: unknown): Promise<Line[]> {
  const logger = manager.getLogger("a");
  return logged(() => {
    logger.error("facade", error as Error);
    logger.error("extra", { exception: error });
    logs.getLogger("a").emit({ body: "record", exception: error });
    logs.getLogger("a").emit({ body: "attribute", attributes: { exception: error } });
  });
}

const root = new RangeError("no slot is free");
const outer = new Error("spawning failed", { cause: new TypeError("no worker", { cause: root }) });

describe("an exception", () => {
  it("retains its causes, however it is passed, in the form of an Error as an attribute", async () => {
    const [attribute] = await logged(() => manager.getLogger("a").error("m", { failure: outer }));
    const { cause } = attribute!["failure"] as Line;
    expect(cause).toMatchObject({
      name: "TypeError",
      message: "no worker",
      cause: { name: "RangeError", message: "no slot is free", stack: root.stack },
    });
    const lines = await everyWay(outer);
    expect(lines).toHaveLength(4);
    for (const line of lines) {
      expect(line).toMatchObject({
        "exception.type": "Error",
        "exception.message": "spawning failed",
        "exception.cause": cause,
      });
    }
  });

  it("shows its causes in the stack trace, too, and only its message in the message", async () => {
    for (const line of await everyWay(outer)) {
      const trace = line["exception.stacktrace"] as string;
      expect(trace.startsWith(outer.stack!)).toBe(true);
      expect(trace.match(/^(Error|Caused by): .*/gm)).toEqual([
        "Error: spawning failed",
        "Caused by: TypeError: no worker",
        "Caused by: RangeError: no slot is free",
      ]);
      expect(line["message"]).not.toContain("no");
    }
  });

  it("retains aggregated errors with their causes", async () => {
    const errors = [new Error("first", { cause: root }), "second", { code: 3 }];
    const [attribute] = await logged(() =>
      manager.getLogger("a").error("m", { failure: new AggregateError(errors, "all failed") }),
    );
    const expected = [
      { message: "first", cause: { message: "no slot is free" } },
      "second",
      { code: 3 },
    ];
    expect(attribute!["failure"]).toMatchObject({ errors: expected });
    for (const line of await everyWay(new AggregateError(errors, "all failed"))) {
      expect(line).toMatchObject({
        "exception.type": "AggregateError",
        "exception.errors": expected,
      });
      expect(line["exception.stacktrace"]).toMatch(
        /^ {4}Error 1 of 3: Error: first\n(?: {8}at .*\n)+ {4}Caused by: RangeError: no slot is free\n[^]*^ {4}Error 2 of 3: second\n {4}Error 3 of 3: \{"code":3\}$/m,
      );
    }
  });

  it("retains both errors of a SuppressedError", async () => {
    const suppressed = Object.assign(new Error("both"), { name: "SuppressedError" });
    Object.defineProperty(suppressed, "error", { value: new Error("later") });
    Object.defineProperty(suppressed, "suppressed", { value: new Error("earlier") });
    for (const line of await everyWay(suppressed)) {
      expect(line).toMatchObject({
        "exception.error": { message: "later" },
        "exception.suppressed": { message: "earlier" },
      });
    }
  });

  it("is retained with its causes in an audit event and as the message", async () => {
    await logged(() => manager.logAuditEvent({ eventType: "error", details: { failure: outer } }));
    const [file] = await logged(() => manager.getLogger("a").error(outer as never));
    expect(file!["message"]).toContain('"message":"no slot is free"');
    const date = new Date().toISOString().slice(0, 10).replaceAll("-", "");
    const events = await linesOf(`audit/audit_${date}.jsonl`);
    expect(events.find(({ event_type: type }) => type === "error")).toMatchObject({
      details: {
        failure: { cause: { message: "no worker", cause: { message: "no slot is free" } } },
      },
    });
  });

  it("is equal with either LoggerProvider", async () => {
    const [line] = await logged(() => manager.getLogger("a").error("m", outer));
    direct.getLogger("a").error("m", outer);
    await direct.flush();
    const text = await readFile(join(directory, "orchestrator.log"), "utf8");
    const fields = (from: Line): unknown[] =>
      Object.entries(from).filter(([name]) => name.startsWith("exception."));
    expect(fields(JSON.parse(text) as Line)).toEqual(fields(line!));
  });

  it("that is its own cause terminates", async () => {
    const circle = new Error("circle");
    circle.cause = new Error("between", { cause: circle });
    for (const line of await everyWay(circle)) {
      expect(line["exception.cause"]).toMatchObject({ message: "between", cause: "[circular]" });
      expect(line["exception.stacktrace"]).toMatch(/\nCaused by: \[circular\]$/);
    }
  });

  it("with a very long chain is truncated, with a note", async () => {
    class Endless extends Error {
      override get cause(): Endless {
        return new Endless("and again");
      }
    }
    const many = new AggregateError(Array.from({ length: 2_000 }, () => new Error("one of many")));
    for (const error of [new Endless("endless"), many]) {
      for (const line of await everyWay(error)) {
        const text = JSON.stringify(line);
        expect(text).toContain("[more than 64 causes]");
        expect(text.length).toBeLessThan(1 << 20);
      }
    }
    const long = new Error("long", {
      cause: Object.assign(new Error("x"), { stack: "x".repeat(1 << 20) }),
    });
    for (const line of await everyWay(long)) {
      const trace = line["exception.stacktrace"] as string;
      expect(trace.endsWith("x\n[more causes]")).toBe(true);
      expect(trace.length).toBeLessThan(1 << 17);
    }
  });

  it("never throws into the caller, regardless of its fields", async () => {
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    const field = fc.oneof(
      fc.anything({
        withBigInt: true,
        withDate: true,
        withSparseArray: true,
        withNullPrototype: true,
      }),
      fc.constantFrom(Symbol("s"), () => 1, root),
      fc.constant({ cause: root, stack: "s" }),
    );
    const getter = fc.oneof(
      field.map((value) => ({ get: () => value })),
      fc.constant({ get: () => proxy as unknown }),
    );
    const throwing = field.map((value) => ({
      get: () => {
        throw value;
      },
    }));
    const property = fc.oneof(
      field.map((value) => ({ value })),
      getter,
      throwing,
    );
    const names = ["name", "message", "stack", "code", "cause", "errors", "error", "suppressed"];
    const properties = fc.record(Object.fromEntries(names.map((name) => [name, property])), {
      requiredKeys: [],
    });
    const errors = fc.tuple(properties, fc.boolean()).map(([given, isError]) => {
      const descriptors = Object.entries(given).map(([name, one]) => [
        name,
        { ...one, configurable: true },
      ]);
      return Object.defineProperties(
        isError ? new Error("e") : {},
        Object.fromEntries(descriptors) as PropertyDescriptorMap,
      );
    });
    let emitted = 0;
    const lines = await logged(() => {
      fc.assert(
        fc.property(errors, (error) => {
          for (const { provider } of [manager, direct]) {
            provider
              .getLogger("a")
              .emit({ body: "hostile", severityNumber: SeverityNumber.ERROR, exception: error });
          }
          manager.getLogger("a").error("hostile", { exception: error, nested: { error } });
          emitted += 2;
        }),
        { numRuns: 300 },
      );
    });
    expect(lines.filter(({ message }) => message === "hostile")).toHaveLength(emitted);
  });
});
