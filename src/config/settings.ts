import { AUDIT_LOGGER, LEVELS, rankOfName, type Level } from "../wire/envelope.ts";
import { z, type OptionSchema } from "../plugin/index.ts";
import type { Section } from "./built-ins.ts";

const LEVEL_NAMES = [...LEVELS, "WARN", "FATAL"];
const LEVEL_EXPECTED = `expected one of ${LEVELS.join(", ")}`;

/** A level in any case. The enumeration is what editors offer. */
const levelName = z
  .union([z.enum(LEVELS), z.string().regex(anyCase(LEVEL_NAMES), LEVEL_EXPECTED)], {
    error: LEVEL_EXPECTED,
  })
  .meta({ title: LEVELS.join(", ") });

const GIB = 1 << 30;

function daysKept(what: string, days: number) {
  return z
    .number()
    .positive()
    .max(36_500)
    .default(days)
    .describe(`${what} of more days ago are deleted.`);
}

function bytesKept(what: string) {
  return z
    .int()
    .min(1 << 20)
    .default(GIB)
    .describe(`Where ${what} take more bytes than this on the disk, the oldest are deleted.`);
}

/** The keys of `journal`. */
export const journalSchema = z.strictObject({
  engine: z
    .enum(["sqlite", "memory"])
    .default("sqlite")
    .describe(
      "`sqlite` keeps records in `journal.db` in the log directory; `memory` forgets them at the end.",
    ),
  system_days: daysKept("System logs", 7),
  system_bytes: bytesKept("system logs"),
  audit_days: daysKept("Audit events", 90),
  audit_bytes: bytesKept("audit events"),
});

/** The keys of `http`. */
export const httpSchema = z.strictObject({
  max_connections: z
    .int()
    .min(1)
    .default(1000)
    .describe(
      "Connections that may be open to one port. Idle ones give way to new ones; beyond that they are refused, with 503 over HTTP. An open WebSocket does not count here; the exporter `websocket` has its own limit.",
    ),
  max_connections_per_address: z
    .int()
    .min(1)
    .default(1000)
    .describe(
      "The same for one remote address. All clients behind a proxy or a tunnel have the same address.",
    ),
  max_answer_bytes: z
    .int()
    .min(1 << 20)
    .default(64 << 20)
    .describe(
      "Memory for answers that clients have not read yet, all together. If it runs short, answers get shorter, then 503.",
    ),
  write_timeout_seconds: z
    .number()
    .positive()
    .max(3600)
    .default(10)
    .describe("A client that reads nothing of its answer for this long is disconnected."),
  max_searches: z
    .int()
    .min(1)
    .default(4)
    .describe("Searches of the journal (`/api/logs`, `/api/counts`) that run at the same time."),
  max_queued_searches: z
    .int()
    .min(0)
    .default(64)
    .describe("Searches that wait for their turn; more are answered 503 with Retry-After."),
});

