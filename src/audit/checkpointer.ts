import { textOf } from "../wire/errors.ts";
import type { Journal, ChainState } from "../journal/journal.ts";
import type { HostLogger, JournalPage, JournalQuery, LogRecord } from "../plugin/index.ts";
import { withSignals } from "../runtime/timers.ts";
import type { Checkpoint, Standing } from "./checkpoint.ts";
import type { CheckpointFile } from "./checkpoint-file.ts";
import { checkpointRecord } from "./checkpoint-record.ts";
import { dayEndsWalk, NOTHING, utcDay } from "./day-ends.ts";
import { keyChangeRecord } from "./key-change.ts";
import type { SigningKey } from "./signing-key.ts";

const INTERVAL_MS = 60_000;

/** Whose memory in the journal is the id of the key that signs. */
const KEY_OWNER = "audit/key";

/** How long is waited for exporters: a checkpoint of lines that no file has yet looks as if they had been removed. */
const DRAIN_MS_MAX = 5_000;

export interface CheckpointerOptions {
  readonly journal: Journal;
  readonly file: CheckpointFile;
  readonly key: SigningKey;
  readonly log: HostLogger;
  /** Resolves when exporters have what is in the journal now, or the signal aborts. */
  drained(signal: AbortSignal): Promise<void>;
  /** Takes a record into the stream; resolves when it is durable. */
  announce(record: LogRecord): Promise<void>;
}

/**
 * Signs how the chain of evidence stands: each minute in which there were events, behind the last event of each UTC
 * day, and at the end. Each checkpoint goes to `checkpoints.jsonl`, and then into the stream as an audit event, which
 * the next checkpoint covers and which causes none. Before the first checkpoint of another key, an audit event records
 * the change.
 *
 * Its life: `begin`, which signs what an unclean end has left unsigned; `close`, when no more events come and the
 * journal is still open.
 */
