import { isDeepStrictEqual } from "node:util";
import { parse, stringify } from "yaml";
import { resolveConfig, type Config } from "tailgate";
import { isSecretKey } from "../../../src/config/secrets.ts";
import { TailgateError } from "tailgate";
import { mutated } from "../mutation.ts";
import { lengthOf, type Random } from "../random.ts";
import type { FuzzTarget, Timed } from "../target.ts";

/** Configuration files. Each is rejected with a code and without revealing a secret, or gives a complete configuration. */
export function config(): FuzzTarget {
  return { input: configInput, check };
}

const SECRET = "correct-horse-battery";

const ENV = { PORT: "8123", SECRET, EMPTY: "", LIST: "[1]" };

type Mapping = Record<string, unknown>;

/** Options with values that are valid or almost valid. */
const SETTINGS: Readonly<Record<string, readonly unknown[]>> = {
  host: ["127.0.0.1", "[::1]", "localhost", "0.0.0.0", "", "127.0.0.1.example.com", 127],
  port: [0, 8001, 65_535, 65_536, -1, 1.5, "8001", "${env:PORT}", "${env:MISSING:-1}", 1e21],
  log_dir: ["logs", "/tmp/x", "~", "a\u0000b", "${env:MISSING}", "$${x}", "${", ""],
  log_level: ["INFO", "warn", "Fatal", "ınfo", "LOUD", 3],
  allowed_hosts: [[], ["example.com"], ["https://a.example"], ["*"], "example.com", [""]],
  trace_url: ["https://jaeger.example/trace/{trace_id}", "https://user@host/{trace_id}", "x"],
  audit_key_file: ["key.pem", "~/key.pem", ""],
  journal: [{}, { engine: "memory" }, { system_days: 0.5 }, { audit_bytes: 1 }, null, "sqlite"],
  tls: [{ key: SECRET }],
};
const PLUGINS = {
  receivers: ["otlp", "otlp/b", "file", "nonsense"],
  processors: ["redact", "nonsense"],
  exporters: ["websocket", "file", "file/b", "audit-file", "console", "otlp", "spans", "webhook/a"],
};
const OPTIONS: Readonly<Record<string, readonly unknown[]>> = {
  port: [0, 4318, null, "4318"],
  path: ["a.log", "../a.log", "/ws", ""],
  max_bytes: [1, 0, 1e9],
  endpoint: ["http://127.0.0.1:4318", `http://user:${SECRET}@127.0.0.1:4318`, "127.0.0.1:4318"],
  headers: [{ authorization: SECRET }, { "x-key": [SECRET] }],
  password: [SECRET, [SECRET], { nested: SECRET }, "${env:SECRET}", 1234],
  filter: ["type:audit", "level:LOUD", '"'],
  level: ["WARNING", "LOUD"],
  use: ["./missing.js", "tailgate-plugin-missing", "", "node:fs", "."],
  queue_bytes: [1, 0, "1"],
  timeout_seconds: [1, 1e9],
};

/** Texts that are valid in YAML but not as a configuration, or that are slow to parse. */
const ODD_TEXTS: readonly ((length: number) => string)[] = [
  (length) => "[".repeat(length),
  (length) => "{a: ".repeat(length),
  (length) => "- ".repeat(length),
  (length) => `a: ${"9".repeat(length)}`,
  (length) => `a: ${'"'.repeat(length)}`,
  (length) => "? [a]\n: b\n".repeat(length / 10),
  (length) => `port: &a ${"x".repeat(length)}\nhost: *a\n`,
  () => "a: &a [*a]",
  () => "a: &a {b: *b}",
  (length) => aliases(Math.min(30, length)),
  () => "<<: {port: 1}",
  () => "port: !!binary aGVsbG8=\n!!binary aGVsbG8=: 1",
  () => "port: !<tag:yaml.org,2002:js/function> 'x'",
  () => "%YAML 9.9\n---\nport: 1\n---\nport: 2",
  () => "port: 1\nport: 2",
  () => "__proto__: {port: 1}\nconstructor: {prototype: {x: 1}}",
  (length) => "key: value\n".repeat(length / 10),
  (length) => Array.from({ length: length / 4 }, (_, index) => `k${index}: 1`).join("\n"),
  (length) => " ".repeat(length) + "\t",
  (length) => `host: "${"${".repeat(length)}"`,
  (length) => `host: "${"${env:A:-".repeat(length)}"`,
];

