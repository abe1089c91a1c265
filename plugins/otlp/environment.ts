/**
 * Reads OTEL_EXPORTER_OTLP_* (https://opentelemetry.io/docs/specs/otel/protocol/exporter/). A signal's own variable
 * overrides the general one; surrounding whitespace is ignored, and an empty value is unset. An invalid value throws,
 * because ignoring it would send records elsewhere or without credentials. Errors do not show what may be secret.
 */

import { checkHeaderName, checkHeaderValue } from "../http-client/headers.ts";
import type { Setting } from "../http-client/setting.ts";

/** An OTLP signal: its names in variables and paths. */
export interface Signal {
  /** In OpenTelemetry's environment variables, such as OTEL_EXPORTER_OTLP_LOGS_ENDPOINT. */
  readonly variable: "LOGS" | "TRACES";
  /** The end of an endpoint's path. */
  readonly path: string;
}

export const PROTOCOLS = ["http/protobuf", "http/json"] as const;

export type Protocol = (typeof PROTOCOLS)[number];

/** The token for another gateway, in the environment. */
export const TOKEN_VARIABLE = "TAILGATE_TOKEN";

/** The longest delay of a Node timer. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

export const COMPRESSIONS = ["gzip", "none"] as const;

/** Returns the signal's own variable, else the general one; undefined if neither is set. */
export function readVariable(name: string, signal: Signal): Setting | undefined {
  return [signalName(name, signal), generalName(name)]
    .map(readSetting)
    .find((setting) => setting !== undefined);
}

function signalName(name: string, { variable }: Signal): string {
  return `OTEL_EXPORTER_OTLP_${variable}_${name}`;
}

function generalName(name: string): string {
  return `OTEL_EXPORTER_OTLP_${name}`;
}

/** Returns the token of the environment. Only logs go to gateways: a store of traces must not get it. */
export function readTokenVariable({ variable }: Signal): Setting | undefined {
  return variable === "LOGS" ? readSetting(TOKEN_VARIABLE) : undefined;
}

function readSetting(source: string): Setting | undefined {
  const value = process.env[source]?.trim();
  return value ? { value, source } : undefined;
}

/** Returns the endpoint, and whether it is the general one, to which the signal's path is appended. */
export function readEndpoint(
  signal: Signal,
): (Setting<URL> & { readonly isGeneral: boolean }) | undefined {
  const variable = readVariable("ENDPOINT", signal);
  if (variable === undefined) return undefined;
  const { value, source } = variable;
  if (!/^https?:\/\//i.test(value) || !URL.canParse(value)) {
    throw new Error(`${source} is not an http:// or https:// URL such as http://127.0.0.1:4318`);
  }
  return { value: new URL(value), source, isGeneral: source === generalName("ENDPOINT") };
}

/** Reads a variable with one of several values, in any case. */
export function readChoice<Choice extends string>(
  name: string,
  signal: Signal,
  choices: readonly Choice[],
): Setting<Choice> | undefined {
  const variable = readVariable(name, signal);
  if (variable === undefined) return undefined;
  const { value, source } = variable;
  const choice = choices.find((one) => one === value.toLowerCase());
  if (choice !== undefined) return { value: choice, source };
  throw new Error(
    `${source} is ${value}; expected ${choices.join(" or ")}, or set the option ${name.toLowerCase()}`,
  );
}

/** Returns the timeout in milliseconds; 0 means no limit. */
export function readTimeout(signal: Signal): Setting<number> | undefined {
  const variable = readVariable("TIMEOUT", signal);
  if (variable === undefined) return undefined;
  const { value, source } = variable;
  const timeoutMs = /^\d+$/.test(value) ? Number(value) : Infinity;
  if (timeoutMs <= TIMEOUT_MS_MAX) return { value: timeoutMs, source };
  throw new Error(
    `${source} is ${value}; expected an integer from 0 to ${TIMEOUT_MS_MAX}, in milliseconds`,
  );
}

/** Returns the general headers, then the signal's own, which override them. */
export function readHeaders(signal: Signal): Setting<Record<string, string>>[] {
  return [generalName("HEADERS"), signalName("HEADERS", signal)]
    .map(readSetting)
    .filter((setting) => setting !== undefined)
    .map(({ value, source }) => ({ value: parseHeaders(value, source), source }));
}

/** Parses `name=value,name=value` with percent-encoding; empty parts are skipped. */
function parseHeaders(text: string, source: string): Record<string, string> {
  const headers = new Map<string, string>();
  for (const [index, part] of text.split(",").entries()) {
    if (part.trim() === "") continue;
    const position = `${source}: header ${index + 1}`;
    const equals = part.indexOf("=");
    if (equals < 0) {
      throw new Error(
        `${position} does not have the form name=value; write a comma in a value as %2C`,
      );
    }
    const name = decodePercent(part.slice(0, equals).trim(), position);
    checkHeaderName(name, position);
    const value = decodePercent(part.slice(equals + 1).trim(), `${position} (${name})`);
    checkHeaderValue(name, value, position);
    headers.set(name, value);
  }
  // Unlike an assignment, this does not set the prototype.
  return Object.fromEntries(headers);
}

function decodePercent(text: string, position: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error(`${position} is not percent-encoded UTF-8; write a plain % as %25`);
  }
}
