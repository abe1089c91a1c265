import { textOf } from "../wire/errors.ts";
import type { Journal, ChainState } from "../journal/journal.ts";
import type { HostLogger, JournalPage, JournalQuery, LogRecord } from "../plugin/index.ts";
import { withSignals } from "../runtime/timers.ts";
import type { ChainSnapshot, Checkpoint } from "./checkpoint.ts";
import type { CheckpointFile } from "./checkpoint-file.ts";
import { dayEnds, EMPTY_CHAIN, utcDay } from "./day-ends.ts";
import type { SigningKey } from "./signing-key.ts";
import { checkpointEvent, keyChangeEvent } from "./trail-events.ts";

const INTERVAL_MS = 60_000;

/** The owner of the journal's memory that holds the id of the signing key. */
const KEY_OWNER = "audit/key";

/** How long to wait for exporters. A checkpoint of lines that no file has yet looks as if they had been removed. */
const DRAIN_MS_MAX = 5_000;

export interface CheckpointerOptions {
  readonly journal: Journal;
  readonly file: CheckpointFile;
  readonly key: SigningKey;
  readonly log: HostLogger;
  /** Resolves when the exporters have written what is in the journal now, or when the signal aborts. */
  drained(signal: AbortSignal): Promise<void>;
  /** Logs a record; resolves when it is durable. */
  announce(record: LogRecord): Promise<void>;
}

/**
 * Signs the state of the hash chain: every minute in which there were events, after the last event of each UTC day, and
 * at shutdown. Each checkpoint is appended to `checkpoints.jsonl` and then logged as an audit event, which the next
 * checkpoint covers and which does not itself cause one. Before the first checkpoint with another key, an audit event
 * records the change.
 *
 * Lifecycle:
 *
 * 1. `begin` signs what an unclean shutdown has left unsigned.
 * 2. `close`, when no more events arrive and the journal is still open. `signSync` instead when the process exits.
 */
