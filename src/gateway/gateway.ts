import { CheckpointFile } from "../audit/checkpoint-file.ts";
import { Checkpointer } from "../audit/checkpointer.ts";
import { damageEvent } from "../audit/trail-events.ts";
import type { SigningKey } from "../audit/signing-key.ts";
import type { ConfigChange } from "../config/changes.ts";
import type { Config } from "../config/config.ts";
import type { PluginMetric } from "../plugin/metrics.ts";
import type { RecordIntake } from "../intake/intake.ts";
import type { Damage, Journal } from "../journal/journal.ts";
import type { HostLogger, HostTls } from "../plugin/index.ts";
import { readFreeBytes, readJournalBytes } from "../runtime/log-dir.ts";
import { whenAborted } from "../runtime/timers.ts";
import { TailgateError } from "../wire/errors.ts";
import { ClockWatch } from "./clock-watch.ts";
import { Closing } from "./closing.ts";
import { Components } from "./components.ts";
import type { ComponentUse, PluginHttp } from "./host.ts";
import { hostLogger, type WriteLine } from "./host-log.ts";
import { keepAlive } from "./process-exit.ts";
import { initialReloadStatus } from "./reload-status.ts";
import {
  componentStatus,
  type AuditStatus,
  type ComponentStatus,
  type FoundDamage,
  type GatewayView,
  type ReloadStatus,
  type StorageStatus,
} from "./status.ts";

/** The capacity in front of the journal. Smaller than an exporter's queue, which takes the burst of one turn. */
const PENDING_BYTES_MAX = 60 << 20;

/**
 * The phases of a graceful shutdown, ten seconds in all (reliability.md, rule 16): requests in flight, the last commit,
 * the exporters' backlog, and each close.
 */
const FINISH_MS_MAX = 3_000;
const SYNC_MS_MAX = 2_000;
const DRAIN_MS_MAX = 2_000;
const CLOSE_MS_MAX = 1_000;

/** How long the journal and the exporters may block the exit of the process. */
const EXIT_MS_MAX = 10_000;

export interface GatewayOptions {
  /** Closed by the gateway. */
  readonly journal: Journal;
  /** Signs the checkpoints of the audit trail; without a key there are none. */
  readonly auditKey?: SigningKey | undefined;
  readonly http: PluginHttp;
  readonly tls?: HostTls | undefined;
  readonly write: WriteLine;
}

/**
 * Connects receivers, processors, journal and exporters. Lifecycle:
 *
 * 1. `new Gateway(...)`: nothing runs.
 * 2. `open()`: opens exporters, processors, then receivers. If one fails, closes those that are open and rejects.
 *    Exporters then start to write.
 * 3. Running: records arrive through `intake`.
 * 4. `reload()`: closes and opens the components that differ, any number of times, one at a time.
 * 5. `stop()`: not ready; receivers finish; one flush; exporters write their backlog and close. Safe to call again.
 */
export class Gateway implements GatewayView {
  readonly startedAtMs = Date.now();
  readonly journal: Journal;
  readonly intake: RecordIntake;
  traceUrl: string | undefined;
  readonly reloads: ReloadStatus;
  readonly pluginMetrics: PluginMetric[] = [];
  readonly journalDamage: FoundDamage[] = [];
  #config: Config;
  readonly #options: GatewayOptions;
  readonly #components: Components;
  readonly #closing = new Closing((name) => this.#logger(name));
  /** Resolves when no reload is in progress. */
  #reloading: Promise<void> = Promise.resolve();
  readonly #checkpointer: Checkpointer | undefined;
  readonly #clockWatch: ClockWatch;
  /** Damage that was found before the gateway was open; undefined after that. */
  #damageBeforeOpen: Damage[] | undefined = [];
  #notReady: string | undefined = "starting";
  #stopping: Promise<void> | undefined;
  #exitMsLeft = EXIT_MS_MAX;

