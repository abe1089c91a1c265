import { findChanges, type ConfigChange } from "../config/changes.ts";
import type { Config } from "../config/config.ts";
import type { HostLogger, LogRecord } from "../plugin/index.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import { preflight, type Preflight } from "./preflight.ts";
import { formatChange, reloadEvent } from "./reload-event.ts";
import { hashOf } from "./reload-status.ts";
import type { ReloadOutcome, ReloadStatus } from "./status.ts";

/** What asked for a reload. */
export interface ReloadCause {
  /** `SIGHUP`, `tailgate reload` or `--watch`. */
  readonly by: string;
  /** The user id of who ran the command, as that says: only the gateway's own user and root can send it. */
  readonly uid?: number | undefined;
  /** Whether nobody wants to know that nothing has changed. */
  readonly isSilent?: boolean;
}

/** What became of a reload. */
export interface ReloadResult {
  readonly outcome: ReloadOutcome;
  /** What differs, applied or not. */
  readonly changes: readonly ConfigChange[];
  /** Why nothing was applied. */
  readonly error?: TailgateError | undefined;
}

export interface ReloaderOptions {
  /** The configuration that the gateway was started with. */
  readonly config: Config;
  /** Its files as they were at the start. */
  readonly checked: Pick<Preflight, "files" | "paths">;
  /** Updated by each reload. */
  readonly status: ReloadStatus;
  /** Reads the configuration again, with the flags and the environment of the start. */
  resolve(): Promise<Config>;
  /** Applies a configuration; rejects if it could not, with the previous one in force. */
  apply(next: Config, changes: readonly ConfigChange[]): Promise<void>;
  /** Whether the gateway lacks a component because a reload has failed before. */
  isIncomplete(): boolean;
  /** Reads the files of TLS and the tokens again. */
  readFiles(): Promise<void>;
  /** Stores an audit event; resolves when it is durable. */
  announce(event: LogRecord): Promise<void>;
  readonly log: HostLogger;
}

/**
 * Applies what has changed in the configuration to a running gateway. One reload runs at a time; further ones wait. The next
 * configuration is validated as at a start before anything changes.
 */
export class Reloader {
  readonly #options: ReloaderOptions;
  #config: Config;
  #checked: Pick<Preflight, "files" | "paths">;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#checked = options.checked;
  }

  /** The files that belong to the configuration in force. */
  get files(): readonly string[] {
    return this.#checked.paths;
  }

  /** Never rejects. */
  async reload(cause: ReloadCause): Promise<ReloadResult> {
    const reloading = this.#after(this.#last, cause);
    this.#last = reloading;
    return reloading;
  }

  async #after(last: Promise<unknown>, cause: ReloadCause): Promise<ReloadResult> {
    await last;
    const result = await this.#reload();
    this.#note(result);
    await this.#report(result, cause);
    return result;
  }

  async #reload(): Promise<ReloadResult> {
    await this.#options.readFiles();
    let outcome: ReloadOutcome = "invalid";
    let changes: readonly ConfigChange[] = [];
    try {
      const next = await this.#options.resolve();
      const checked = await preflight(next);
      const found = findChanges(
        this.#config,
        next,
        staleComponents(this.#checked.files, checked.files),
      );
      changes = [...found.applied, ...found.refused];
      if (found.refused.length > 0) {
        outcome = "refused";
        throw refusal(found.refused);
      }
      if (changes.length === 0 && !this.#options.isIncomplete()) {
        return { outcome: "unchanged", changes };
      }
      outcome = "failed";
      await this.#options.apply(next, changes);
      this.#config = next;
      this.#checked = checked;
      return { outcome: "applied", changes };
    } catch (error) {
      return { outcome, changes, error: toTailgateError(error) };
    }
  }

  #note({ outcome, error }: ReloadResult): void {
    const { status } = this.#options;
    status.outcomes[outcome]++;
    status.lastError = error && `${error.code}: ${error.message}`;
    if (error !== undefined) return;
    status.succeededAtMs = Date.now();
    status.hash = hashOf(this.#config);
  }

  async #report(result: ReloadResult, cause: ReloadCause): Promise<void> {
    const { log, announce } = this.#options;
    const { outcome, changes, error } = result;
    if (error !== undefined) {
      const text = `The configuration was not reloaded (${cause.by}), and the previous one stays in force:`;
      // A list of problems has lines.
      log.error(text, error.message.trim().replaceAll(/\s*\n\s*/g, " "));
    } else if (outcome === "unchanged") {
      if (cause.isSilent !== true) log.info(`The configuration has not changed (${cause.by}).`);
    } else {
      const list = changes.map(formatChange).join("; ");
      log.info(`The configuration was reloaded (${cause.by}): ${list}`);
    }
    if (outcome === "unchanged") return;
    try {
      await announce(reloadEvent(result, cause, this.#config.auditLoggers));
    } catch (failure) {
      log.error("The audit event about the reload could not be stored.", failure);
    }
  }
}

function refusal(refused: readonly ConfigChange[]): TailgateError {
  const keys = refused.map(({ key }) => key).join(", ");
  const text = `${keys} cannot change while the gateway runs. Nothing was changed.`;
  return new TailgateError("RELOAD_REFUSED", text);
}

function toTailgateError(error: unknown): TailgateError {
  if (TailgateError.is(error)) return error;
  return new TailgateError("RELOAD_FAILED", `${textOf(error)}.`, { cause: error });
}

/** Returns the components that read files which differ. */
function staleComponents(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): ReadonlySet<string> {
  const stale = [...after].filter(([place, digest]) => before.get(place) !== digest);
  return new Set(stale.map(([place]) => place));
}
