import { PATH_PREFIX } from "../runtime/path-prefix.ts";
import { parseNetwork } from "../runtime/networks.ts";
import { AUDIT_LOGGER, LEVELS, rankOfName, type Level } from "../wire/envelope.ts";
import { ACCESS_SCOPES } from "../wire/access-scopes.ts";
import { textOf } from "../wire/errors.ts";
import { parseAccessFilter, parseFilter } from "../filter/filter.ts";
import { z, type OptionSchema } from "../plugin/index.ts";
import { ERR, INGESTED_BY, RENAME_PREFIX, RESERVED } from "../envelope/attributes.ts";
import { EVENT_KEY } from "../envelope/event-key.ts";
import type { Section } from "./built-ins.ts";

const LEVEL_NAMES = [...LEVELS, "WARN", "FATAL"];
const LEVEL_EXPECTED = `expected one of ${LEVELS.join(", ")}`;

/** A level in upper or lower case. Editors offer the members of the enumeration. */
const levelName = z
  .union([z.enum(LEVELS), z.string().regex(eitherCase(LEVEL_NAMES), LEVEL_EXPECTED)], {
    error: LEVEL_EXPECTED,
  })
  .meta({ title: LEVELS.join(", ") });

const GIB = 1 << 30;

function retentionDays(what: string, days: number) {
  return z
    .number()
    .positive()
    .max(36_500)
    .default(days)
    .describe(`${what} older than this many days are deleted.`);
}

function retentionBytes(what: string) {
  return z
    .int()
    .min(1 << 20)
    .default(GIB)
    .describe(`If ${what} take up more bytes than this on disk, the oldest are deleted.`);
}

export const journalSchema = z.strictObject({
  engine: z
    .enum(["sqlite", "memory"])
    .default("sqlite")
    .describe(
      "`sqlite` stores records in `journal.db` in the log directory; `memory` loses them when the gateway stops.",
    ),
  system_days: retentionDays("System logs", 7),
  system_bytes: retentionBytes("system logs"),
  audit_days: retentionDays("Audit events", 90),
  audit_bytes: retentionBytes("audit events"),
});

const path = z
  .string()
  .min(1)
  .refine((text) => !text.startsWith("~"), "~ is not expanded; write ${env:HOME}")
  .refine((text) => !text.includes("\0"), "a path must not contain NUL characters");

const TLS_VERSIONS = ["1.2", "1.3"] as const;

export const tlsSchema = z.strictObject({
  certificate: path.describe(
    "File with the gateway's certificate in PEM format and the intermediate certificates after it, relative to the configuration file. Read again when it changes.",
  ),
  key: path.describe(
    "File with the certificate's private key in PEM format, without a passphrase. It must not be accessible to all users; a group may read it.",
  ),
  client_ca: path
    .optional()
    .describe(
      "File with the authorities, in PEM format, whose client certificates are accepted. Clients without a certificate can still connect, and need another way to authenticate.",
    ),
  min_version: z
    // YAML reads 1.2 without quotes as a number.
    .union([z.enum(TLS_VERSIONS), z.literal([1.2, 1.3])], { error: "expected 1.2 or 1.3" })
    .meta({ title: "1.2 or 1.3" })
    .default("1.2")
    .describe("The lowest version of TLS that is accepted.")
    .transform((version) => String(version) as (typeof TLS_VERSIONS)[number]),
  hsts_seconds: z
    .int()
    .min(0)
    .max(63_072_000)
    .default(0)
    .describe(
      "If not 0, browsers use only HTTPS for this long after a visit (`Strict-Transport-Security`). It applies to every port of the host name, so plain HTTP services beside the gateway stop working in browsers.",
    ),
});