export class Checkpointer {
  readonly #options: CheckpointerOptions;
  /** What the newest checkpoint says. */
  #signed: Standing = NOTHING;
  /** How many events behind it are checkpoints themselves. */
  #ownEvents = 0;
  #newest: Checkpoint | undefined;
  /** The id of the key that the trail names as the current one; undefined before the first. */
  #recordedKey: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #closing = new AbortController();
  /** One thing after the other. */
  #work: Promise<void> | undefined;
  #isFailing = false;
  #hasResumed = false;
  #isAppending = false;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
  }

  get newest(): Checkpoint | undefined {
    return this.#newest;
  }

  begin(): void {
    // What comes from now on is news.
    const before = this.#chain;
    this.#do(async () => {
      this.#resumeAfter((await this.#options.file.tidy()).at(-1));
      await this.#sign(before, false);
    });
    this.#timer = setInterval(() => this.#do(() => this.#tick()), INTERVAL_MS).unref();
  }

  /** Signs the last event, announces that, and signs the announcement, too. Waits for no exporter. */
  async close(): Promise<void> {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#closing.abort();
    this.#do(async () => {
      if (this.#hasNews) await this.#sign(this.#chain, true);
      await this.#sign(this.#chain, false);
    });
    await this.#work;
  }

  #do(work: () => Promise<void>): void {
    const before = this.#work ?? Promise.resolve();
    this.#work = before.then(work).catch((error: unknown) => this.#failed(error));
  }

  #recovered(): void {
    if (this.#isFailing) this.#options.log.info("Checkpoints are made again.");
    this.#isFailing = false;
  }

  #failed(error: unknown): void {
    if (!this.#isFailing) {
      this.#options.log.warning(
        `The audit trail's checkpoint could not be made, and is tried again: ${textOf(error)}`,
      );
    }
    this.#isFailing = true;
  }

  /** Resumes after the newest checkpoint that this key, or a former one that is kept, has signed for this journal. */
  #resumeAfter(newest: Checkpoint | undefined): void {
    const { journal, key, log } = this.#options;
    this.#hasResumed = true;
    this.#recordedKey = newest?.key ?? journal.memory(KEY_OWNER);
    const signer = newest && key.publicKeyOf(newest.key);
    if (newest === undefined || signer === undefined) return;
    if (!signer.hasSigned(newest)) {
      log.error("The newest line of checkpoints.jsonl was changed; see `tailgate audit verify`.");
    } else if (newest.seq > this.#chain.seq) {
      log.error(
        `The newest checkpoint is of event ${newest.seq}, and the journal ends with ${this.#chain.seq}: it was lost or replaced; see \`tailgate audit verify\`.`,
      );
    } else {
      this.#signed = newest;
      this.#newest = newest;
    }
  }

  /** Returns whether the trail had to be told of another key. */
  async #recordKey(): Promise<boolean> {
    const { key, log, announce } = this.#options;
    const { id } = key.publicKey;
    const recorded = this.#recordedKey;
    if (recorded === undefined || recorded === id) return false;
    log.error(
      `The key that signs the audit trail is ${id}, and no longer ${recorded}. The trail records the change. If you did not change it, find out who did.`,
    );
    await announce(keyChangeRecord(recorded, key.publicKey));
    this.#recordedKey = id;
    return true;
  }

  /** The clock by which events get their day. */
  get #nowMs(): number {
    return this.#options.journal.clock.now();
  }

  get #chain(): ChainState {
    return this.#options.journal.chain!;
  }

  get #hasNews(): boolean {
    return this.#chain.count - this.#signed.count > this.#ownEvents;
  }

  async #tick(): Promise<void> {
    const isDayOver = utcDay(this.#nowMs) > this.#signed.day;
    const isSigned = this.#chain.seq === this.#signed.seq;
    if (!this.#hasNews && (isSigned || !isDayOver)) return;
    const [chain, isNews] = [this.#chain, this.#hasNews];
    const { drained } = this.#options;
    await withSignals([this.#closing.signal], (signal) => drained(signal), DRAIN_MS_MAX);
    await this.#sign(chain, isNews);
    if (isDayOver) await this.#options.file.tidy();
  }

  async #sign(chain: ChainState, isAnnounced: boolean): Promise<void> {
    // The first checkpoint of another key covers the event that records it.
    if (await this.#recordKey()) return this.#signUpTo(this.#chain, true);
    if (chain.seq > this.#signed.seq) await this.#signUpTo(chain, isAnnounced);
  }

  async #signUpTo(chain: ChainState, isAnnounced: boolean): Promise<void> {
    const { journal, file, announce } = this.#options;
    const signed: Checkpoint[] = [];
    const walk = this.#standings(chain);
    let step = walk.next();
    while (step.done !== true) step = walk.next(await journal.read(step.value));
    for (const standing of step.value) {
      const checkpoint = this.#checkpointOf(standing);
      this.#isAppending = true;
      await file.append(checkpoint).finally(() => (this.#isAppending = false));
      this.#recovered();
      this.#isSigned(standing, checkpoint);
      signed.push(checkpoint);
    }
    for (const checkpoint of isAnnounced ? signed : []) {
      await announce(checkpointRecord(checkpoint));
      this.#ownEvents++;
    }
    await this.#rememberKey();
  }

  #checkpointOf({ day, lines, count, seq, head }: Standing): Checkpoint {
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

  #isSigned(standing: Standing, checkpoint: Checkpoint): void {
    this.#signed = standing;
    this.#newest = checkpoint;
    this.#ownEvents = 0;
  }

  /**
   * Signs the last event before it returns, when the process ends. It announces nothing, and leaves a change of the key
   * to the next start. Never throws.
   */
  signSync(timeoutMs: number): void {
    if (this.#timer === undefined || this.#isAppending) return;
    const { journal, file, key } = this.#options;
    try {
      if (!this.#hasResumed) this.#resumeAfter(file.newestSync());
      const isOwnKey = (this.#recordedKey ?? key.publicKey.id) === key.publicKey.id;
      if (this.#chain.seq <= this.#signed.seq || !isOwnKey) return;
      const walk = this.#standings(this.#chain);
      let step = walk.next();
      while (step.done !== true) step = walk.next(journal.readSync(step.value, timeoutMs));
      for (const standing of step.value) {
        const checkpoint = this.#checkpointOf(standing);
        file.appendSync(checkpoint);
        this.#isSigned(standing, checkpoint);
      }
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The newest checkpoint names the key, too; this is for when checkpoints.jsonl is gone. */
  async #rememberKey(): Promise<void> {
    const { journal, key } = this.#options;
    const { id } = key.publicKey;
    this.#recordedKey = id;
    if (journal.memory(KEY_OWNER) !== id) await journal.saveMemory(KEY_OWNER, id);
  }

  /** Days are looked up in the journal only where one may be over. */
  *#standings(chain: ChainState): Generator<JournalQuery, Standing[], JournalPage> {
    const { day, lines, count } = this.#signed;
    if (utcDay(this.#nowMs) !== day) return yield* dayEndsWalk(this.#signed, chain);
    return [{ ...chain, day, lines: lines === 0 ? 0 : lines + chain.count - count }];
  }
}
