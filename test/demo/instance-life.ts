import type { Dice } from "./dice.ts";
import { auditEvent, systemLog, type DemoEvent, type Trace } from "./demo-event.ts";

const ROLES = ["architect", "backend", "frontend", "reclient", "tester", "general"] as const;

const TASKS = [
  "Implement the retry policy of the message bus",
  "Review pull request 482",
  "Write tests for the session store",
  "Find out why the nightly build is slow",
  "Summarize yesterday's incidents",
  "Migrate the settings to the new schema",
] as const;

const TOOLS = ["read_file", "edit_file", "run_tests", "search_code", "list_directory"] as const;

const MANAGER = "orchestrator.instance_manager";
const BUS = "orchestrator.message_bus";
const INSTANCE = "orchestrator.instance";
const MONITOR = "orchestrator.monitor";

/** The life of an instance from spawn to end, in order of time. */
export class InstanceLife {
  readonly #dice: Dice;
  readonly #id: string;
  readonly #role: string;
  readonly #task: string;
  #nowMs: number;
  #trace: Trace;

  constructor(dice: Dice, startMs: number) {
    this.#dice = dice;
    this.#nowMs = startMs;
    this.#role = dice.oneOf(ROLES);
    this.#id = `${this.#role}-${dice.hex(6)}`;
    this.#task = dice.oneOf(TASKS);
    this.#trace = this.#newTrace();
  }

  *events(): Generator<DemoEvent> {
    yield* this.#spawn();
    for (let rounds = this.#dice.between(3, 6); rounds > 0; rounds--) {
      this.#trace = this.#newTrace();
      yield* this.#exchange();
      yield* this.#work();
      yield* this.#errors();
    }
    yield* this.#end("completed");
  }