/** Each list contains the previous one nine times. */
function aliases(levels: number): string {
  const lines = Array.from({ length: levels }, (_, level) => {
    const repeated = Array.from({ length: 9 }, () => `*a${level}`).join(", ");
    return `a${level + 1}: &a${level + 1} [${repeated}]`;
  });
  return ["a0: &a0 [x]", ...lines].join("\n");
}

function configInput(random: Random): Uint8Array {
  if (random.once(20)) {
    return Buffer.from(random.pick(ODD_TEXTS)(random.once(4) ? 2000 : lengthOf(random) % 1000));
  }
  const document = configDocument(random);
  const text = random.once(2) ? JSON.stringify(document) : stringify(document);
  return random.once(2) ? Buffer.from(text) : mutated(Buffer.from(text), random);
}

function configDocument(random: Random): Mapping {
  const document = someOf(SETTINGS, 8, random);
  for (const [section, ids] of Object.entries(PLUGINS)) {
    if (!random.once(3)) continue;
    const bodies = random.list(3, () => [
      random.pick(ids),
      random.once(6) ? null : options(random),
    ]);
    document[section] = random.once(12)
      ? random.pick([null, [], "otlp"])
      : Object.fromEntries(bodies);
  }
  if (random.once(10)) document[random.pick(["prot", "exporter", "", "__proto__", "a b"])] = 1;
  return document;
}

function options(random: Random): Mapping {
  return someOf(OPTIONS, 4, random);
}

function someOf(
  known: Readonly<Record<string, readonly unknown[]>>,
  every: number,
  random: Random,
): Mapping {
  const chosen = Object.entries(known).filter(() => random.once(every));
  return Object.fromEntries(chosen.map(([name, values]) => [name, random.pick(values)]));
}

async function check(input: Uint8Array, timed: Timed): Promise<void> {
  const text = Buffer.from(input).toString();
  const resolved = await resolution(text, timed);
  if (typeof resolved === "string") return checkMessage(resolved, text);
  checkConfig(resolved);
  const again = await resolution(text, timed);
  if (!isDeepStrictEqual(again, resolved))
    throw new Error("Resolving it again gives another configuration.");
}

/** Returns the error message if the file is rejected. */
async function resolution(text: string, timed: Timed): Promise<Config | string> {
  try {
    return await timed(() => resolveConfig({ text, cwd: "/nonexistent", env: ENV, flags: {} }));
  } catch (error) {
    if (TailgateError.is(error) && error.code !== "INTERNAL") return error.message;
    throw error;
  }
}

function checkConfig(resolved: Config): void {
  const { host, port, logDir, logLevel, exporters } = resolved;
  const isPort = Number.isInteger(port) && port! >= 0 && port! <= 65_535;
  if (!isPort && !(port === null && resolved.socket)) throw new Error(`The port is ${port}.`);
  const isLoopback = /^(127(\.\d{1,3}){3}|::1|localhost)$/i.test(host);
  if (isLoopback === (resolved.exposure !== undefined)) throw new Error(`The host is ${host}.`);
  if (!logDir.startsWith("/")) throw new Error(`The directory is ${logDir}.`);
  if (!Object.isFrozen(resolved) || !Object.isFrozen(exporters))
    throw new Error("It is not frozen.");
  if (!["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"].includes(logLevel)) {
    throw new Error(`The level is ${logLevel}.`);
  }
}

/** A secret under the key of a secret is never revealed. */
function checkMessage(message: string, text: string): void {
  if (message.includes(SECRET) && isKeptSecret(text)) {
    throw new Error(`The message reveals a secret: ${message}`);
  }
}

function isKeptSecret(text: string): boolean {
  try {
    return secretPlaces(parse(text)).every(Boolean);
  } catch {
    return false;
  }
}

/** For each value that contains the secret, whether its key marks it as secret. */
function secretPlaces(value: unknown, isSecret = false): boolean[] {
  if (typeof value === "string") {
    return value.includes(SECRET) ? [isSecret || value.includes(`:${SECRET}@`)] : [];
  }
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key.includes(SECRET) ? [false] : secretPlaces(inner, isSecret || isSecretKey(key)),
  );
}
