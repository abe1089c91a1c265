import type { Delivery } from "../../src/delivery/delivery.ts";
import { createJournalDelivery } from "../../src/delivery/journal-cursor.ts";
import type { Journal } from "../../src/journal/journal.ts";
import {
  parseFilter,
  type Exporter,
  type ExporterDefinition,
  type Host,
  type HostLogger,
} from "tailgate/plugin";

/** What delivery says of a crash is no matter of the exporter's. */
const SILENT: HostLogger = { info: () => {}, warning: () => {}, error: () => {} };

const NEVER = new AbortController().signal;

interface Following {
  readonly definition: ExporterDefinition;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly host: Host;
  readonly journal: Journal;
  /** The process ends at the save after this many; default: never. */
  readonly savesMax?: number;
}

/** An exporter that follows a journal, as in a gateway, and can crash. */
export class FollowedExporter {
  readonly #host: Host;
  readonly #journal: Journal;
  #savesLeft: number;
  #exporter!: Exporter;
  #delivery!: Delivery;
  /** Rejects at its end. */
  readonly #life = Promise.withResolvers<never>();
  #isOver = false;
  readonly #stuck = Promise.withResolvers<void>();

  private constructor({ host, journal, savesMax = Infinity }: Following) {
    this.#host = host;
    this.#journal = journal;
    this.#savesLeft = savesMax;
    this.#life.promise.catch(() => {});
  }

  static async open(given: Following): Promise<FollowedExporter> {
    const followed = new FollowedExporter(given);
    await followed.#open(given);
    return followed;
  }

  async #open({ definition, options = {}, host, journal }: Following): Promise<void> {
    const { id, level, filter: q } = host;
    const filter = q === undefined ? undefined : parseFilter({ q });
    const recall = (): string | undefined => journal.memory(id);
    const memory = { recall, keep: (text: string) => this.#keep(text) };
    const its = { ...host, journal, memory };
    this.#exporter = await definition.open(definition.options.parse(options), its);
    const { type } = definition;
    const how = { type, level, filter, journal, consumer: id, timeoutMs: 60_000, log: SILENT };
    this.#delivery = createJournalDelivery(this.#stoppable(), how);
  }

  /** Writes nothing after its end. */
  #stoppable(): Exporter {
    return {
      resumeAfter: this.#exporter.resumeAfter,
      write: (batch, signal) =>
        this.#isOver ? this.#life.promise : this.#exporter.write(batch, signal),
      close: (signal) => this.#exporter.close?.(signal),
    };
  }

  async #keep(text: string): Promise<void> {
    if (this.#savesLeft-- > 0) return this.#journal.saveMemory(this.#host.id, text);
    this.#stuck.resolve();
    return this.#life.promise;
  }

  /** Resolves when it has written the whole journal, or has crashed. */
  async follow(): Promise<void> {
    this.#delivery.wake();
    await Promise.race([this.#delivery.drain(NEVER), this.#stuck.promise]);
  }

  /** Writes and saves nothing more; only handles are released, as at the end of a process. */
  async crash(): Promise<void> {
    this.#isOver = true;
    this.#savesLeft = 0;
    this.#life.reject(new Error("injected: the process has ended"));
    await this.#delivery.close(AbortSignal.timeout(10_000));
  }

  async close(): Promise<void> {
    await this.#delivery.close(NEVER);
  }
}
