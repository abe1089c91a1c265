import type { ProcessorComponent } from "../config/config.ts";
import type { RunningProcessor } from "../intake/processors.ts";
import type { LogRecord, Processor } from "../plugin/index.ts";
import { Counters } from "../plugin/metrics.ts";
import { createHost, findProcessorFlaw, openPlugin, type HostContext } from "./host.ts";
import { componentStatus, type ComponentStatus } from "./status.ts";

/** Adds a record of a processor's own behind the processor. */
type Emit = (record: LogRecord, component: ProcessorComponent) => void;

/** The open processors of a gateway, in the order in which records pass them. */
export class RunningProcessors {
  readonly all: RunningProcessor[] = [];
  readonly #context: HostContext;
  readonly #emit: Emit;

  constructor(context: HostContext, emit: Emit) {
    this.#context = context;
    this.#emit = emit;
  }

  get statuses(): ComponentStatus[] {
    return this.all.map(({ id, counters, lastError }) =>
      componentStatus({ id, kind: "processor", counters, lastError }),
    );
  }

  /** @throws TailgateError PLUGIN_OPEN_FAILED and what the plugin throws */
  async open(component: ProcessorComponent): Promise<void> {
    const { id, definition, options } = component;
    const emit = (record: LogRecord): void => this.#emit(record, component);
    const host = { ...createHost(component, this.#context), emit };
    const open = () => definition.open(options, host);
    const processor = await openPlugin<Processor>(component, open, findProcessorFlaw);
    const { dropsAuditEvents } = processor;
    if (dropsAuditEvents !== undefined) host.log.warning(dropsAuditEvents);
    this.all.push({
      id,
      processor,
      onError: component.onError ?? (definition.failsClosed === true ? "fail" : undefined),
      counters: new Counters(),
      lastError: undefined,
      failed: (error) => host.log.error("A record could not be processed.", error),
    });
  }
}
