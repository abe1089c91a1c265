import { changedComponents, type ConfigChange } from "../config/changes.ts";
import type { Section } from "../config/built-ins.ts";
import type { Config, ProcessorComponent } from "../config/config.ts";
import { RecordIntake, type IntakeOptions } from "../intake/intake.ts";
import type { RunningProcessor } from "../intake/processors.ts";
import type { PluginMetric } from "../plugin/metrics.ts";
import { Counters } from "../plugin/metrics.ts";
import { whenAborted } from "../runtime/timers.ts";
import { textOf } from "../wire/errors.ts";
import type { Closing } from "./closing.ts";
import { RunningExporters } from "./exporters.ts";
import type { HostContext } from "./host.ts";
import { hostLogger } from "./host-log.ts";
import { RunningProcessors, type OpenProcessor } from "./processors.ts";
import { RunningReceivers } from "./receivers.ts";
import { fixedListeners, rejectSelfExport } from "./self-export.ts";
import { componentStatus, type ComponentStatus } from "./status.ts";

/** How long large requests may use a processor that has been replaced. */
const RETIRE_MS_MAX = 10_000;

type GivenIntakeOptions = Omit<IntakeOptions, "processors" | "append" | "unstoredBytes">;

/** The configurations before and after a reload, and what differs. */
interface Transition {
  readonly previous: Config;
  readonly next: Config;
  readonly changes: readonly ConfigChange[];
}

interface Identified {
  readonly id: string;
}

/** The receivers, processors and exporters of a gateway, and the intake between them. */
export class Components {
  readonly intake: RecordIntake;
  readonly exporters: RunningExporters;
  readonly processors: RunningProcessors;
  readonly receivers: RunningReceivers;
  readonly #context: HostContext;
  /** The intake reads the processors for each record. */
  readonly #intakeOptions: IntakeOptions & { processors: readonly RunningProcessor[] };
  /** Components that a failed reload could not open again. */
  #lost: ComponentStatus[] = [];

  constructor(context: HostContext, closing: Closing, intakeOptions: GivenIntakeOptions) {
    this.#context = context;
    const exporters = new RunningExporters(context, closing);
    this.exporters = exporters;
    this.#intakeOptions = {
      ...intakeOptions,
      processors: [],
      unstoredBytes: exporters.unstoredBytes.bind(exporters),
      append: exporters.append.bind(exporters),
    };
    this.intake = new RecordIntake(this.#intakeOptions);
    this.processors = new RunningProcessors(context, closing, (record, component) =>
      this.intake.emit(record, component),
    );
    this.receivers = new RunningReceivers(context, closing, this.intake);
  }

  get statuses(): ComponentStatus[] {
    return [
      ...this.receivers.statuses,
      ...this.processors.statuses,
      ...this.exporters.statuses,
      ...this.#lost,
    ];
  }

  /** Whether a component is missing because a failed reload could not open it again. */
  get isIncomplete(): boolean {
    return this.#lost.length > 0;
  }

  /** What the plugins listen on, one line each. */
  get listeners(): string[] {
    return [...this.#context.uses].flatMap(({ listeners }) => listeners);
  }

  /**
   * Opens exporters, processors, then receivers. Exporters do not write yet.
   * @throws TailgateError PLUGIN_OPEN_FAILED, SENDS_TO_ITSELF and what the plugins throw
   */
  async open(config: Config): Promise<void> {
    for (const component of config.exporters) await this.exporters.open(component);
    const opened: OpenProcessor[] = [];
    for (const component of config.processors) opened.push(await this.processors.open(component));
    this.#use(opened);
    for (const component of config.receivers) await this.receivers.open(component);
    await this.#rejectSelfExport(config);
  }

  /** The main port may not listen yet. */
  async #rejectSelfExport({ host, port }: Config): Promise<void> {
    const targets = [...this.#context.uses].flatMap((use) => use.targets);
    await rejectSelfExport(targets, [...fixedListeners(host, [port]), ...this.listeners]);
  }

  /** Lets records pass these processors from now on. */
  #use(processors: readonly OpenProcessor[]): void {
    this.processors.use(processors);
    this.#intakeOptions.processors = processors;
  }

  /**
   * Closes the components that differ in the next configuration and opens its own, in the order of a start. Others are not
   * touched. If one cannot be opened, those of the previous configuration are opened again.
   * @throws TailgateError RELOAD_FAILED and what opening a component throws
   */
  async reload(transition: Transition): Promise<void> {
    const { next } = transition;
    const { exporters, processors, receivers } = this.#difference(transition);
    const before = this.processors.all;
    const gauges = this.#context.pluginMetrics.filter(({ kind }) => kind === "gauge");
    const opened: OpenProcessor[] = [];
    let replaced: OpenProcessor[] = [];
    const stopped = { exporters: false, receivers: false };
    try {
      // Beside those that they replace: no record passes without a processor that removes secrets.
      for (const component of this.#toOpen(next.processors, processors.opened)) {
        opened.push(await this.processors.open(component));
      }
      await this.exporters.stop(idsOf(exporters.closed), idsOf(exporters.opened));
      stopped.exporters = true;
      for (const component of exporters.opened) await this.exporters.open(component);
      stopped.receivers = true;
      await this.receivers.stop(idsOf(receivers.closed));
      const after = next.processors.map(({ id }) => findById(opened, id) ?? findById(before, id)!);
      replaced = before.filter((one) => !after.includes(one));
      // In one turn: what is flushed passes the previous processors, and no record comes between.
      this.processors.flush(replaced);
      this.#use(after);
      for (const component of receivers.opened) await this.receivers.open(component);
      await this.#rejectSelfExport(next);
    } catch (error) {
      this.#use(before);
      await this.#retire(opened);
      this.#putBack(gauges);
      await this.#restore(transition, stopped);
      throw error;
    }
    this.#lost = [];
    const after = this.processors.all;
    if (before.length !== after.length || before.some((one, index) => one !== after[index])) {
      await this.#passed();
    }
    await this.#retire(replaced);
    this.#forgetMetrics(next);
    this.exporters.wake();
  }

