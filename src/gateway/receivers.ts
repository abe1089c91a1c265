import type { ReceiverComponent } from "../config/config.ts";
import { intakeWithAttributes } from "../intake/added-attributes.ts";
import { countedIntake } from "../intake/requests.ts";
import type { Intake, Receiver } from "../plugin/index.ts";
import { Counters } from "../plugin/metrics.ts";
import type { Closing } from "./closing.ts";
import { createHost, openPlugin, type HostContext } from "./host.ts";
import { componentStatus, type ComponentStatus } from "./status.ts";

/** How long requests in flight may take when a receiver is restarted. */
const FINISH_MS_MAX = 10_000;

interface RunningReceiver {
  readonly id: string;
  readonly receiver: Receiver;
  readonly counters: Counters;
  release(): void;
}

/** The open receivers of a gateway. */
export class RunningReceivers {
  readonly #context: HostContext;
  readonly #closing: Closing;
  readonly #intake: Intake;
  #running: RunningReceiver[] = [];

  constructor(context: HostContext, closing: Closing, intake: Intake) {
    this.#context = context;
    this.#closing = closing;
    this.#intake = intake;
  }

  get statuses(): ComponentStatus[] {
    return this.#running.map(({ id, counters }) =>
      componentStatus({ id, kind: "receiver", counters }),
    );
  }

  has(id: string): boolean {
    return this.#running.some((one) => one.id === id);
  }

  /** @throws TailgateError PLUGIN_OPEN_FAILED and what the plugin throws */
  async open(component: ReceiverComponent): Promise<void> {
    const { id, definition, options, attributes } = component;
    const counters = new Counters();
    const target =
      attributes === undefined ? this.#intake : intakeWithAttributes(this.#intake, attributes);
    const intake = countedIntake(target, counters);
    const { host, release } = createHost(component, this.#context);
    const open = () => definition.open(options, { ...host, intake });
    const receiver = await openPlugin<Receiver>(component, open, release);
    this.#running.push({ id, receiver, counters, release });
  }

  /** Closes all receivers once the requests in flight are done or the time is over. */
  async close(timeMsMax: number): Promise<void> {
    await this.#close(this.#running, timeMsMax);
  }

  /** Closes some receivers for a reload, so that others may use their ports and paths. */
  async stop(ids: ReadonlySet<string>): Promise<void> {
    const stopped = this.#running.filter(({ id }) => ids.has(id));
    await this.#close(stopped, FINISH_MS_MAX);
    this.#running = this.#running.filter((one) => !stopped.includes(one));
    for (const { release } of stopped) release();
  }

  async #close(receivers: readonly RunningReceiver[], timeMsMax: number): Promise<void> {
    await this.#closing.closeAll(
      "receiver",
      receivers,
      ({ receiver }, signal) => receiver.close?.(signal),
      timeMsMax,
    );
  }
}