export class Checkpointer {
  readonly #options: CheckpointerOptions;
  /** The state that the newest checkpoint signs. */
  #signed: ChainSnapshot = EMPTY_CHAIN;
  /** How many of the events after it are checkpoints themselves. */
  #ownEvents = 0;
  newest: Checkpoint | undefined;
  /** The id of the key that the trail names as the current one; undefined before the first. */
  #recordedKey: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #closing = new AbortController();
  /** The end of a chain of tasks, which run one after another. */
  #work: Promise<void> | undefined;
  #isFailing = false;
  #hasResumed = false;
  #isAppending = false;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
  }

  begin(): void {
    // Events after this are new, and the first tick announces their checkpoint.
    const before = this.#chain;
    this.#enqueue(async () => {
      this.#resumeAfter((await this.#options.file.compact()).at(-1));
      await this.#sign(before, false);
    });
    this.#timer = setInterval(() => this.#enqueue(() => this.#tick()), INTERVAL_MS).unref();
  }

  /** Signs the last event, logs that checkpoint, and signs the resulting event too. Does not wait for exporters. */
  async close(): Promise<void> {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#closing.abort();
    this.#enqueue(async () => {
      if (this.#hasNewEvents) await this.#sign(this.#chain, true);
      await this.#sign(this.#chain, false);
    });
    await this.#work;
  }

  #enqueue(task: () => Promise<void>): void {
    const before = this.#work ?? Promise.resolve();
    this.#work = before.then(task).catch((error: unknown) => this.#failed(error));
  }

  #recovered(): void {
    if (this.#isFailing) this.#options.log.info("Checkpoints are written again.");
    this.#isFailing = false;
  }

  #failed(error: unknown): void {
    if (!this.#isFailing) {
      this.#options.log.warning(
        `A checkpoint of the audit trail could not be written and will be retried: ${textOf(error)}`,
      );
    }
    this.#isFailing = true;
  }

  /** Resumes after the newest checkpoint if it is signed with a known key and belongs to this journal. */
  #resumeAfter(newest: Checkpoint | undefined): void {
    const { journal, key, log } = this.#options;
    this.#hasResumed = true;
    this.#recordedKey = newest?.key ?? journal.memory(KEY_OWNER);
    const signer = newest && key.publicKeyOf(newest.key);
    if (newest === undefined || signer === undefined) return;
    if (!signer.hasSigned(newest)) {
      log.error("The last line of checkpoints.jsonl was changed. Run `tailgate audit verify`.");
    } else if (newest.seq > this.#chain.seq) {
      log.error(
        `The newest checkpoint signs event ${newest.seq}, but the journal ends with ${this.#chain.seq}: it was lost or replaced. Run \`tailgate audit verify\`.`,
      );
    } else {
      this.#signed = newest;
      this.newest = newest;
    }
  }

  /** Logs a change of the signing key. Returns whether there was one. */
  async #recordKey(): Promise<boolean> {
    const { key, log, announce } = this.#options;
    const { id } = key.publicKey;
    const recorded = this.#recordedKey;
    if (recorded === undefined || recorded === id) return false;
    log.error(
      `The audit trail is now signed with the key ${id} instead of ${recorded}. The change is recorded in the trail. If you did not change the key, find out who did.`,
    );
    await announce(keyChangeEvent(recorded, key.publicKey));
    this.#recordedKey = id;
    return true;
  }

  /** By the clock that determines the day of events. */
  get #nowMs(): number {
    return this.#options.journal.clock.now();
  }

  get #chain(): ChainState {
    return this.#options.journal.chain!;
  }

  get #hasNewEvents(): boolean {
    return this.#chain.count - this.#signed.count > this.#ownEvents;
  }

  async #tick(): Promise<void> {
    const isDayOver = utcDay(this.#nowMs) > this.#signed.day;
    const isSigned = this.#chain.seq === this.#signed.seq;
    if (!this.#hasNewEvents && (isSigned || !isDayOver)) return;
    const [chain, isAnnounced] = [this.#chain, this.#hasNewEvents];
    const { drained } = this.#options;
    await withSignals([this.#closing.signal], (signal) => drained(signal), DRAIN_MS_MAX);
    await this.#sign(chain, isAnnounced);
    if (isDayOver) await this.#options.file.compact();
  }

  async #sign(chain: ChainState, isAnnounced: boolean): Promise<void> {
    // The first checkpoint with another key covers the event that records the change.
    if (await this.#recordKey()) return this.#signUpTo(this.#chain, true);
    if (chain.seq > this.#signed.seq) await this.#signUpTo(chain, isAnnounced);
  }

  async #signUpTo(chain: ChainState, isAnnounced: boolean): Promise<void> {
    const { journal, file, announce } = this.#options;
    const signed: Checkpoint[] = [];
    const query = this.#unsignedSnapshots(chain);
    let step = query.next();
    while (step.done !== true) step = query.next(await journal.read(step.value));
    for (const snapshot of step.value) {
      const checkpoint = this.#signSnapshot(snapshot);
      this.#isAppending = true;
      await file.append(checkpoint).finally(() => (this.#isAppending = false));
      this.#recovered();
      this.#setSigned(snapshot, checkpoint);
      signed.push(checkpoint);
    }
    for (const checkpoint of isAnnounced ? signed : []) {
      await announce(checkpointEvent(checkpoint));
      this.#ownEvents++;
    }
    await this.#rememberKey();
  }

  #signSnapshot({ day, lines, count, seq, head }: ChainSnapshot): Checkpoint {
    const { journal, key } = this.#options;
    return key.sign({
      time: new Date(this.#nowMs).toISOString(),
      epoch: journal.epoch,
      day,
      lines,
      count,
      seq,
      head,
      key: key.publicKey.id,
    });
  }

  #setSigned(snapshot: ChainSnapshot, checkpoint: Checkpoint): void {
    this.#signed = snapshot;
    this.newest = checkpoint;
    this.#ownEvents = 0;
  }

  /**
   * Signs the last event before it returns, when the process exits. Logs nothing, and leaves a change of the key to the
   * next start. Never throws.
   */
  signSync(timeoutMs: number): void {
    if (this.#timer === undefined || this.#isAppending) return;
    const { journal, file, key } = this.#options;
    try {
      if (!this.#hasResumed) this.#resumeAfter(file.newestSync());
      const isOwnKey = (this.#recordedKey ?? key.publicKey.id) === key.publicKey.id;
      if (this.#chain.seq <= this.#signed.seq || !isOwnKey) return;
      const query = this.#unsignedSnapshots(this.#chain);
      let step = query.next();
      while (step.done !== true) step = query.next(journal.readSync(step.value, timeoutMs));
      for (const snapshot of step.value) {
        const checkpoint = this.#signSnapshot(snapshot);
        file.appendSync(checkpoint);
        this.#setSigned(snapshot, checkpoint);
      }
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The newest checkpoint also names the key; this is for the case that checkpoints.jsonl is deleted. */
  async #rememberKey(): Promise<void> {
    const { journal, key } = this.#options;
    const { id } = key.publicKey;
    this.#recordedKey = id;
    if (journal.memory(KEY_OWNER) !== id) await journal.saveMemory(KEY_OWNER, id);
  }

  /** Reads the journal for the ends of days only if a day may be over. */
  *#unsignedSnapshots(chain: ChainState): Generator<JournalQuery, ChainSnapshot[], JournalPage> {
    const { day, lines, count } = this.#signed;
    if (utcDay(this.#nowMs) !== day) return yield* dayEnds(this.#signed, chain);
    return [{ ...chain, day, lines: lines === 0 ? 0 : lines + chain.count - count }];
  }
}
