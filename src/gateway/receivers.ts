import type { ReceiverComponent } from "../config/config.ts";
import { intakeWithAttributes } from "../intake/added-attributes.ts";
import { countedIntake } from "../intake/requests.ts";
import type { Intake, Receiver } from "../plugin/index.ts";
import { Counters } from "../plugin/metrics.ts";
import { createHost, openPlugin, type HostContext } from "./host.ts";
import { componentStatus, type ComponentStatus } from "./status.ts";

interface RunningReceiver {
  readonly id: string;
  readonly receiver: Receiver;
  readonly counters: Counters;
}

/** The open receivers of a gateway. */
export class RunningReceivers {
  readonly all: RunningReceiver[] = [];
  readonly #context: HostContext;
  readonly #intake: Intake;

  constructor(context: HostContext, intake: Intake) {
    this.#context = context;
    this.#intake = intake;
  }

  get statuses(): ComponentStatus[] {
    return this.all.map(({ id, counters }) => componentStatus({ id, kind: "receiver", counters }));
  }

  /** @throws TailgateError PLUGIN_OPEN_FAILED and what the plugin throws */
  async open(component: ReceiverComponent): Promise<void> {
    const { id, definition, options, attributes } = component;
    const counters = new Counters();
    const target =
      attributes === undefined ? this.#intake : intakeWithAttributes(this.#intake, attributes);
    const intake = countedIntake(target, counters);
    const host = { ...createHost(component, this.#context), intake };
    const receiver = await openPlugin<Receiver>(component, () => definition.open(options, host));
    this.all.push({ id, receiver, counters });
  }
}
