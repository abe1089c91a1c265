/**
 * Reads OTEL_EXPORTER_OTLP_* (https://opentelemetry.io/docs/specs/otel/protocol/exporter/). The variable of a signal
 * comes before the one for all; spaces around a value do not count, and an empty value is none. An invalid value throws:
 * to carry on without it would send records elsewhere, or without their credentials. What may be secret is not shown.
 */

import { validateHeaderName, validateHeaderValue } from "node:http";
import { PROTOCOLS, type Protocol } from "./destination-options.ts";
import type { Signal } from "./signal.ts";

/** A setting, and where it is from: `OTEL_EXPORTER_OTLP_ENDPOINT`, `option endpoint`, `default`. */
export interface Setting<Value = string> {
  readonly value: Value;
  readonly source: string;
}

/** The longest time that a timer takes. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

const COMPRESSIONS = ["gzip", "none"] as const;

export type Compression = (typeof COMPRESSIONS)[number];

/** Returns the value of the signal's variable, or else of the one for all; undefined if neither is set. */
export function variableOf(name: string, signal: Signal): Setting | undefined {
  return [ofSignal(name, signal), generalName(name)].map(settingOf).find(isSet);
}

function ofSignal(name: string, { variable }: Signal): string {
  return `OTEL_EXPORTER_OTLP_${variable}_${name}`;
}

function generalName(name: string): string {
  return `OTEL_EXPORTER_OTLP_${name}`;
}

function settingOf(source: string): Setting | undefined {
  const value = process.env[source]?.trim();
  return value ? { value, source } : undefined;
}

function isSet(setting: Setting | undefined): setting is Setting {
  return setting !== undefined;
}

/** Returns the endpoint, and whether it is for all signals, so that the signal's path is to be added to it. */
export function endpointVariable(
  signal: Signal,
): (Setting<URL> & { readonly isGeneral: boolean }) | undefined {
  const variable = variableOf("ENDPOINT", signal);
  if (variable === undefined) return undefined;
  const { value, source } = variable;
  if (!/^https?:\/\//i.test(value) || !URL.canParse(value)) {
    throw new Error(
      `${source} is no URL that begins with http:// or https://, such as http://127.0.0.1:4318`,
    );
  }
  return { value: new URL(value), source, isGeneral: source === generalName("ENDPOINT") };
}

export function protocolVariable(signal: Signal): Setting<Protocol> | undefined {
  const variable = variableOf("PROTOCOL", signal);
  if (variable === undefined) return undefined;
  const known = PROTOCOLS.find((one) => one === variable.value.toLowerCase());
  if (known !== undefined) return { value: known, source: variable.source };
  throw new Error(
    `${variable.source} is ${variable.value}, and this exporter speaks ${PROTOCOLS.join(" and ")}; its option protocol overrides it`,
  );
}

export function compressionVariable(signal: Signal): Setting<Compression> | undefined {
  const variable = variableOf("COMPRESSION", signal);
  if (variable === undefined) return undefined;
  const known = COMPRESSIONS.find((one) => one === variable.value.toLowerCase());
  if (known !== undefined) return { value: known, source: variable.source };
  throw new Error(`${variable.source} is ${variable.value}; expected ${COMPRESSIONS.join(" or ")}`);
}

/** In milliseconds; 0 stands for no limit. */
export function timeoutVariable(signal: Signal): Setting<number> | undefined {
  const variable = variableOf("TIMEOUT", signal);
  if (variable === undefined) return undefined;
  const { value, source } = variable;
  const timeoutMs = /^\d+$/.test(value) ? Number(value) : Infinity;
  if (timeoutMs <= TIMEOUT_MS_MAX) return { value: timeoutMs, source };
  throw new Error(
    `${source} is ${value}; expected an integer from 0 to ${TIMEOUT_MS_MAX}, in milliseconds`,
  );
}

/** Returns the headers for all signals, then those of the signal, which come before them. */
export function headerVariables(signal: Signal): Setting<Record<string, string>>[] {
  return [generalName("HEADERS"), ofSignal("HEADERS", signal)]
    .map(settingOf)
    .filter(isSet)
    .map(({ value, source }) => ({ value: headersIn(value, source), source }));
}

/** Reads `name=value,name=value` with percent-encoding; parts that are empty are left out. */
function headersIn(text: string, source: string): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [index, part] of text.split(",").entries()) {
    if (part.trim() === "") continue;
    const place = `${source}: header ${index + 1}`;
    const equals = part.indexOf("=");
    if (equals < 0) {
      throw new Error(`${place} is not of the form name=value; write a comma in a value as %2C`);
    }
    const name = decoded(part.slice(0, equals).trim(), place);
    checkHeaderName(name, place);
    const value = decoded(part.slice(equals + 1).trim(), `${place} (${name})`);
    checkHeaderValue(name, value, place);
    headers[name] = value;
  }
  return headers;
}

/** The option's headers, checked in the same way. */
export function headerOption(headers: Readonly<Record<string, string>>): Setting<typeof headers> {
  const source = "option headers";
  for (const [index, [name, value]] of Object.entries(headers).entries()) {
    checkHeaderName(name, `${source}: header ${index + 1}`);
    checkHeaderValue(name, value, source);
  }
  return { value: headers, source };
}

/** The name is not shown: it may be a part of what should be a value. */
function checkHeaderName(name: string, place: string): void {
  check(() => validateHeaderName(name), `${place} does not begin with the name of a header`);
}

function checkHeaderValue(name: string, value: string, place: string): void {
  const text = `${place} (${name}) has a value with characters that no header can have`;
  check(() => validateHeaderValue(name, value), text);
}

function decoded(text: string, place: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error(`${place} is not percent-encoded UTF-8; write a plain % as %25`);
  }
}

function check(validate: () => void, text: string): void {
  try {
    validate();
  } catch {
    throw new Error(text);
  }
}
