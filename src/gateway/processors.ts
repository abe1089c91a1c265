import type { ProcessorComponent } from "../config/config.ts";
import type { RunningProcessor } from "../intake/processors.ts";
import type { LogRecord, Processor } from "../plugin/index.ts";
import { Counters } from "../plugin/metrics.ts";
import type { Closing } from "./closing.ts";
import { createHost, findProcessorFlaw, openPlugin, type HostContext } from "./host.ts";
import { componentStatus, type ComponentStatus } from "./status.ts";

const CLOSE_MS_MAX = 1_000;

/** Adds a record of a processor's own behind the processor. */
type Emit = (record: LogRecord, component: ProcessorComponent) => void;

/** An open processor, whether or not records pass it. */
export interface OpenProcessor extends RunningProcessor {
  /** Logs an error of `flush`. */
  flushFailed(error: unknown): void;
  release(): void;
}

/** The open processors of a gateway, in the order in which records pass them. */
export class RunningProcessors {
  readonly #context: HostContext;
  readonly #emit: Emit;
  readonly #closing: Closing;
  #running: readonly OpenProcessor[] = [];

  constructor(context: HostContext, closing: Closing, emit: Emit) {
    this.#context = context;
    this.#closing = closing;
    this.#emit = emit;
  }

  get all(): readonly OpenProcessor[] {
    return this.#running;
  }

  get statuses(): ComponentStatus[] {
    return this.#running.map(({ id, counters, lastError }) =>
      componentStatus({ id, kind: "processor", counters, lastError }),
    );
  }

  /**
   * Opens a processor, which records do not pass yet: see {@link use}.
   * @throws TailgateError PLUGIN_OPEN_FAILED and what the plugin throws
   */
  async open(component: ProcessorComponent): Promise<OpenProcessor> {
    const { id, definition, options } = component;
    const emit = (record: LogRecord): void => this.#emit(record, component);
    const { host, release } = createHost(component, this.#context);
    const processor = await openPlugin<Processor>(
      component,
      () => definition.open(options, { ...host, emit }),
      release,
      findProcessorFlaw,
    );
    const { dropsAuditEvents } = processor;
    if (dropsAuditEvents !== undefined) host.log.warning(dropsAuditEvents);
    return {
      id,
      processor,
      onError: component.onError ?? (definition.failsClosed === true ? "fail" : undefined),
      failsClosed: definition.failsClosed,
      counters: new Counters(),
      lastError: undefined,
      failed: (error) => host.log.error("A record could not be processed.", error),
      flushFailed: (error) => host.log.error("What it held back could not be emitted.", error),
      release,
    };
  }

  /** Lets records pass these processors from now on. */
  use(processors: readonly OpenProcessor[]): void {
    this.#running = processors;
  }

  has(id: string): boolean {
    return this.#running.some((one) => one.id === id);
  }

  /** Lets processors emit what they hold back, in the order in which records pass them. */
  flush(processors: readonly OpenProcessor[] = this.#running): void {
    for (const { processor, flushFailed } of processors) {
      try {
        processor.flush?.();
      } catch (error) {
        flushFailed(error);
      }
    }
  }

  /** Closes processors that no record passes any more. */
  async close(processors: readonly OpenProcessor[] = this.#running): Promise<void> {
    await this.#closing.closeAll(
      "processor",
      processors,
      ({ processor }, signal) => processor.close?.(signal),
      CLOSE_MS_MAX,
    );
    for (const { release } of processors) release();
  }
}
