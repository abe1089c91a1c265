/** The other end of `ExporterProcess`: opens a plugin and does what it is told over IPC. */

import { CompositeBatch } from "../../src/batch/composite.ts";
import { hostLogger } from "../../src/gateway/host-log.ts";
import { MemoryJournal } from "../../src/journal/memory.ts";
import {
  PermanentError,
  textOf,
  type Batch,
  type Exporter,
  type ExporterDefinition,
  type Host,
} from "tailgate/plugin";
import { batchOf } from "tailgate/testing";
import type { Command, Reply, WriteCommand } from "./exporter-process.ts";

const [plugin, options, logDir] = process.argv.slice(2);

// A file that reaches its limit is an error to be handled, not the end of the process.
process.on("SIGXFSZ", () => {});

const { default: definition } = (await import(plugin!)) as { default: ExporterDefinition };
const exporter = await openExporter();

process.on("message", (command: Command) => void obey(command));
process.send!({ id: 0, outcome: {} } satisfies Reply);

/**
 * With what exporters to files, streams and collectors use of a host: a whole one would bring in the HTTP server, whose libraries
 * touch standard error before the exporter does.
 */
async function openExporter(): Promise<Exporter> {
  const journal = new MemoryJournal();
  const memory = { recall: () => undefined, keep: async () => {} };
  const log = hostLogger(definition.name, () => {});
  const metrics = { counter: () => () => {} };
  const host = { id: definition.name, logDir, log, journal, memory, metrics, sendingTo: () => {} };
  return definition.open(definition.options.parse(JSON.parse(options!)), host as unknown as Host);
}

async function obey(command: Command): Promise<void> {
  const { id } = command;
  try {
    if (command.do === "write") {
      await exporter.write(batchFor(command), AbortSignal.timeout(command.timeoutMs));
    }
    if (command.do === "close") await exporter.close?.(new AbortController().signal);
    process.send!({ id, outcome: {} } satisfies Reply);
    if (command.do === "close") process.exit(0);
  } catch (error) {
    const isPermanent = PermanentError.is(error);
    process.send!({ id, outcome: { error: textOf(error), isPermanent } } satisfies Reply);
  }
}

function batchFor({ records, firstSequence, isJoined }: WriteCommand): Batch {
  if (!isJoined) return batchOf(records, { firstSequence });
  const parts = records.map((record, index) =>
    batchOf([record], { firstSequence: firstSequence + index }),
  );
  return new CompositeBatch(parts);
}
