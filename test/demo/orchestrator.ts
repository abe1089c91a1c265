import { Dice } from "./dice.ts";
import { auditEvent, systemLog, type DemoEvent } from "./demo-event.ts";
import { failure, InstanceLife } from "./instance-life.ts";

const INSTANCES_AT_ONCE = 6;
const SPAWN_EVERY_MS = 1_500;
const HEARTBEAT_EVERY_MS = 2_000;
/** The manager's daemon fails once in this many heartbeats. */
const FAILING_HEARTBEAT = 30;

/** Generates the endless log of an orchestrator with some instances, in order of time and deterministic by seed. */
export function* orchestrator(seed: number): Generator<DemoEvent> {
  const dice = new Dice(seed);
  const lives = [new Threaded(daemon(dice))];
  for (let spawnAtMs = 400; ;) {
    const next = earliest(lives);
    const hasRoom = lives.length <= INSTANCES_AT_ONCE;
    if (hasRoom && spawnAtMs <= next.atMs) {
      lives.push(new Threaded(new InstanceLife(dice, spawnAtMs).events()));
      spawnAtMs += dice.between(0.3 * SPAWN_EVERY_MS, 2 * SPAWN_EVERY_MS);
      continue;
    }
    if (!hasRoom) spawnAtMs = Math.max(spawnAtMs, next.atMs + SPAWN_EVERY_MS);
    yield next.take();
    if (next.isOver) lives.splice(lives.indexOf(next), 1);
  }
}

/** One of several sequences that are merged by time. */
class Threaded {
  readonly #events: Iterator<DemoEvent>;
  #next: IteratorResult<DemoEvent>;

  constructor(events: Iterator<DemoEvent>) {
    this.#events = events;
    this.#next = events.next();
  }

  get isOver(): boolean {
    return this.#next.done === true;
  }

  get atMs(): number {
    return this.#next.value.atMs;
  }

  take(): DemoEvent {
    const { value } = this.#next;
    this.#next = this.#events.next();
    return value;
  }
}

function earliest(lives: readonly Threaded[]): Threaded {
  return lives.reduce((one, other) => (other.atMs < one.atMs ? other : one));
}

/** The constant background activity. */
function* daemon(dice: Dice): Generator<DemoEvent> {
  const callSite = ["orchestrator.monitor", "heartbeat:44"] as const;
  const server = ["orchestrator.server", "serve:19"] as const;
  yield systemLog(0, "INFO", server, "Orchestrator started", {
    fields: { slots: INSTANCES_AT_ONCE },
  });
  for (let beat = 1; ; beat++) {
    const atMs = beat * HEARTBEAT_EVERY_MS;
    const fields = { cpu_percent: dice.between(8, 70), memory_mb: dice.between(900, 1600) };
    yield systemLog(atMs, "DEBUG", callSite, `Heartbeat ${beat}`, { fields });
    if (beat % FAILING_HEARTBEAT === FAILING_HEARTBEAT / 2) yield* daemonFailure(atMs + 40);
  }
}

function* daemonFailure(atMs: number): Generator<DemoEvent> {
  const error = failure("ConnectionResetError", "manager socket closed", "poll", 97);
  const callSite = ["orchestrator.monitor", "poll:97"] as const;
  yield systemLog(atMs, "CRITICAL", callSite, "Manager daemon is not responding", { error });
  const details = { error: error.message, restarts: 1 };
  yield auditEvent(atMs + 3, "manager_daemon_failure", null, details);
  const again = "Manager daemon restarted";
  yield systemLog(atMs + 900, "WARNING", callSite, again, { fields: { restarts: 1 } });
}