/** The gateway's own keys. Receivers, processors and exporters stand beside them. */
export const settingsSchema = z.object({
  host: z
    .string()
    .min(1)
    .default("127.0.0.1")
    .describe("Address to bind to. Only loopback is accepted: 127.0.0.0/8, ::1, localhost.")
    .transform(withoutBrackets),
  port: z
    .int()
    .min(0)
    .max(65_535)
    .default(8001)
    .describe("Port of dashboard, WebSocket, API, health, metrics and OTLP. 0 picks a free one."),
  log_dir: z
    .string()
    .min(1)
    .refine((path) => !path.startsWith("~"), "~ is not expanded; write ${env:HOME}")
    .refine((path) => !path.includes("\0"), "a path has no NUL characters")
    .default("/tmp/madrox_logs")
    .describe("Directory of the log files, relative to the working directory; created if absent."),
  log_level: levelName
    .default("INFO")
    .describe("System logs below it are not taken in. Audit events are taken from INFO up.")
    .transform(levelOf),
  audit_loggers: z
    .array(
      z
        .string()
        .regex(
          /^[^\s.](?:[^\n]*[^\s.])?$/,
          `expected the name of a logger, such as ${AUDIT_LOGGER}, without spaces or dots around it`,
        )
        .meta({ title: "logger names" }),
    )
    .min(1, "expected at least one logger: in process, the first one logs the audit events")
    .default([AUDIT_LOGGER])
    .describe(
      "Loggers whose records are audit events, as are those of the loggers below them. In process, `audit` logs with the first one.",
    ),
  journal: journalSchema
    .prefault({})
    .meta({ title: "mapping" })
    .describe("Where all records are kept, and for how long: see below."),
  audit_key_file: z
    .string()
    .min(1)
    .refine((path) => !path.startsWith("~"), "~ is not expanded; write ${env:HOME}")
    .refine((path) => !path.includes("\0"), "a path has no NUL characters")
    .optional()
    .describe(
      "The private key that signs the audit trail's checkpoints, outside the log directory; created if absent. Default: `tailgate/audit-key.pem` under XDG_CONFIG_HOME or ~/.config.",
    ),
  allowed_hosts: z
    .array(
      z
        .string()
        .regex(
          /^(https?:\/\/)?[^\s/*]+$/,
          "expected a host name, host:port, or an origin such as http://localhost:3000",
        )
        .meta({ title: "host name, host:port or origin" }),
    )
    .default([])
    .describe("Names and origins beside loopback's under which browsers may reach the gateway."),
  trust_default_origins: z
    .boolean()
    .default(true)
    .describe(
      "Lets pages of http://localhost:3000 and http://127.0.0.1:3000 reach the gateway: the frontend of the original system runs there.",
    ),
  http: httpSchema
    .prefault({})
    .meta({ title: "mapping" })
    .describe("Limits of the HTTP server: see below."),
  trace_url: z
    .string()
    .regex(
      /^https?:\/\/[^\s/?#{}@]+\/\S*\{trace_id\}\S*$/,
      "expected an http or https URL with {trace_id} behind its host, such as https://jaeger.example/trace/{trace_id}",
    )
    .meta({ title: "URL with `{trace_id}`" })
    .optional()
    .describe("Where the page's links to traces lead, such as Jaeger's or Grafana's."),
});

const use = z
  .string()
  .min(1)
  .optional()
  .describe("The plugin's file (./mine.js, relative to this file) or its npm package.");

/** Keys of every component that are delivery's and not the plugin's. */
const genericSchema = z.object({ use });

/** The same for processors. */
const genericProcessorSchema = z.object({
  use,
  on_error: z
    .enum(["fail", "keep", "drop"])
    .optional()
    .describe(
      "What becomes of a record that it fails on. `fail`: it is rejected, and its sender is told; `keep`: it is kept as the processor left it; `drop`: it is dropped. All are counted. Default: `fail` for audit events, `keep` for system logs.",
    ),
});

/** The same for exporters. */
const genericExporterSchema = z.object({
  use,
  level: levelName
    .optional()
    .describe("A stricter level of this exporter's own.")
    .transform((name) => name && levelOf(name)),
  queue_bytes: z
    .int()
    .min(1)
    .default(67_108_864)
    .describe(
      "What may wait for it, for each type of record. Beyond it the least severe system logs are dropped first.",
    ),
  timeout_seconds: z
    .number()
    .positive()
    .max(86_400)
    .default(30)
    .describe("How long one write may take before it is given up and tried again."),
});

export const GENERIC_SCHEMAS = {
  receivers: genericSchema,
  processors: genericProcessorSchema,
  exporters: genericExporterSchema,
} as const satisfies Record<Section, OptionSchema>;

function levelOf(name: string): Level {
  return LEVELS[rankOfName(name)!];
}

/** Node listens on `::1`, and people write `[::1]` as in a URL. */
function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}

function anyCase(names: readonly string[]): RegExp {
  const letters = names.map((name) =>
    name.replaceAll(/./g, (letter) => `[${letter}${letter.toLowerCase()}]`),
  );
  return new RegExp(`^(${letters.join("|")})$`);
}
