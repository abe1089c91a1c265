import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { clearInterval, nextTurn, setInterval } from "../runtime/timers.ts";
import { textOf } from "../wire/errors.ts";
import { say } from "./output.ts";

/** The variables that systemd gives a service (sd_notify(3), sd_watchdog_enabled(3)). */
export type ServiceEnvironment = Readonly<Record<string, string | undefined>>;

/** What the service manager needs to know of a running gateway. */
export interface ServedGateway {
  /** Why the gateway cannot accept records; undefined if it can. */
  readonly notReady: string | undefined;
  /** How long the oldest request to the disk has been under way, in milliseconds; 0 if there is none. */
  readonly diskWaitMs: number;
}

/** How often a start asks for more time, how much, and for how long: the recovery of a large journal takes minutes. */
const EXTEND_MS = 10_000;
const EXTENSION_USEC = 60_000_000;
const START_MS_MAX = 15 * 60_000;

/** How often the status is updated without a watchdog. */
const STATUS_MS = 15_000;

/**
 * Tells systemd, or another manager that sets NOTIFY_SOCKET, what the gateway does; without one, does nothing. Lifecycle:
 *
 * 1. `starting()`: asks for more time until the gateway is ready.
 * 2. `ready()`: pings the watchdog, if there is one, from the main thread at half of its interval, so that a blocked event
 *    loop is noticed. It also does not ping while the journal's thread is stuck.
 * 3. `stopping()`: sends nothing after that.
 */
export class ServiceManager {
  readonly #isPresent: boolean;
  /** Undefined without a watchdog for this process. */
  readonly #watchdogMs: number | undefined;
  readonly #sender = new Sender();
  #timer: NodeJS.Timeout | undefined;
  #status = "";
  #isStopping = false;

  constructor({ NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID }: ServiceEnvironment) {
    this.#isPresent = Boolean(NOTIFY_SOCKET);
    const isOurs = !WATCHDOG_PID || Number(WATCHDOG_PID) === process.pid;
    this.#watchdogMs =
      isOurs && Number(WATCHDOG_USEC) > 0 ? Number(WATCHDOG_USEC) / 1000 : undefined;
  }

  starting(): void {
    const endMs = performance.now() + START_MS_MAX;
    this.#repeat(EXTEND_MS, () => {
      if (performance.now() > endMs) return;
      this.#send({ EXTEND_TIMEOUT_USEC: String(EXTENSION_USEC), ...this.#newStatus("Starting") });
    });
  }

  /** `summary` is the status while nothing is wrong. */
  ready(gateway: ServedGateway, summary: string): void {
    this.#send({ READY: "1" });
    const intervalMs = (this.#watchdogMs ?? 2 * STATUS_MS) / 2;
    this.#repeat(intervalMs, () => {
      const { notReady, diskWaitMs } = gateway;
      const isStuck = diskWaitMs > intervalMs;
      const stuck = `The disk has not answered for ${Math.round(diskWaitMs / 1000)} s`;
      const status = isStuck ? stuck : notReady === undefined ? summary : `Not ready: ${notReady}`;
      const isAlive = this.#watchdogMs !== undefined && !isStuck;
      this.#send({ ...(isAlive && { WATCHDOG: "1" }), ...this.#newStatus(status) });
    });
  }

  stopping(): void {
    clearInterval(this.#timer);
    this.#send({ STOPPING: "1", ...this.#newStatus("Stopping") });
    this.#isStopping = true;
  }

  /** Calls `work` now, and then at that interval in place of what was repeated before. */
  #repeat(ms: number, work: () => void): void {
    clearInterval(this.#timer);
    if (!this.#isPresent || this.#isStopping) return;
    work();
    this.#timer = setInterval(work, ms).unref();
  }

  /** Returns the status as a state to send; nothing if it has not changed. */
  #newStatus(status: string): States {
    if (status === this.#status) return {};
    this.#status = status;
    return { STATUS: status };
  }

  #send(states: States): void {
    if (this.#isPresent && !this.#isStopping) this.#sender.send(states);
  }
}

type States = Readonly<Record<string, string>>;

/**
 * Sends states by `systemd-notify`, because Node.js has no datagram sockets in the file system. It waits until systemd has
 * received them: with `--no-block` it may end earlier, and systemd discards what comes from a process that it does not find.
 */
class Sender {
  /** What was sent while a process was under way. */
  #next: Record<string, string> = {};
  #isSending = false;
  #hasFailed = false;

  send(states: States): void {
    this.#next = { ...this.#next, ...states };
    if (!this.#isSending) void this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    // What is sent within one turn goes together.
    await nextTurn();
    while (Object.keys(this.#next).length > 0) {
      const states = this.#next;
      this.#next = {};
      try {
        await systemdNotify(states);
        this.#hasFailed = false;
      } catch (error) {
        this.#next = { ...states, ...this.#next };
        this.#report(error);
        break;
      }
    }
    this.#isSending = false;
  }

  /** What could not be sent goes with the next states. */
  #report(error: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    const { stderr } = error as { stderr?: string };
    const cause = stderr?.trim() || textOf(error);
    say(`The service manager could not be notified with systemd-notify: ${cause}`);
  }
}

const runFile = promisify(execFile);

async function systemdNotify(states: States): Promise<void> {
  // A status has one line.
  const words = Object.entries(states).map(
    ([key, value]) => `${key}=${value.replaceAll(/\s+/g, " ")}`,
  );
  await runFile("systemd-notify", words);
}
