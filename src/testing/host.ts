import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostLogger } from "../gateway/host-log.ts";
import { HttpServer } from "../http/server/server.ts";
import { MemoryJournal } from "../journal/memory.ts";
import type { Batch, HostJournal, ProcessorHost, ReceiverHost } from "../plugin/index.ts";
import { hostMetrics, type PluginMetric } from "../plugin/metrics.ts";
import { IntakeOnJournal, type TestIntake } from "./intake.ts";

/**
 * A host for tests of plugins of all kinds: a real HTTP server on a free port, a journal in memory, an intake, and a log
 * directory of its own.
 */
export interface TestHost extends ReceiverHost, ProcessorHost {
  /** A journal in memory, which tests can append to. */
  readonly journal: TestJournal;
  /** The intake, which shows what it has accepted and can be made to reject. */
  readonly intake: TestIntake;
  /** The metrics that the plugin has registered, with their values. */
  readonly pluginMetrics: readonly PluginMetric[];
  /** What the plugin has logged, and the URLs that it has passed to `listening` and `sendingTo`; one line each. */
  readonly lines: readonly string[];
  /** The URL of the HTTP server, such as `http://127.0.0.1:8001`; "" before `listen`. */
  readonly url: string;
  /** Starts the HTTP server on a free port of 127.0.0.1; resolves with its URL. Plugins register their routes before. */
  listen(): Promise<string>;
  /** Stops the intake and the server, and deletes the log directory unless it was given. */
  close(): Promise<void>;
}

/** The journal of a {@link TestHost}. It is empty at first. */
export interface TestJournal extends HostJournal {
  /** Appends a batch of {@link batchOf}, which then has sequence numbers of this journal. Writes to no exporter. */
  append(batch: Batch): Promise<void>;
}

/** How {@link testHost} creates a host. */
export interface TestHostOptions {
  /**
   * The log directory, to test a restart: pass the one of an earlier host. `close` does not delete it. Default: a new one
   * in the system's folder for temporary files.
   */
  readonly logDir?: string;
}

/** Creates a host for the component `id`, such as `webhook` or `webhook/audit`. */
export async function testHost(id: string, options: TestHostOptions = {}): Promise<TestHost> {
  const logDir = options.logDir ?? (await mkdtemp(join(tmpdir(), "tailgate-")));
  const lines: string[] = [];
  const pluginMetrics: PluginMetric[] = [];
  const log = hostLogger(`tailgate.${id}`, (line) => lines.push(line));
  const journal = new MemoryJournal();
  const intake = new IntakeOnJournal(journal, log);
  let address = "";
  const server = new HttpServer({ host: "127.0.0.1", port: 0, allowedHosts: [], log });
  return {
    id,
    logDir,
    bindHost: "127.0.0.1",
    tls: undefined,
    log,
    http: server.plugins,
    journal,
    intake,
    emit: (record) => intake.emit(record, id),
    memory: {
      recall: () => journal.memory(id),
      keep: (text) => journal.saveMemory(id, text),
    },
    pluginMetrics,
    lines,
    metrics: hostMetrics(id, pluginMetrics),
    listening: (url) => lines.push(url),
    sendingTo: (url) => lines.push(url),
    get url() {
      return address;
    },
    listen: async () => (address = await server.listen()),
    close: async () => {
      await intake.stop();
      await server.close(AbortSignal.timeout(1000));
      if (options.logDir === undefined) await rm(logDir, { recursive: true, force: true });
    },
  };
}
