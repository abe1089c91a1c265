import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostLogger } from "../gateway/host-log.ts";
import { HttpServer } from "../http/server/server.ts";
import { MemoryJournal } from "../journal/memory.ts";
import type { Host } from "../plugin/index.ts";
import { hostMetrics, type PluginMetric } from "../plugin/metrics.ts";

/** A host for tests of plugins: a real HTTP server on a free port, a journal in memory, and a log directory of its own. */
export interface TestHost extends Host {
  readonly journal: MemoryJournal;
  readonly pluginMetrics: readonly PluginMetric[];
  /** The lines that the plugin has logged. */
  readonly lines: readonly string[];
  /** The URL of the HTTP server, such as `http://127.0.0.1:8001`; "" before `listen`. */
  readonly url: string;
  /** Starts the HTTP server; resolves with its URL. Plugins register their routes before. */
  listen(): Promise<string>;
  /** Stops the server, and deletes the log directory unless it was given. */
  close(): Promise<void>;
}

/** Creates a host. To test a restart, pass the `logDir` of a previous host. */
export async function testHost(id: string, options: { logDir?: string } = {}): Promise<TestHost> {
  const logDir = options.logDir ?? (await mkdtemp(join(tmpdir(), "tailgate-")));
  const lines: string[] = [];
  const pluginMetrics: PluginMetric[] = [];
  const log = hostLogger(`tailgate.${id}`, (line) => lines.push(line));
  const journal = new MemoryJournal();
  let address = "";
  const server = new HttpServer({ host: "127.0.0.1", port: 0, allowedHosts: [], log });
  return {
    id,
    logDir,
    bindHost: "127.0.0.1",
    log,
    http: server.plugins,
    journal,
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
      await server.close(AbortSignal.timeout(1000));
      if (options.logDir === undefined) await rm(logDir, { recursive: true, force: true });
    },
  };
}
