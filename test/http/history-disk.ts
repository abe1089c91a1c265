import { onTestFinished } from "vitest";
import type { Journal, Retention } from "../../src/journal/journal.ts";
import { MemoryJournal } from "../../src/journal/memory.ts";
import { SqliteJournal } from "../../src/journal/sqlite.ts";
import { temporaryDirectory } from "../harness/workspace.ts";
import { Stage } from "../harness/http-server.ts";

const KEPT = { bytes: 1e12, ms: 1e15 };

export const KEEP_ALL: Retention = { system_log: KEPT, audit_log: KEPT };

/** A journal that is served, closed and opened again; the memory engine lives through it, as it has nothing else. */
export class Sessions {
  readonly #directory: string | undefined;
  #journal: Journal | undefined;
  #stage: Stage | undefined;

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

  get stage(): Stage {
    return this.#stage!;
  }

  get directory(): string {
    return this.#directory!;
  }

  /** Ends the one before, and begins the next one: what was logged before is on the disk alone. */
  async next(retention: Retention = KEEP_ALL): Promise<Stage> {
    if (this.#directory === undefined) this.#journal ??= new MemoryJournal();
    else {
      await this.end();
      // That records cannot be read is what tests bring about.
      const alarm = (text: string): void => {
        if (!text.endsWith("some are lost.")) throw new Error(text);
      };
      this.#journal = await SqliteJournal.open({ directory: this.#directory, retention, alarm });
    }
    this.#stage = await new Stage({ journal: this.#journal }).open();
    return this.#stage;
  }

  async end(): Promise<void> {
    await this.#journal?.close();
    this.#journal = undefined;
  }
}