  constructor(config: Config, options: GatewayOptions) {
    const { journal, http, tls, write } = options;
    this.#config = config;
    this.#options = options;
    this.reloads = initialReloadStatus(config);
    const { pluginMetrics } = this;
    const hosts = {
      config,
      journal,
      http,
      tls,
      write,
      pluginMetrics,
      uses: new Set<ComponentUse>(),
    };
    this.#components = new Components(hosts, this.#closing, {
      logLevel: config.logLevel,
      auditLoggers: config.auditLoggers,
      resourceAttributes: config.resourceAttributes,
      pendingBytesMax: PENDING_BYTES_MAX,
      storedEvents: journal.storedEvents,
      log: this.#logger("intake"),
    });
    this.intake = this.#components.intake;
    this.traceUrl = config.traceUrl;
    this.journal = journal;
    this.#checkpointer = this.#createCheckpointer();
    this.#clockWatch = new ClockWatch({
      clock: journal.clock,
      log: this.#logger("clock"),
      announce: (record) => this.intake.acceptOwn(record),
    });
  }

  #createCheckpointer(): Checkpointer | undefined {
    const { auditKey: key } = this.#options;
    if (key === undefined || this.journal.chain === undefined) return undefined;
    return new Checkpointer({
      journal: this.journal,
      file: new CheckpointFile(this.#config.logDir),
      key,
      log: this.#logger("audit"),
      drained: (signal) => this.flush(signal),
      announce: (record) => this.intake.acceptOwn(record),
    });
  }

  #logger(name: string): HostLogger {
    return hostLogger(`tailgate.${name}`, this.#options.write);
  }

  get audit(): AuditStatus | undefined {
    const { chain } = this.journal;
    return chain && { chain, checkpoint: this.#checkpointer?.newest };
  }

  get unconfirmedClockMs(): number {
    return this.journal.clock.unconfirmedMs;
  }

  get oldestSequence(): number {
    return this.journal.oldestRetained;
  }

  get storage(): StorageStatus {
    const { journal } = this;
    const { logDir } = this.#config;
    return {
      journalBytes: journal.isPersistent ? readJournalBytes(logDir) : journal.memoryBytes,
      freeBytes: readFreeBytes(logDir),
    };
  }

  get notReady(): string | undefined {
    return this.#notReady ?? this.journal.lastError;
  }

  /** What the plugins listen on, one line each. */
  get listeners(): string[] {
    return this.#components.listeners;
  }

  /** Whether a component is missing because a failed reload could not open it again. */
  get isIncomplete(): boolean {
    return this.#components.isIncomplete;
  }

  get diskWaitMs(): number {
    return this.journal.diskWaitMs;
  }

  get components(): readonly ComponentStatus[] {
    const { counters, pendingBytes, pendingRecords } = this.intake;
    const queue = { queueBytes: pendingBytes, queueRecords: pendingRecords };
    return [
      componentStatus({ id: "intake", kind: "intake", counters, ...queue }),
      ...this.#components.statuses,
    ];
  }

  async open(): Promise<void> {
    try {
      await this.#components.open(this.#config);
    } catch (error) {
      await this.stop();
      throw error;
    }
    // The journal may hold records of an earlier run for them.
    this.#components.exporters.wake();
    this.#checkpointer?.begin();
    this.#clockWatch.begin();
    this.#notReady = undefined;
    const damageBefore = this.#damageBeforeOpen ?? [];
    this.#damageBeforeOpen = undefined;
    for (const damage of damageBefore) void this.#announceDamage(damage);
  }

  /**
   * Applies another configuration: restarts the components that `changes` name, as {@link Components.reload} does. Call
   * it again only once it has ended.
   * @throws TailgateError STOPPED, and what `Components.reload` throws. The previous configuration is in force then.
   */
  async reload(next: Config, changes: readonly ConfigChange[]): Promise<void> {
    if (this.#stopping) throw new TailgateError("STOPPED", "The gateway is stopping.");
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#reloading = promise;
    try {
      await keepAlive(this.#components.reload({ previous: this.#config, next, changes }));
      this.#config = next;
      this.traceUrl = next.traceUrl;
      this.intake.setLogLevel(next.logLevel);
      this.journal.setRetention(next.journal.retention);
    } finally {
      resolve();
    }
  }

  /** Records damage to the journal. If the audit trail lost events, an audit event says so. */
  damaged(damage: Damage): void {
    this.journalDamage.push({ ...damage, atMs: Date.now() });
    if (!damage.isTrailIncomplete) return;
    if (this.#damageBeforeOpen === undefined) void this.#announceDamage(damage);
    else this.#damageBeforeOpen.push(damage);
  }

  async #announceDamage(damage: Damage): Promise<void> {
    try {
      await this.intake.acceptOwn(damageEvent(damage));
    } catch (error) {
      this.#logger("journal").error("The audit event about the damage could not be stored.", error);
    }
  }

  /** Resolves when each exporter has written or dropped every record that was accepted before, or when aborted. */
  async flush(signal: AbortSignal): Promise<void> {
    await keepAlive(this.#flush(signal));
  }

  async #flush(signal: AbortSignal): Promise<void> {
    await Promise.race([this.intake.flush(), whenAborted(signal)]);
    await this.#components.exporters.drain(signal);
  }

  /** Blocks until every accepted record is durable, or the time is over. For a process that is about to be killed. */
  flushSync(timeoutMs: number): void {
    const startMs = performance.now();
    void this.intake.flush();
    this.journal.flushSync(timeoutMs);
    // Do not wait for a hanging disk a second time.
    if (performance.now() - startMs >= timeoutMs) this.#exitMsLeft = 0;
  }

  /** Lets the process exit although a flush is due; see {@link RecordIntake.hold}. */
  hold(): void {
    this.intake.hold();
  }

  /**
   * Writes everything that was logged to the journal, and to the exporters that can write synchronously, before it
   * returns: the process exits, and its event loop has no further turn. Later records are written before the call that
   * logs them returns. Never throws.
   */
  endSync(): void {
    try {
      this.#endSync();
    } catch (error) {
      this.#logger("gateway").error("The last records may not have been written:", error);
    }
  }

  #endSync(): void {
    const endMs = performance.now() + this.#exitMsLeft;
    const leftMs = (): number => endMs - performance.now();
    this.#components.processors.flush();
    this.intake.flushSync(() => this.endSync());
    this.journal.settleSync(leftMs());
    this.#reportUnconfirmed();
    this.#components.exporters.drainSync(leftMs);
    this.#checkpointer?.signSync(leftMs());
    this.journal.markCleanSync(leftMs());
    this.#exitMsLeft = leftMs();
  }

  #reportUnconfirmed(): void {
    const { newest, durable } = this.journal;
    if (durable >= newest) return;
    const last = newest - durable === 1 ? "record" : `${newest - durable} records`;
    this.#logger("journal").error(
      `The process exits, and the disk has not confirmed the last ${last}.`,
    );
  }

  /** Shuts down within about ten seconds. Failures are logged; the promise never rejects. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  async #stop(): Promise<void> {
    this.#notReady = "stopping";
    const { receivers, processors, exporters } = this.#components;
    await this.#closing.runStep("reload", () => this.#reloading, FINISH_MS_MAX);
    await receivers.close(FINISH_MS_MAX);
    this.#clockWatch.close();
    processors.flush();
    await this.#closing.runStep("intake", () => this.intake.stop(), SYNC_MS_MAX);
    // The last checkpoint's own event bypasses the processors, but not the exporters.
    const signing = this.#closing.runStep("audit", () => this.#checkpointer?.close(), CLOSE_MS_MAX);
    await processors.close();
    await signing;
    await this.flush(AbortSignal.timeout(DRAIN_MS_MAX));
    await exporters.close(CLOSE_MS_MAX);
    await this.#closing.runStep("journal", () => this.journal.close(), CLOSE_MS_MAX);
  }
}
