import type { LoggingManager } from "tailgate";
import type { DemoEvent } from "../../demo/demo-event.ts";
import { logEvent } from "../../demo/log-event.ts";
import { orchestrator } from "../../demo/orchestrator.ts";

/** A run of the demo's orchestrator with the first instances that it spawns, up to the end of the last one. */
export class DemoRun {
  readonly events: readonly DemoEvent[];
  readonly instanceIds: readonly string[];
  /** When it began, so that all of it is over now. */
  readonly startMs: number;

  constructor(seed: number, instances: number) {
    const spawned: string[] = [];
    const ended = new Set<string>();
    const events: DemoEvent[] = [];
    for (const event of orchestrator(seed)) {
      const { event_type: type } = event.fields;
      const id = event.fields["instance_id"] as string | null | undefined;
      if (type === "instance_spawn" && spawned.length < instances) spawned.push(id!);
      if (typeof id === "string" && !spawned.includes(id)) continue;
      events.push(event);
      if (type === "instance_terminate") ended.add(id!);
      if (ended.size === instances) break;
    }
    this.events = events;
    this.instanceIds = spawned;
    this.startMs = Date.now() - events.at(-1)!.atMs - 1000;
  }

  /** Logs all of it at once, with the times at which it would have happened. */
  play(logging: LoggingManager): void {
    for (const event of this.events) {
      logEvent(logging, event, this.startMs + event.atMs);
    }
  }

  /** What happened to one instance, of some kinds. */
  of(instanceId: string, ...types: readonly string[]): DemoEvent[] {
    return this.events.filter(
      ({ fields }) =>
        fields["instance_id"] === instanceId && types.includes(String(fields["event_type"])),
    );
  }

  /** The names of the events that its span is to have. */
  eventsOf(instanceId: string): string[] {
    const inSpans = ["instance_spawn", "instance_terminate", "message_sent"];
    const others = new Set([...inSpans, "message_received", "message_exchange"]);
    return this.events.flatMap(({ fields, error }) => {
      if (fields["instance_id"] !== instanceId) return [];
      if (error !== undefined) return ["exception"];
      const type = fields["event_type"];
      return typeof type === "string" && !others.has(type) ? [type] : [];
    });
  }
}
