import { logs as apiLogs } from "@opentelemetry/api";
import { logs as oldApiLogs } from "@opentelemetry/api-logs";
import { TailgateError } from "../wire/errors.ts";
import { loadedCopies, type ApiCopy, type ApiName, type LogsApi } from "./api-copies.ts";
import { LoggerRelay } from "./relay.ts";

/** In which of the two generations of the logs API the provider is the global one. */
export interface Registration {
  /** `logs` of @opentelemetry/api. */
  readonly api: boolean;
  /** `logs` of @opentelemetry/api-logs, which winston's transport and older code use. */
  readonly apiLogs: boolean;
  /** One for each generation that another provider owns, and for each copy of the API whose records do not arrive. */
  readonly problems: readonly TailgateError[];
  /** Gives the globals back. */
  undo(): void;
}

/**
 * What the global APIs lead to. The process has one, because loggers of these APIs keep the first provider that they were
 * given.
 */
export const GLOBAL_RELAY = new LoggerRelay();

/** The copies of both generations of the API that are loaded. */
export interface LoadedApis {
  readonly api: readonly ApiCopy[];
  readonly apiLogs: readonly ApiCopy[];
}

export async function loadedApis(): Promise<LoadedApis> {
  return {
    api: await loadedCopies("@opentelemetry/api", apiLogs),
    apiLogs: await loadedCopies("@opentelemetry/api-logs", oldApiLogs),
  };
}

/** Makes {@link GLOBAL_RELAY} the provider of both generations of the API, where nobody else is. */
export function registerGlobally(loaded: LoadedApis): Registration {
  const api = register("@opentelemetry/api", loaded.api);
  const apiLogsToo = register("@opentelemetry/api-logs", loaded.apiLogs);
  return {
    api: api.owner !== undefined,
    apiLogs: apiLogsToo.owner !== undefined,
    problems: [...api.problems, ...apiLogsToo.problems],
    undo: () => {
      api.owner?.disable();
      apiLogsToo.owner?.disable();
    },
  };
}

interface Registered {
  /** The copy through which the relay was made the global provider. */
  readonly owner: LogsApi | undefined;
  readonly problems: readonly TailgateError[];
}

/**
 * Registers in all copies of one generation. They share the global provider, but the loggers that a copy gave out before
 * there was one wait for a provider that is registered in that very copy. So the relay is registered in each of them and
 * taken back, and stays in the last one.
 */
function register(name: ApiName, copies: readonly ApiCopy[]): Registered {
  const isFree = !copies.some(isServed);
  const able = isFree ? copies.filter(registerOnce) : [];
  const owner = able[0]?.logs;
  if (owner === undefined) return { owner, problems: [ownedByOther(name)] };
  owner.setGlobalLoggerProvider(GLOBAL_RELAY);
  const others = copies.filter((copy) => copy.path !== undefined && !able.includes(copy));
  return { owner, problems: others.map((copy) => otherVersion(name, copy)) };
}

function isServed({ logs }: ApiCopy): boolean {
  return logs.getLoggerProvider() === GLOBAL_RELAY;
}

/** Returns false if another provider is registered, or the global is of another version of the API. */
function registerOnce(copy: ApiCopy): boolean {
  copy.logs.setGlobalLoggerProvider(GLOBAL_RELAY);
  const isRegistered = isServed(copy);
  if (isRegistered) copy.logs.disable();
  return isRegistered;
}

function ownedByOther(name: ApiName): TailgateError {
  const text = `Records of logs.getLogger() of ${name} do not arrive: it has a provider already.`;
  return new TailgateError("REGISTRATION_FAILED", text);
}

function otherVersion(name: ApiName, copy: ApiCopy): TailgateError {
  const when = isServed(copy) ? " that was called before the start" : "";
  const text = `Records of logs.getLogger()${when} of ${copy.path} do not arrive: it is another version than the one that is registered. \`npm ls ${name}\` shows them; install one.`;
  return new TailgateError("REGISTRATION_FAILED", text);
}
