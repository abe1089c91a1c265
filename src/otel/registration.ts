import { logs as apiLogs, type LoggerProvider } from "@opentelemetry/api";
import { logs as oldApiLogs } from "@opentelemetry/api-logs";
import { TailgateError } from "../errors.ts";

/** In which of the two generations of the logs API the provider is the global one. */
export interface Registration {
  /** `logs` of @opentelemetry/api. */
  readonly api: boolean;
  /** `logs` of @opentelemetry/api-logs, which winston's transport and older code use. */
  readonly apiLogs: boolean;
  /** One for each generation that another provider owns. */
  readonly problems: readonly TailgateError[];
  /** Gives the globals back. */
  undo(): void;
}

/** Makes the provider the global one in both generations of the API, where nobody else is. */
export function registerGlobally(provider: LoggerProvider): Registration {
  const api = apiLogs.setGlobalLoggerProvider(provider);
  const apiLogsToo = oldApiLogs.setGlobalLoggerProvider(provider) === provider;
  return {
    api,
    apiLogs: apiLogsToo,
    problems: [
      ...(api ? [] : [failure("@opentelemetry/api")]),
      ...(apiLogsToo ? [] : [failure("@opentelemetry/api-logs")]),
    ],
    undo: () => {
      if (api) apiLogs.disable();
      if (apiLogsToo) oldApiLogs.disable();
    },
  };
}

function failure(name: string): TailgateError {
  const text = `Records of logs.getLogger() of ${name} do not arrive: it has a provider already.`;
  return new TailgateError("REGISTRATION_FAILED", text);
}