  *#spawn(): Generator<DemoEvent> {
    const details = { role: this.#role, model: "general-4", parent: "supervisor-1" };
    yield this.#log("DEBUG", [MANAGER, "reserve_slot:88"], "Reserved a slot", { slots_free: 5 });
    this.#pass(20, 60);
    yield auditEvent(this.#nowMs, "instance_spawn", this.#id, details, this.#trace);
    this.#pass(300, 900);
    const fields = { role: this.#role, startup_ms: this.#dice.between(310, 890) };
    yield this.#log("INFO", [MANAGER, "spawn_instance:142"], `Spawned ${this.#id}`, fields);
    yield this.#changed("starting", "running");
  }

  *#exchange(): Generator<DemoEvent> {
    const messageId = `msg-${this.#dice.hex(8)}`;
    const details = { message_id: messageId, to: this.#id, from: "supervisor-1" };
    this.#pass(200, 1500);
    yield auditEvent(this.#nowMs, "message_sent", this.#id, details, this.#trace);
    this.#pass(4, 40);
    const fields = { message_id: messageId, queue_depth: this.#dice.between(0, 12) };
    yield this.#log("DEBUG", [BUS, "route:57"], `Routed ${messageId} to ${this.#id}`, fields);
    this.#pass(2, 20);
    yield auditEvent(this.#nowMs, "message_received", this.#id, details, this.#trace);
    yield this.#log("INFO", [INSTANCE, "accept_task:31"], `Task accepted: ${this.#task}`);
  }

  *#work(): Generator<DemoEvent> {
    const startedMs = this.#nowMs;
    for (let calls = this.#dice.between(3, 9); calls > 0; calls--) {
      this.#pass(120, 1400);
      const tool = this.#dice.oneOf(TOOLS);
      const fields = { tool, duration_ms: this.#dice.between(4, 900) };
      const level = this.#dice.isLucky(0.4) ? "INFO" : "DEBUG";
      yield this.#log(level, [INSTANCE, "call_tool:74"], `${tool} returned`, fields);
    }
    this.#pass(100, 600);
    const tokens = this.#dice.between(800, 9000);
    const details = { task: this.#task, tokens, duration_ms: this.#nowMs - startedMs };
    yield auditEvent(this.#nowMs, "message_exchange", this.#id, details, this.#trace);
    const told = `Answered with ${tokens} tokens`;
    yield this.#log("INFO", [INSTANCE, "reply:118"], told, { tokens });
  }

  /** Most rounds have none. */
  *#errors(): Generator<DemoEvent> {
    if (!this.#dice.isLucky(0.5)) return;
    yield* this.#dice.oneOf([
      () => this.#memory(),
      () => this.#timeout(),
      () => this.#suspension(),
      () => this.#crash(),
      () => this.#flood(),
    ])();
  }

  *#memory(): Generator<DemoEvent> {
    const fields = { memory_mb: this.#dice.between(480, 760), limit_mb: 768 };
    yield this.#log("WARNING", [MONITOR, "check_memory:203"], "High memory usage detected", fields);
  }

  *#timeout(): Generator<DemoEvent> {
    const waited = { waited_ms: 30_000, attempt: 1 };
    yield this.#log(
      "WARNING",
      [BUS, "await_reply:96"],
      "No reply within the timeout, retrying",
      waited,
    );
    yield auditEvent(this.#nowMs, "timeout", this.#id, waited, this.#trace);
    this.#pass(900, 2500);
    yield auditEvent(this.#nowMs, "instance_reconnected", this.#id, { attempt: 2 }, this.#trace);
  }

  *#suspension(): Generator<DemoEvent> {
    const details = { reason: "waits for a review" };
    yield auditEvent(this.#nowMs, "instance_suspended", this.#id, details, this.#trace);
    yield this.#changed("running", "suspended");
    this.#pass(3000, 8000);
    yield auditEvent(this.#nowMs, "instance_resumed", this.#id, {}, this.#trace);
    yield this.#changed("suspended", "running");
  }

  *#crash(): Generator<DemoEvent> {
    const error = failure("ToolError", "run_tests ended with exit code 137", "call_tool", 81);
    const text = `${this.#id} failed in run_tests`;
    yield { ...this.#log("ERROR", [INSTANCE, "call_tool:81"], text), error };
    yield auditEvent(this.#nowMs, "error", this.#id, { error: error.message }, this.#trace);
    this.#pass(600, 2000);
    yield this.#log("INFO", [MANAGER, "recover:260"], `Restoring ${this.#id} from its checkpoint`);
    this.#pass(300, 900);
    const details = { checkpoint: this.#dice.between(3, 40) };
    yield auditEvent(this.#nowMs, "instance_recovered", this.#id, details, this.#trace);
  }

  /** A burst of lines, as written by a test run or a stack of retries. */
  *#flood(): Generator<DemoEvent> {
    for (let line = 1; line <= 150; line++) {
      this.#pass(0, 6);
      const test = `session_store_test::case_${String(line).padStart(3, "0")} ok`;
      yield this.#log("DEBUG", [INSTANCE, "stream_output:140"], test, { tool: "run_tests", line });
    }
  }

  *#end(outcome: string): Generator<DemoEvent> {
    this.#pass(300, 1200);
    yield this.#changed("running", "terminated");
    yield auditEvent(this.#nowMs, "instance_terminate", this.#id, { outcome }, this.#trace);
    yield this.#log("INFO", [MANAGER, "terminate_instance:318"], `Terminated ${this.#id}`);
  }

  #changed(from: string, to: string): DemoEvent {
    return auditEvent(this.#nowMs, "state_change", this.#id, { from, to }, this.#trace);
  }

  #log(
    level: DemoEvent["level"],
    callSite: readonly [string, string],
    message: string,
    fields: DemoEvent["fields"] = {},
  ): DemoEvent {
    const all = { instance_id: this.#id, ...fields };
    return systemLog(this.#nowMs, level, callSite, message, { fields: all, trace: this.#trace });
  }

  #pass(fromMs: number, toMs: number): void {
    this.#nowMs += this.#dice.between(fromMs, toMs);
  }

  #newTrace(): Trace {
    return { traceId: this.#dice.hex(32), spanId: this.#dice.hex(16) };
  }
}

/** Creates an error with a stack of the orchestrator's code, not of the demo's. */
export function failure(name: string, message: string, functionName: string, line: number): Error {
  const error = new Error(message);
  error.name = name;
  error.stack = [
    "Traceback (most recent call last):",
    `  File "orchestrator/instance.py", line ${line}, in ${functionName}`,
    "    result = await self.transport.request(call, timeout=30)",
    '  File "orchestrator/transport.py", line 212, in request',
    "    raise error_of(response)",
    `${name}: ${message}`,
  ].join("\n");
  return error;
}
