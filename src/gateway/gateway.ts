import { isIPv6 } from "node:net";
import { CheckpointFile } from "../audit/checkpoint-file.ts";
import { Checkpointer } from "../audit/checkpointer.ts";
import type { Checkpoint } from "../audit/checkpoint.ts";
import { damageEvent } from "../audit/trail-events.ts";
import type { SigningKey } from "../audit/signing-key.ts";
import { ClockWatch } from "./clock-watch.ts";
import type { Component, Config, ExporterComponent, ProcessorComponent } from "../config/config.ts";
import { countedIntake } from "../intake/counted-intake.ts";
import { Counters } from "../delivery/counters.ts";
import type { Delivery } from "../delivery/delivery.ts";
import { createJournalDelivery } from "../delivery/journal-cursor.ts";
import { createLiveDelivery, type LiveDelivery } from "../delivery/live-queue.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import type { Level } from "../wire/envelope.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import { hostLogger, type WriteLine } from "./host-log.ts";
import { RecordIntake } from "../intake/intake.ts";
import type { RunningProcessor } from "../intake/processors.ts";
import type { Journal, WatchedJournal, ChainState, Damage } from "../journal/journal.ts";
import { readFreeBytes, readJournalBytes } from "../runtime/log-dir.ts";
import { rejectSelfExport, type Target } from "./self-export.ts";
import {
  counterMetric,
  gaugeMetric,
  histogramMetric,
  type PluginMetric,
} from "../plugin/metrics.ts";
import type {
  Exporter,
  Host,
  HostHttp,
  PluginDefinition,
  Processor,
  Receiver,
  ReceiverDefinition,
} from "../plugin/index.ts";
import { keepAlive } from "./process-exit.ts";
import { whenAborted, timeLimit, clearTimeout, setTimeout } from "../runtime/timers.ts";

/** What may wait for the journal; less than an exporter's queue takes, so that the burst of one turn fits there. */
const PENDING_BYTES_MAX = 60 << 20;

/**
 * The time of a stop, ten seconds in all (reliability.md, rule 16): what receivers may use for requests in flight, the
 * journal for the last commit, exporters for what is left, and each step for its closing.
 */
const FINISH_MS_MAX = 3_000;
const SYNC_MS_MAX = 2_000;
const DRAIN_MS_MAX = 2_000;
const CLOSE_MS_MAX = 1_000;

/** How long the journal may hold up the end of a process. */
const END_MS_MAX = 10_000;

/** How long a plugin may take to open: longer, and the start would hang without a word. */
const OPEN_MS_MAX = 10_000;

/** One component as /metrics, /readyz and /api/stats show it. */
export interface ComponentStatus {
  /** The key in the configuration, such as `file`; `intake` for the way into the journal. */
  readonly id: string;
  readonly kind: "intake" | "receiver" | "processor" | "exporter";
  readonly counters: Counters;
  readonly queueBytes: number;
  readonly queueRecords: number;
  /** How long ago the journal took what an exporter is writing; 0 where nothing waits. */
  readonly lagMs: number;
  /** True for an exporter with a place in the journal: what waits for it is all that it is behind, and is kept. */
  readonly isDurable: boolean;
  /** How many writes of an exporter have failed in a row. */
  readonly retries: number;
  /** Why it cannot work just now; undefined where it can. */
  readonly lastError: string | undefined;
}

/** How the audit trail stands. */
export interface AuditStatus {
  readonly chain: ChainState;
  /** Undefined before the first one, and without a key. */
  readonly checkpoint: Checkpoint | undefined;
}

/** How much room there is and is taken; undefined what cannot be read just now. */
export interface StorageStatus {
  readonly journalBytes: number | undefined;
  readonly freeBytes: number | undefined;
}

/** Damage to the journal, and when it was found. */
export interface FoundDamage extends Damage {
  readonly atMs: number;
}