export const httpSchema = z.strictObject({
  max_connections: z
    .int()
    .min(1)
    .default(1000)
    .describe(
      "Maximum number of open connections to one port. When it is reached, a new connection replaces an idle one or is rejected, over HTTP with 503. WebSocket connections do not count; the exporter `websocket` has its own limit.",
    ),
  max_connections_per_address: z
    .int()
    .min(1)
    .default(1000)
    .describe(
      "The same for one remote address. All clients behind a proxy or a tunnel share one address.",
    ),
  max_websockets_per_address: z
    .int()
    .min(1)
    .nullable()
    .default(null)
    .describe(
      "Maximum number of WebSockets of one remote address; further ones are rejected with 429 and Retry-After. An IPv6 network (/64) counts as one address. null: no limit but that of the exporter `websocket`.",
    ),
  max_ingest_bytes_per_second_per_address: z
    .int()
    .min(1024)
    .nullable()
    .default(null)
    .describe(
      "How much one remote address may send over OTLP on average, in bytes after decompression. Bursts of five seconds and single requests may exceed it; then requests are answered with 429 and Retry-After, over gRPC with RESOURCE_EXHAUSTED, until the average is reached again. null: no limit.",
    ),
  max_answer_bytes: z
    .int()
    .min(1 << 20)
    .default(64 << 20)
    .describe(
      "Memory for all responses that clients have not read yet. When it runs short, pages get smaller; then requests are answered with 503.",
    ),
  write_timeout_seconds: z
    .number()
    .positive()
    .max(3600)
    .default(10)
    .describe("A client that reads nothing of its response for this long is disconnected."),
  max_searches: z
    .int()
    .min(1)
    .default(4)
    .describe(
      "Maximum number of concurrent searches of the journal (`/api/logs`, `/api/counts`, `/api/fields`, `/api/patterns`).",
    ),
  max_queued_searches: z
    .int()
    .min(0)
    .default(64)
    .describe(
      "Maximum number of queued searches; further ones are answered with 503 and Retry-After.",
    ),
});

const headerName = z
  .string()
  .regex(/^[A-Za-z0-9-]+$/, "expected the name of a header, such as X-Forwarded-User")
  .meta({ title: "header name" });

const SCOPE_NAMES = ["ingest", "read", ...ACCESS_SCOPES] as const;

const grants = z
  .record(
    z.string(),
    z.strictObject({
      scopes: z.array(z.enum(SCOPE_NAMES)).min(1).describe("What they may do."),
      filter: z
        .string()
        .refine(isFilter, "expected a filter, such as type:audit or -logger:orchestrator.debug")
        .optional()
        .describe("They read only records that match this filter."),
    }),
  )
  .default({});

export const proxySchema = z.strictObject({
  user_header: headerName.describe(
    "Header in which the proxy sends the name of the user. It counts only from `trusted_proxies`, and the proxy must replace it in what clients send.",
  ),
  groups_header: headerName
    .optional()
    .describe("Header in which the proxy sends the user's groups, separated by commas."),
  groups: grants
    .meta({ title: "mapping of groups to `scopes` and `filter`" })
    .describe("What the members of a group may do, such as `ops: { scopes: [admin] }`."),
  users: grants
    .meta({ title: "mapping of users to `scopes` and `filter`" })
    .describe("What a user may do, beside what the user's groups may."),
});

export const sessionsSchema = z.strictObject({
  idle_minutes: z
    .number()
    .positive()
    .max(7 * 24 * 60)
    .default(60)
    .describe(
      "A session ends if it is not used for this long. A dashboard uses it as long as it is visible.",
    ),
  absolute_hours: z
    .number()
    .positive()
    .max(30 * 24)
    .default(12)
    .describe("A session ends this long after the login, however it is used."),
  survive_restart: z
    .boolean()
    .default(false)
    .describe(
      "Whether users stay signed in when the gateway restarts. The hashes of their sessions are then in `sessions.json` in the log directory.",
    ),
});

export const authSchema = z.strictObject({
  tokens_file: path
    .optional()
    .describe(
      "Path of the file with the hashes of tokens, relative to the configuration file. Nobody but its owner may write to it, and others must not be able to read it. Default: `tailgate/tokens.json` under XDG_CONFIG_HOME or ~/.config.",
    ),
  sessions: sessionsSchema
    .prefault({})
    .meta({ title: "mapping" })
    .describe("How long browsers stay signed in."),
  access_trail: z
    .boolean()
    .default(true)
    .describe(
      "Whether logins, failures, changed tokens and exports are recorded as audit events of `orchestrator.audit.access` (a child of the first of `audit_loggers`).",
    ),
  max_connections_per_principal: z
    .int()
    .min(1)
    .nullable()
    .default(null)
    .describe(
      "Maximum number of WebSockets, concurrent requests to the main port, and connections to the OTLP/HTTP port that one token, user or certificate may have; further requests are answered with 429 and Retry-After. null: no limit.",
    ),
  max_ingest_bytes_per_second_per_principal: z
    .int()
    .min(1024)
    .nullable()
    .default(null)
    .describe(
      "How much one token, user or certificate may send over OTLP on average, like `http.max_ingest_bytes_per_second_per_address`. null: no limit.",
    ),
  proxy: proxySchema
    .optional()
    .meta({ title: "mapping" })
    .describe("Users whom a reverse proxy authenticates."),
  certificates: grants
    .meta({ title: "mapping of certificates to `scopes` and `filter`" })
    .describe(
      "What clients with a certificate of `tls.client_ca` may do, by a name in the certificate or its SHA-256 fingerprint.",
    ),
});

