/** What the gateway gives to each plugin, and how it opens one. */

import type { Component, Config, ExporterComponent } from "../config/config.ts";
import type { Journal } from "../journal/journal.ts";
import { findTypeFlaw } from "../config/plugin-loader.ts";
import type {
  Exporter,
  Host,
  HostHttp,
  HostTls,
  PluginDefinition,
  Processor,
} from "../plugin/index.ts";
import { hostMetrics, type PluginMetric } from "../plugin/metrics.ts";
import { clearTimeout, setTimeout } from "../runtime/timers.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import { hostLogger, type WriteLine } from "./host-log.ts";
import type { ExportTarget } from "./self-export.ts";

const OPEN_MS_MAX = 10_000;

/** The gateway's HTTP server as plugins see it, with what removes a component's routes again. */
export interface PluginHttp extends HostHttp {
  removeRoute(method: string, path: string): void;
  removeUpgrade(path: string): void;
}

/** What all hosts of a gateway share. */
export interface HostContext {
  readonly config: Pick<Config, "host" | "logDir">;
  readonly journal: Journal;
  readonly http: PluginHttp;
  readonly tls: HostTls | undefined;
  readonly write: WriteLine;
  readonly pluginMetrics: PluginMetric[];
  /** What the open components use. */
  readonly uses: Set<ComponentUse>;
}

/** What one open component listens on and sends to. */
export interface ComponentUse {
  readonly listeners: string[];
  readonly targets: ExportTarget[];
}

/** A component's host, which is released when the component has been closed. */
export interface ComponentHost {
  readonly host: Host;
  /** Removes the component's routes, upgrades, listeners and targets from the gateway. */
  release(): void;
}

export function createHost(
  {
    id,
    definition,
    level,
    filter,
  }: Component<PluginDefinition> & Partial<Pick<ExporterComponent, "level" | "filter">>,
  { config, journal, http, tls, write, pluginMetrics, uses }: HostContext,
): ComponentHost {
  const component = `${definition.kind}/${id}`;
  const use: ComponentUse = { listeners: [], targets: [] };
  uses.add(use);
  const removals: (() => void)[] = [];
  let isReleased = false;
  const checkOpen = (): void => {
    // A plugin that was given up because it takes too long to open may still be at it.
    if (isReleased) throw new Error(`the ${definition.kind} ${id} was closed`);
  };
  const host: Host = {
    id,
    level,
    filter,
    logDir: config.logDir,
    bindHost: config.host,
    tls,
    log: hostLogger(`tailgate.${definition.kind}.${id}`, write),
    http: {
      ...http,
      route: (method, path, ...rest) => {
        checkOpen();
        http.route(method, path, ...rest);
        removals.push(() => http.removeRoute(method, path));
      },
      upgrade: (path, ...rest) => {
        checkOpen();
        http.upgrade(path, ...rest);
        removals.push(() => http.removeUpgrade(path));
      },
    },
    journal,
    memory: {
      recall: () => journal.memory(component),
      keep: (text) => journal.saveMemory(component, text),
    },
    metrics: hostMetrics(component, pluginMetrics),
    listening: (url) => use.listeners.push(url),
    sendingTo: (url) => use.targets.push({ component: `${definition.kind}s.${id}`, url }),
  };
  return {
    host,
    release() {
      isReleased = true;
      uses.delete(use);
      for (const remove of removals.splice(0)) remove();
    },
  };
}

interface Closable {
  close?(signal: AbortSignal): Promise<void> | void;
}

/**
 * Opens a plugin. Closes it again if it opens too late or `findFlaw` returns why it cannot be used. `release` is called if
 * it cannot be opened.
 * @throws TailgateError PLUGIN_OPEN_FAILED
 */
export async function openPlugin<Part extends Closable>(
  { id, definition }: Component<PluginDefinition>,
  open: () => Part | Promise<Part>,
  release: () => void,
  findFlaw: (part: Part) => string | undefined = () => undefined,
): Promise<Part> {
  const late = Promise.withResolvers<never>();
  const opening = (async () => open())();
  const timer = setTimeout(() => {
    late.reject(new Error(`it took longer than ${OPEN_MS_MAX} ms`));
    opening.then((part) => part.close?.(AbortSignal.abort())).catch(() => {});
  }, OPEN_MS_MAX);
  try {
    const part = await Promise.race([opening, late.promise]);
    const flaw = findFlaw(part);
    if (flaw === undefined) return part;
    await part.close?.(AbortSignal.abort());
    throw new Error(flaw);
  } catch (error) {
    release();
    if (TailgateError.is(error)) throw error;
    const reason = textOf(error).replace(/\.$/, "");
    const text = `The ${definition.kind} ${id} could not be opened: ${reason}.`;
    throw new TailgateError("PLUGIN_OPEN_FAILED", text, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** Returns why an exporter cannot be used, as far as can be seen before its first record. */
export function findExporterFlaw({ write, type }: Exporter): string | undefined {
  if (typeof write !== "function") return "it has no write function";
  return type === undefined ? undefined : findTypeFlaw(type);
}

/** Returns why a processor cannot be used, as far as can be seen before its first record. */
export function findProcessorFlaw({ process, inspect }: Processor): string | undefined {
  if (inspect === undefined && typeof process !== "function") return "it has no process function";
  return findFunctionFlaw("process", process) ?? findFunctionFlaw("inspect", inspect);
}

function findFunctionFlaw(name: string, given: unknown): string | undefined {
  if (given === undefined) return undefined;
  if (typeof given !== "function") return `its ${name} is not a function`;
  const kind = Object.prototype.toString.call(given);
  if (kind.includes("Generator")) return `its ${name} function is a generator`;
  if (kind !== "[object AsyncFunction]") return undefined;
  return `its ${name} function is async, but it runs in the caller's emit, which does not wait`;
}