/** What the HTTP endpoints may see of the gateway. */
export interface GatewayView {
  /** Undefined where records can be taken; else why not. */
  readonly notReady: string | undefined;
  readonly startedAtMs: number;
  readonly journal: WatchedJournal;
  /** The oldest record that the journal still has, on the disk or in memory. */
  readonly oldestSequence?: number;
  /** Read when it is asked for. */
  readonly storage?: StorageStatus;
  /** How far the system clock is from the time that is trusted; 0 or absent while it is trusted itself. */
  readonly unconfirmedClockMs?: number;
  /** Undefined where the journal keeps no chain of evidence. */
  readonly audit: AuditStatus | undefined;
  readonly components: readonly ComponentStatus[];
  readonly pluginMetrics: readonly PluginMetric[];
  /** Damage to the journal that was found since the start, the oldest first. */
  readonly journalDamage?: readonly FoundDamage[];
  /** With `{trace_id}` in it; undefined where there is nothing that shows traces. */
  readonly traceUrl: string | undefined;
}

export interface GatewayOptions {
  /** The gateway closes it at its end. */
  readonly journal: Journal;
  /** Signs the audit trail's checkpoints; without it there are none. */
  readonly auditKey?: SigningKey | undefined;
  readonly http: HostHttp;
  /** Writes the gateway's own lines. */
  readonly write: WriteLine;
}

/**
 * The way of all records: intake, journal, deliveries. Its life:
 *
 * 1. `new Gateway(...)`: nothing runs yet.
 * 2. `open()`: exporters, processors, then receivers. What fails ends the start; what was opened is closed again. Then
 *    exporters begin to write.
 * 3. Running: records come through `intake`.
 * 4. `stop()`: not ready; receivers finish; one flush; exporters write what is left and close. Safe to call again.
 */
export class Gateway implements GatewayView {
  readonly startedAtMs = Date.now();
  readonly journal: Journal;
  readonly intake: RecordIntake;
  readonly #config: Config;
  readonly #surroundings: GatewayOptions;
  readonly #pluginMetrics: PluginMetric[] = [];
  readonly #listeners: string[] = [];
  readonly #targets: Target[] = [];
  readonly #viewers: ({ id: string } & LiveDelivery)[] = [];
  readonly #followers: { id: string; delivery: Delivery }[] = [];
  readonly #processors: RunningProcessor[] = [];
  readonly #receivers: { id: string; receiver: Receiver; counters: Counters }[] = [];
  readonly #checkpointer: Checkpointer | undefined;
  readonly #clockWatch: ClockWatch;
  readonly #damage: FoundDamage[] = [];
  /** Until the gateway is open. */
  #unannounced: Damage[] | undefined = [];
  #notReady: string | undefined = "starting";
  #stopping: Promise<void> | undefined;
  #endMsLeft = END_MS_MAX;