  /**
   * Returns the processors to open: the changed ones, and those behind a change that hold records back. These have not passed
   * the processors that come before them now.
   */
  #toOpen(
    processors: readonly ProcessorComponent[],
    changed: readonly ProcessorComponent[],
  ): readonly ProcessorComponent[] {
    const before = this.processors.all;
    let isBehindChange = false;
    return processors.filter((component, index) => {
      const isChanged = changed.includes(component);
      isBehindChange ||= isChanged || before[index]?.id !== component.id;
      const isHolding = findById(before, component.id)?.processor.flush !== undefined;
      return isChanged || (isBehindChange && isHolding);
    });
  }

  /** Resolves when no large request uses the processors that it began with, or after a time. */
  async #passed(): Promise<void> {
    await Promise.race([this.intake.processed(), whenAborted(AbortSignal.timeout(RETIRE_MS_MAX))]);
  }

  /** Closes processors that are no longer used, except by large requests that began before. */
  async #retire(processors: readonly OpenProcessor[]): Promise<void> {
    if (processors.length === 0) return;
    await this.#passed();
    this.processors.flush(processors);
    await this.processors.close(processors);
  }

  #difference(transition: Transition) {
    const isOpen = (section: Section) => (id: string) => this[section].has(id);
    return {
      exporters: changedComponents("exporters", transition, isOpen("exporters")),
      processors: changedComponents("processors", transition, isOpen("processors")),
      receivers: changedComponents("receivers", transition, isOpen("receivers")),
    };
  }

  /** Undoes what a failed reload has done to those that it has stopped: closes what it has opened, and opens the others. */
  async #restore(
    { previous, next, changes }: Transition,
    stopped: { readonly exporters: boolean; readonly receivers: boolean },
  ): Promise<void> {
    const undone = { previous: next, next: previous, changes };
    const { exporters, receivers } = this.#difference(undone);
    this.#lost = [];
    if (stopped.receivers) await this.receivers.stop(idsOf(receivers.closed));
    if (stopped.exporters) {
      await this.exporters.stop(idsOf(exporters.closed), idsOf(exporters.opened)).catch(() => {});
      for (const component of exporters.opened) {
        await this.#reopen("exporter", component, () => this.exporters.open(component));
      }
    }
    if (stopped.receivers) {
      for (const component of receivers.opened) {
        await this.#reopen("receiver", component, () => this.receivers.open(component));
      }
    }
    this.exporters.wake();
  }

  async #reopen(
    kind: "exporter" | "receiver",
    { id }: Identified,
    open: () => Promise<void>,
  ): Promise<void> {
    try {
      await open();
    } catch (error) {
      this.exporters.forget(id);
      const lastError = `It was closed by a reload that failed, and could not be opened again: ${textOf(error)}`;
      this.#lost.push(componentStatus({ id, kind, counters: new Counters(), lastError }));
      hostLogger(`tailgate.${kind}.${id}`, this.#context.write).error(lastError);
    }
  }

  /** Processors that were opened beside others have replaced their gauges. */
  #putBack(gauges: readonly PluginMetric[]): void {
    const { pluginMetrics } = this.#context;
    for (const gauge of gauges) {
      const isSame = ({ component, name }: PluginMetric): boolean =>
        component === gauge.component && name === gauge.name;
      const index = pluginMetrics.findIndex(isSame);
      if (index >= 0) pluginMetrics[index] = gauge;
    }
  }

  #forgetMetrics({ receivers, processors, exporters }: Config): void {
    const components = new Set([
      ...receivers.map(({ id }) => `receiver/${id}`),
      ...processors.map(({ id }) => `processor/${id}`),
      ...exporters.map(({ id }) => `exporter/${id}`),
    ]);
    const { pluginMetrics } = this.#context;
    const left = pluginMetrics.filter(({ component }) => components.has(component));
    pluginMetrics.splice(0, pluginMetrics.length, ...left);
  }
}

function idsOf(components: readonly Identified[]): ReadonlySet<string> {
  return new Set(components.map(({ id }) => id));
}

function findById<Part extends Identified>(parts: readonly Part[], id: string): Part | undefined {
  return parts.find((part) => part.id === id);
}
