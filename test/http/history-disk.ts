import { onTestFinished } from "vitest";
import type { Journal, Retention } from "../../src/journal/journal.ts";
import { MemoryJournal } from "../../src/journal/memory.ts";
import { SqliteJournal } from "../../src/journal/sqlite.ts";
import { temporaryDirectory } from "../harness/workspace.ts";
import { HttpHarness } from "../harness/http-server.ts";

const UNLIMITED = { bytes: 1e12, ms: 1e15 };

export const RETAIN_ALL: Retention = { system_log: UNLIMITED, audit_log: UNLIMITED };

/** A journal that is served, closed and reopened; the in-memory engine survives, since it has no storage. */
export class Sessions {
  readonly #directory: string | undefined;
  #journal: Journal | undefined;
  #harness: HttpHarness | undefined;

  private constructor(directory: string | undefined) {
    this.#directory = directory;
  }

  static async of(engine: "memory" | "sqlite"): Promise<Sessions> {
    const cleanUps: (() => Promise<unknown> | void)[] = [];
    const sessions = new Sessions(
      engine === "sqlite" ? await temporaryDirectory(cleanUps) : undefined,
    );
    onTestFinished(async () => {
      await sessions.end();
      for (const cleanUp of cleanUps) await cleanUp();
    });
    return sessions;
  }

  get harness(): HttpHarness {
    return this.#harness!;
  }

  get directory(): string {
    return this.#directory!;
  }

  /** Ends the previous session and starts the next one: older records are then only on disk. */
  async next(retention: Retention = RETAIN_ALL): Promise<HttpHarness> {
    if (this.#directory === undefined) this.#journal ??= new MemoryJournal();
    else {
      await this.end();
      // Reads are made to fail by the tests.
      const alarm = (text: string): void => {
        if (!text.endsWith("some are lost.")) throw new Error(text);
      };
      this.#journal = await SqliteJournal.open({ directory: this.#directory, retention, alarm });
    }
    this.#harness = await new HttpHarness({ journal: this.#journal }).open();
    return this.#harness;
  }

  async end(): Promise<void> {
    await this.#journal?.close();
    this.#journal = undefined;
  }
}