  constructor(config: Config, surroundings: GatewayOptions) {
    this.#config = config;
    this.#surroundings = surroundings;
    this.journal = surroundings.journal;
    this.intake = new RecordIntake({
      logLevel: config.logLevel,
      auditLoggers: config.auditLoggers,
      processors: this.#processors,
      pendingBytesMax: PENDING_BYTES_MAX,
      unstoredBytes: () => this.journal.pendingBytes,
      append: (batch) => this.#append(batch),
      storedEvents: this.journal.storedEvents,
      log: hostLogger("tailgate.intake", surroundings.write),
    });
    this.#checkpointer = this.#newCheckpointer();
    this.#clockWatch = new ClockWatch({
      clock: this.journal.clock,
      log: hostLogger("tailgate.clock", surroundings.write),
      announce: (record) => this.intake.acceptOwn(record),
    });
  }

  #newCheckpointer(): Checkpointer | undefined {
    const { auditKey: key, write } = this.#surroundings;
    if (key === undefined || this.journal.chain === undefined) return undefined;
    return new Checkpointer({
      journal: this.journal,
      file: new CheckpointFile(this.#config.logDir),
      key,
      log: hostLogger("tailgate.audit", write),
      drained: (signal) => this.flush(signal),
      announce: (record) => this.intake.acceptOwn(record),
    });
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

  get traceUrl(): string | undefined {
    return this.#config.traceUrl;
  }

  get notReady(): string | undefined {
    return this.#notReady ?? this.journal.lastError;
  }

  /** What the plugins listen on, a line each. */
  get listeners(): readonly string[] {
    return this.#listeners;
  }

  get pluginMetrics(): readonly PluginMetric[] {
    return this.#pluginMetrics;
  }

  get journalDamage(): readonly FoundDamage[] {
    return this.#damage;
  }

  get components(): readonly ComponentStatus[] {
    const idle = {
      queueBytes: 0,
      queueRecords: 0,
      lagMs: 0,
      isDurable: false,
      retries: 0,
      lastError: undefined,
    };
    return [
      {
        ...idle,
        id: "intake",
        kind: "intake",
        counters: this.intake.counters,
        queueBytes: this.intake.pendingBytes,
        queueRecords: this.intake.pendingRecords,
      },
      ...this.#receivers.map(
        ({ id, counters }) => ({ ...idle, id, kind: "receiver", counters }) as const,
      ),
      ...this.#processors.map(
        ({ id, counters, lastError }) =>
          ({ ...idle, id, kind: "processor", counters, lastError }) as const,
      ),
      ...this.#viewers.map(({ id, delivery }) => exporterStatus(id, delivery, false)),
      ...this.#followers.map(({ id, delivery }) => exporterStatus(id, delivery, true)),
    ];
  }

  async open(): Promise<void> {
    try {
      for (const component of this.#config.exporters) await this.#openExporter(component);
      for (const component of this.#config.processors) await this.#openProcessor(component);
      for (const component of this.#config.receivers) await this.#openReceiver(component);
      await rejectSelfExport(this.#targets, [...this.#mainListener(), ...this.#listeners]);
    } catch (error) {
      await this.stop();
      throw error;
    }
    // What the journal has kept for them from before.
    for (const { delivery } of this.#followers) delivery.wake();
    this.#checkpointer?.begin();
    this.#clockWatch.begin();
    this.#notReady = undefined;
    const unannounced = this.#unannounced ?? [];
    this.#unannounced = undefined;
    for (const damage of unannounced) void this.#announce(damage);
  }

  /** Takes note of damage to the journal. If events are lost to the audit trail, an event there says so. */
  damaged(damage: Damage): void {
    this.#damage.push({ ...damage, atMs: Date.now() });
    if (!damage.isTrailIncomplete) return;
    if (this.#unannounced === undefined) void this.#announce(damage);
    else this.#unannounced.push(damage);
  }

  async #announce(damage: Damage): Promise<void> {
    try {
      await this.intake.acceptOwn(damageEvent(damage));
    } catch (error) {
      const log = hostLogger("tailgate.journal", this.#surroundings.write);
      log.error("The audit event that tells of the damage could not be stored.", error);
    }
  }

  /** It does not listen yet; a free port that the system will pick is nobody's target. */
  #mainListener(): string[] {
    const { host, port } = this.#config;
    return port === 0 ? [] : [`http://${isIPv6(host) ? `[${host}]` : host}:${port}`];
  }

  async #openExporter(component: ExporterComponent): Promise<void> {
    const host = this.#host(component);
    const open = () => component.definition.open(component.options, host);
    const exporter = await opened<Exporter>(component, open, ({ write }) =>
      typeof write === "function" ? undefined : "it has no write function",
    );
    const { id, level, timeoutMs } = component;
    const { type, live } = component.definition;
    const { clock } = this.journal;
    const common = { type, level, timeoutMs, log: host.log, clock };
    if (live) {
      const { queueBytesMax } = component;
      this.#viewers.push({ id, ...createLiveDelivery(exporter, { ...common, queueBytesMax }) });
    } else {
      const { journal } = this;
      const delivery = createJournalDelivery(exporter, { ...common, journal, consumer: id });
      this.#followers.push({ id, delivery });
    }
  }

  get #exporters(): { id: string; delivery: Delivery }[] {
    return [...this.#viewers, ...this.#followers];
  }

  async #openProcessor(component: ProcessorComponent): Promise<void> {
    const { id, onError } = component;
    const host = this.#host(component);
    const open = () => component.definition.open(component.options, host);
    const processor = await opened<Processor>(component, open, processFlaw);
    this.#processors.push({
      id,
      processor,
      onError,
      counters: new Counters(),
      lastError: undefined,
      failed: (error) => host.log.error("A record could not be processed.", error),
    });
  }

  async #openReceiver(component: Component<ReceiverDefinition>): Promise<void> {
    const counters = new Counters();
    const host = { ...this.#host(component), intake: countedIntake(this.intake, counters) };
    const receiver = await opened<Receiver>(component, () =>
      component.definition.open(component.options, host),
    );
    this.#receivers.push({ id: component.id, receiver, counters });
  }

  #host({ id, definition, level }: Component<PluginDefinition> & { level?: Level }): Host {
    const component = `${definition.kind}/${id}`;
    return {
      id,
      level,
      logDir: this.#config.logDir,
      bindHost: this.#config.host,
      log: hostLogger(`tailgate.${definition.kind}.${id}`, this.#surroundings.write),
      http: this.#surroundings.http,
      journal: this.journal,
      memory: {
        recall: () => this.journal.memory(component),
        keep: (text) => this.journal.saveMemory(component, text),
      },
      metrics: {
        counter: (name, description) => {
          const { metric, add } = counterMetric(component, name, description);
          this.#pluginMetrics.push(metric);
          return add;
        },
        histogram: (name, description, options) => {
          const { metric, observe } = histogramMetric(component, name, description, options);
          this.#pluginMetrics.push(metric);
          return observe;
        },
        gauge: (name, description, read) => {
          this.#pluginMetrics.push(gaugeMetric(component, name, description, read));
        },
      },
      listening: (url) => this.#listeners.push(url),
      sendingTo: (url) => this.#targets.push({ component: `${definition.kind}s.${id}`, url }),
    };
  }

  /** Viewers get the batch at once; the others when the journal has made it safe, or knows that it cannot. */
  async #append(batch: RecordBatch): Promise<void> {
    const safe = this.journal.append(batch);
    for (const { offer } of this.#viewers) offer(batch);
    try {
      await safe;
    } finally {
      for (const { delivery } of this.#followers) delivery.wake();
    }
  }

  /** Resolves when every record that was taken before has been written, or given up, by every exporter. */
  async flush(signal: AbortSignal): Promise<void> {
    await keepAlive(this.#flush(signal));
  }

  async #flush(signal: AbortSignal): Promise<void> {
    await Promise.race([this.intake.flush(), whenAborted(signal)]);
    await Promise.all(this.#exporters.map(({ delivery }) => delivery.drain(signal)));
  }

  /** Blocks until every record that was taken is durable, or the time is over; for a process that is about to die. */
  flushSync(timeoutMs: number): void {
    const startMs = performance.now();
    void this.intake.flush();
    this.journal.flushSync(timeoutMs);
    // A disk that hangs is not waited for again.
    if (performance.now() - startMs >= timeoutMs) this.#endMsLeft = 0;
  }

  /** Nothing is left to do in the process: what is logged now waits until it continues, or for `endSync`. */
  hold(): void {
    this.intake.hold();
  }

  /**
   * Writes everything that was logged before it returns, to the journal and to the exporters that can do so: the process
   * ends, and its event loop has no further turn. What is logged after that is written before the call returns. Never
   * throws.
   */
  endSync(): void {
    try {
      this.#endSync();
    } catch (error) {
      const log = hostLogger("tailgate.gateway", this.#surroundings.write);
      log.error("What was logged last may not be written:", error);
    }
  }

  #endSync(): void {
    const endMs = performance.now() + this.#endMsLeft;
    const leftMs = (): number => endMs - performance.now();
    this.intake.flushSync(() => this.endSync());
    this.journal.settleSync(leftMs());
    this.#reportUnsettled();
    for (const { delivery } of this.#exporters) delivery.drainSync(leftMs());
    for (const { delivery } of this.#followers) delivery.abandonSync();
    this.#checkpointer?.signSync(leftMs());
    this.journal.markCleanSync(leftMs());
    this.#endMsLeft = leftMs();
  }

  #reportUnsettled(): void {
    const { newest, durable } = this.journal;
    if (durable >= newest) return;
    const log = hostLogger("tailgate.journal", this.#surroundings.write);
    const last = newest - durable === 1 ? "record" : `${newest - durable} records`;
    log.error(`The process ends, and the disk has not confirmed the last ${last}.`);
  }

  /** Ends everything within about ten seconds; resolves also where parts of it failed, which is logged. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#notReady = "stopping";
    await this.#closeAll(
      "receiver",
      this.#receivers,
      ({ receiver }, signal) => receiver.close?.(signal),
      FINISH_MS_MAX,
    );
    this.#clockWatch.close();
    await this.#inTime("tailgate.intake", () => this.intake.stop(), SYNC_MS_MAX);
    // No event comes any more. What is said of the last one goes past the processors, to the exporters.
    const signing = this.#inTime("tailgate.audit", () => this.#checkpointer?.close(), CLOSE_MS_MAX);
    await this.#closeAll(
      "processor",
      this.#processors,
      ({ processor }, signal) => processor.close?.(signal),
      CLOSE_MS_MAX,
    );
    await signing;
    await this.flush(AbortSignal.timeout(DRAIN_MS_MAX));
    await this.#closeAll(
      "exporter",
      this.#exporters,
      ({ delivery }, signal) => delivery.close(signal),
      CLOSE_MS_MAX,
    );
    await this.#inTime("tailgate.journal", () => this.journal.close(), CLOSE_MS_MAX);
  }

  /** Closes parts side by side; one that fails or takes too long does not keep the others. */
  async #closeAll<Part extends { id: string }>(
    kind: string,
    parts: readonly Part[],
    close: (part: Part, signal: AbortSignal) => Promise<void> | void,
    timeMsMax: number,
  ): Promise<void> {
    await Promise.all(
      parts.map((part) =>
        this.#inTime(`tailgate.${kind}.${part.id}`, (signal) => close(part, signal), timeMsMax),
      ),
    );
  }

  /** Runs one step of the end, which neither fails nor takes longer than its time. */
  async #inTime(
    name: string,
    close: (signal: AbortSignal) => Promise<void> | void,
    timeMsMax: number,
  ): Promise<void> {
    const log = hostLogger(name, this.#surroundings.write);
    const limit = timeLimit(timeMsMax);
    try {
      await Promise.race([close(limit.signal), limit.passed]);
      if (limit.signal.aborted) log.warning(textOf(limit.signal.reason));
    } catch (error) {
      log.error("Closing failed.", error);
    } finally {
      limit.clear();
    }
  }
}

function exporterStatus(id: string, delivery: Delivery, isDurable: boolean): ComponentStatus {
  const { counters, queueBytes, queueRecords, lagMs, retries, lastError } = delivery;
  const waiting = { queueBytes, queueRecords, lagMs };
  return { id, kind: "exporter", counters, ...waiting, isDurable, retries, lastError };
}

interface Closable {
  close?(signal: AbortSignal): Promise<void> | void;
}

/**
 * Opens a plugin. What opens too late, or cannot be used, is closed: nobody else would.
 * @throws TailgateError PLUGIN_OPEN_FAILED, also with what `flawOf` returns
 */
async function opened<Part extends Closable>(
  { id, definition }: Component<PluginDefinition>,
  open: () => Part | Promise<Part>,
  flawOf: (part: Part) => string | undefined = () => undefined,
): Promise<Part> {
  const late = Promise.withResolvers<never>();
  const opening = (async () => open())();
  const timer = setTimeout(() => {
    late.reject(new Error(`it took longer than ${OPEN_MS_MAX} ms`));
    opening.then((part) => part.close?.(AbortSignal.abort())).catch(() => {});
  }, OPEN_MS_MAX);
  try {
    const part = await Promise.race([opening, late.promise]);
    const flaw = flawOf(part);
    if (flaw === undefined) return part;
    await part.close?.(AbortSignal.abort());
    throw new Error(flaw);
  } catch (error) {
    if (TailgateError.is(error)) throw error;
    const why = textOf(error).replace(/\.$/, "");
    const text = `The ${definition.kind} ${id} could not be opened: ${why}.`;
    throw new TailgateError("PLUGIN_OPEN_FAILED", text, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** Returns why a processor cannot be used, if that can be seen before its first record. */
function processFlaw({ process }: Processor): string | undefined {
  if (typeof process !== "function") return "it has no process function";
  const kind = Object.prototype.toString.call(process);
  if (kind.includes("Generator")) return "its process function is a generator";
  if (kind !== "[object AsyncFunction]") return undefined;
  return "its process function is async, but it runs in the caller's emit, which does not wait";
}