/** The names of what the gateway itself adds to an envelope, and with the prefix of renamed attributes. */
function isOwnName(name: string): boolean {
  return OWN_NAMES.has(name) || RESERVED.has(name) || name.startsWith(RENAME_PREFIX);
}

const OWN_NAMES: ReadonlySet<string> = new Set([
  "service",
  "trace_id",
  "span_id",
  "event_name",
  "severity_text",
  INGESTED_BY,
  ERR,
]);

export const envelopeSchema = z.strictObject({
  resource_attributes: z
    .array(
      z
        .string()
        .min(1)
        .max(256)
        .refine((name) => name.isWellFormed(), "it is not well-formed Unicode")
        .refine((name) => !isOwnName(name), "envelopes have another field of this name")
        .meta({ title: "attribute names" }),
    )
    .max(32)
    .refine((names) => new Set(names).size === names.length, "a name is repeated")
    .default([])
    .describe(
      "Attributes of the resource, such as `host.name`, that system logs get as extras and audit events as metadata, unless the record has an attribute of that name.",
    ),
});

/** The top-level keys, except `receivers`, `processors` and `exporters`. */
export const settingsSchema = z.object({
  host: z
    .string()
    .min(1)
    .default("127.0.0.1")
    .describe(
      "Address to bind to. Any but loopback (127.0.0.0/8, ::1, localhost) needs `auth` and `tls`, or `insecure`.",
    )
    .transform(stripBrackets),
  port: z
    .int()
    .min(0)
    .max(65_535)
    .nullable()
    .default(8001)
    .describe(
      "Port of the dashboard, WebSocket, API, health, metrics and OTLP/HTTP. 0 picks a free port; null opens none, if `listen` names a socket.",
    ),
  listen: z
    .string()
    .regex(
      /^unix:./,
      "expected unix: and the path of a socket, such as unix:/run/tailgate/tailgate.sock",
    )
    .meta({ title: "unix:PATH" })
    .optional()
    .describe(
      "Unix socket that serves the same as `port`, without TLS, for a proxy on the same machine. The path is relative to the configuration file; its directory must exist.",
    ),
  listen_mode: z
    .string('expected octal digits in quotes, such as "0660"')
    .regex(/^0?[0-7]{3}$/, 'expected octal digits in quotes, such as "0660"')
    .meta({ title: "octal digits" })
    .default("0660")
    .describe("Permissions of the socket: whoever may write to it may connect."),
  tls: tlsSchema
    .meta({ title: "mapping" })
    .optional()
    .describe("TLS for `port` and for the ports of receivers."),
  insecure: z
    .boolean()
    .default(false)
    .describe(
      "Accepts an address other than loopback without `auth` or `tls`, for example in a container behind a proxy. What is missing is logged at every start.",
    ),
  base_path: z
    .string()
    .min(1)
    .regex(PATH_PREFIX, "expected a path such as /tailgate, of letters, digits, and . _ ~ -")
    .meta({ title: "path" })
    .default("/")
    .describe(
      "Path below which the main port serves everything, for a proxy that passes on paths as they are. `/healthz`, `/readyz` and `/metrics` are also served without it.",
    )
    .transform(withoutSlash),
  trusted_proxies: z
    .array(
      z
        .string()
        .refine(
          (text) => parseNetwork(text) !== undefined,
          "expected an address or a network such as 127.0.0.1 or 10.0.0.0/8, and not all addresses",
        )
        .meta({ title: "addresses and networks" }),
    )
    .default([])
    .describe(
      "Addresses of reverse proxies whose `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` count. Over a Unix socket they always count.",
    ),
  log_dir: path
    .default("/tmp/madrox_logs")
    .describe(
      "Directory for the journal and the log files, relative to the working directory; created if absent.",
    ),
  log_level: levelName
    .default("INFO")
    .describe(
      "Minimum level of system logs. Audit events are accepted from INFO up, regardless of this setting.",
    )
    .transform(parseLevel),
  audit_loggers: z
    .array(
      z
        .string()
        .regex(
          /^[^\s.](?:[^\n]*[^\s.])?$/,
          `expected the name of a logger, such as ${AUDIT_LOGGER}, without leading or trailing spaces or dots`,
        )
        .meta({ title: "logger names" }),
    )
    .min(1, "expected at least one logger: in process, audit events are logged with the first one")
    .default([AUDIT_LOGGER])
    .describe(
      "Loggers whose records, and those of their child loggers, are audit events. In process, `audit()` uses the first one.",
    ),
  envelope: envelopeSchema
    .prefault({})
    .meta({ title: "mapping" })
    .describe("What envelopes have beside their record's own attributes."),
  journal: journalSchema
    .prefault({})
    .meta({ title: "mapping" })
    .describe("Where records are stored, and for how long."),
  audit_key_file: path
    .optional()
    .describe(
      "Path of the private key that signs the audit trail's checkpoints, outside the log directory; created if absent. Default: `tailgate/audit-key.pem` under XDG_CONFIG_HOME or ~/.config.",
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
    .describe(
      "Host names and origins, other than loopback, under which browsers may reach the gateway.",
    ),
  trust_default_origins: z
    .boolean()
    .default(true)
    .describe(
      "Whether pages of http://localhost:3000 and http://127.0.0.1:3000, where the frontend of Madrox runs, can read logs over the WebSocket.",
    ),
  auth: authSchema
    .optional()
    .meta({ title: "mapping" })
    .describe(
      "Turns authentication on: requests need a token or another credential with the right scope. `{}` is enough. Without this key everyone who can open a connection may read and write everything.",
    ),
  http: httpSchema.prefault({}).meta({ title: "mapping" }).describe("Limits of the HTTP server."),
  trace_url: z
    .string()
    .regex(
      /^https?:\/\/[^\s/?#{}@]+\/\S*\{trace_id\}\S*$/,
      "expected an http or https URL with {trace_id} after its host, such as https://jaeger.example/trace/{trace_id}",
    )
    .meta({ title: "URL with `{trace_id}`" })
    .optional()
    .describe("Target of the dashboard's links to traces, such as Jaeger or Grafana."),
});

const use = z
  .string()
  .min(1)
  .optional()
  .describe(
    "The plugin's file (./mine.js, relative to the configuration file) or its npm package.",
  );

/** The keys of every component that belong to the gateway and not to the plugin. */
export const GENERIC_SCHEMAS = {
  receivers: z.object({
    use,
    attributes: z
      .record(
        z
          .string()
          .min(1, "expected the name of an attribute")
          .max(256)
          .refine((name) => name !== EVENT_KEY, "it must differ from record to record"),
        z.union([z.string(), z.number(), z.boolean()], {
          error: "expected text, number or boolean",
        }),
      )
      .optional()
      .meta({ title: "mapping of names to texts, numbers or booleans" })
      .describe(
        "Attributes that records of this receiver get, such as `environment: prod`. One that the record has already stays as it is.",
      ),
  }),
  processors: z.object({
    use,
    on_error: z
      .enum(["fail", "keep", "drop"])
      .optional()
      .describe(
        "What happens to a record that the processor fails on. `fail` rejects it and tells its sender; `keep` stores it as the processor left it; `drop` drops it. All are counted. Default: `fail` for audit events and for processors that remove secrets, `keep` for other system logs.",
      ),
  }),
  exporters: z.object({
    use,
    level: levelName
      .optional()
      .describe("Minimum level of the records that this exporter gets.")
      .transform((name) => name && parseLevel(name)),
    filter: z
      .string()
      .superRefine((text, context) => {
        const flaw = filterFlaw(text);
        if (flaw !== undefined) context.addIssue(flaw);
      })
      .meta({ title: "filter" })
      .optional()
      .describe(
        "Filter that the records of this exporter match, such as `type:audit action:deploy` or `level:ERROR -heartbeat`. Other records are counted as filtered. `audit-file` needs all audit events and has none.",
      ),
    queue_bytes: z
      .int()
      .min(1)
      .default(67_108_864)
      .describe(
        "Capacity in bytes of the queue of a live exporter (`websocket`, `console`), for each type of record. On overflow, the least severe system logs are dropped first. Other exporters read from the journal and need no queue.",
      ),
    timeout_seconds: z
      .number()
      .positive()
      .max(86_400)
      .default(30)
      .describe("Time limit of one write; after it the write is aborted and retried."),
  }),
} as const satisfies Record<Section, OptionSchema>;

function parseLevel(name: string): Level {
  return LEVELS[rankOfName(name)!];
}

/** Node expects `::1`; people also write `[::1]`, as in a URL. */
function stripBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}

function withoutSlash(text: string): string {
  return text.replace(/\/$/, "");
}

/** Returns why the text is not a filter; undefined if it is one. */
function filterFlaw(text: string): string | undefined {
  try {
    parseFilter({ q: text });
    return undefined;
  } catch (error) {
    return textOf(error);
  }
}

function isFilter(text: string): boolean {
  try {
    parseAccessFilter(text);
    return true;
  } catch {
    return false;
  }
}

function eitherCase(names: readonly string[]): RegExp {
  const letters = names.map((name) =>
    name.replaceAll(/./g, (letter) => `[${letter}${letter.toLowerCase()}]`),
  );
  return new RegExp(`^(${letters.join("|")})$`);
}
