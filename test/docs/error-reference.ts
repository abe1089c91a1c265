import { ERROR_CODES, TailgateError, type ErrorCode } from "../../src/wire/errors.ts";

/** What happened, for each code. The text of the error itself says what to do, and often what became of the data. */
const MEANINGS: Readonly<Record<ErrorCode, string>> = {
  USAGE: "The command line was not understood: an unknown command or option, or an invalid value.",
  NODE_UNSUPPORTED:
    'This Node.js is too old, or belongs to a line that is no longer maintained. Both the command and `import "tailgate"` report it.',
  PACKAGE_INCOMPLETE:
    "A file of the package is missing. Usually, Tailgate was bundled into a program but is not installed where the bundle runs, or the bundle has no `require`. See [In-process logging](guides/in-process.md#bundling).",
  CONFIG_INVALID:
    "The configuration is invalid. The message lists the problems, one per line, each with the path of its key and, if possible, a suggestion. The gateway did not start.",
  CONFIG_UNREADABLE: "The file that `--config` names does not exist or cannot be read.",
  BIND_REFUSED:
    "`host` is not a loopback address, and `auth` or `tls` is not configured. The message names what is missing. See [TLS](deployment/tls.md#listen-on-the-network).",
  TLS_UNUSABLE:
    "A file of [`tls`](configuration.md#tls) cannot be read or used: the certificate and the key do not belong together, or the key is encrypted or accessible to all users. A running gateway does not end: it logs the error and keeps the previous certificate.",
  PLUGIN_NOT_FOUND: "No built-in plugin and no installed package has this name.",
  PLUGIN_INVALID: "The file is not a plugin, or importing it failed.",
  PLUGIN_API_MISMATCH:
    "The plugin was built for another version of the plugin interface; the message names both versions.",
  PLUGIN_OPEN_FAILED:
    "The plugin could not start, so the gateway did not start either. The message has the reason. A running gateway that [reloads](operations/reload.md) its configuration continues with the previous one.",
  RELOAD_REFUSED:
    "The changed configuration is valid, but the gateway cannot apply the listed keys while it runs. None of its changes are in force. See [Hot reload](operations/reload.md).",
  RELOAD_FAILED:
    "A changed configuration could not be applied, because an exporter could not be stopped.",
  PORT_IN_USE:
    "Another program listens on the port or the socket, perhaps another gateway. On 4317 it is often a collector: set `receivers.otlp.grpc_port` to another port, or to `null` to disable gRPC.",
  SENDS_TO_ITSELF:
    "An exporter's endpoint, or a `pass_on_to`, is a port of this gateway. Each record would come back forever.",
  LISTEN_FAILED:
    "The operating system rejected the address or the port, such as a port below 1024. Or the socket of `listen` cannot be created: its directory does not exist, or another file has its name.",
  LOG_DIR_UNUSABLE:
    "The log directory is not writable, is a symbolic link, belongs to another user, or is writable by all users.",
  LOG_DIR_IN_USE: "Another gateway has the journal of this log directory open.",
  JOURNAL_UNUSABLE:
    "`journal.db` cannot be opened: it is a symbolic link, belongs to another user, or was written by a newer version of Tailgate. The message has the reason. Nothing was changed.",
  AUDIT_KEY_UNUSABLE:
    "The private key of the audit trail is not an Ed25519 key, or other users could read or replace it.",
  AUDIT_KEY_NOT_CREATED: "`audit_key_file` does not exist, and its directory is not writable.",
  AUDIT_UNREADABLE: "`tailgate audit verify` could not read the trail, a key or a checkpoint.",
  AUDIT_UNPROVEN:
    "No signed checkpoint covers the audit trail, so it may have been replaced as a whole.",
  AUDIT_TRAIL_BROKEN:
    "The audit trail was changed. The message names the first file and line that do not match, and says what that means.",
  GATEWAY_UNREACHABLE:
    "`tailgate tail` found no gateway at the address. Or `audit()` of a [worker process](guides/workers.md) reached none, and the event was not stored.",
  RECORDS_LOST:
    "`tailgate pipe` has ended, and the gateway did not accept all records in time. The message says how many, and why. `tailgate pipe` waits five seconds for the last ones.",
  INPUT_FAILED: "`tailgate pipe` could not read its input, for example because it is a directory.",
  OUTPUT_FAILED:
    "A command could not write its output, for example because stdout is a file on a full disk.",
  FILTER_INVALID:
    "A filter was not understood, or exceeds a [limit](reference/filters.md#limits). The message names the term. Over HTTP, the status is 400.",
  SCOPE_INVALID: "A token or a mapping in the configuration names a scope that does not exist.",
  UNAUTHENTICATED:
    "The gateway requires authentication, and the request has no valid credentials: none, unknown ones, or a token that has expired or was revoked. OTLP requests are answered with 401, over gRPC with UNAUTHENTICATED; senders drop their batch then. `tailgate tail` exits with this error, and `audit()` of a [worker process](guides/workers.md) rejects with it.",
  FORBIDDEN:
    "The credentials are valid and lack the scope for this request. OTLP requests are answered with 403, over gRPC with PERMISSION_DENIED; senders drop their batch then.",
  TOKENS_UNREADABLE:
    "The tokens file cannot be read, is not valid, or has permissions that expose it. At the start the gateway ends. While it runs, it keeps the last valid tokens.",
  TOKENS_NOT_WRITTEN:
    "`tailgate token` could not change the tokens file, usually because it runs as another user than the gateway.",
  REGISTRATION_FAILED:
    "Another LoggerProvider is registered globally, or the program loads two versions of the OpenTelemetry API (`npm ls @opentelemetry/api`). Records that are logged through that API would not arrive.",
  OTLP_UNDECODABLE: "HTTP 400: the body is not an `ExportLogsServiceRequest`.",
  JOURNAL_FULL:
    "The disk is full. The records were not stored. OTLP requests are answered with 503.",
  JOURNAL_REFUSED:
    "The disk rejected the write. The records were not stored. OTLP requests are answered with 503.",
  JOURNAL_FAILED:
    "The disk failed during a write. Whether the records were stored is unknown. OTLP requests are answered with 503.",
  OVERLOADED:
    "Records arrive faster than the disk can store them. An OTLP request is answered with 429; an audit event logged in process is rejected after two seconds.",
  AUDIT_REFUSED:
    "An audit event was rejected and not stored: it has no `eventType`, it cannot be encoded, or a processor failed on it or lowered its level below INFO. `logAuditEvent()`, which cannot reject, counts such events instead and logs one warning.",
  AUDIT_UNCONFIRMED:
    "The gateway did not confirm an audit event of a [worker process](guides/workers.md) in time.",
  STOPPED: "A record arrived during or after the shutdown of the gateway or the connection.",
  DELIVERY_TIMEOUT:
    "An exporter's write took longer than its `timeout_seconds`. Its records stay in the journal or in its queue.",
  INTERNAL: "A bug in Tailgate.",
};

/** Errors that commands do not end with: they reject calls and requests, and appear in logs. */
const WITHOUT_EXIT_CODE: ReadonlySet<ErrorCode> = new Set([
  "OTLP_UNDECODABLE",
  "JOURNAL_FULL",
  "JOURNAL_REFUSED",
  "JOURNAL_FAILED",
  "OVERLOADED",
  "AUDIT_REFUSED",
  "AUDIT_UNCONFIRMED",
  "STOPPED",
  "DELIVERY_TIMEOUT",
]);

/** Returns a section for each error code as Markdown. */
export function errorReference(): Promise<string> {
  return Promise.resolve(ERROR_CODES.map(section).join("\n\n"));
}

function section(code: ErrorCode): string {
  const { exitCode, message } = new TailgateError(code, "");
  const exit = WITHOUT_EXIT_CODE.has(code) ? "" : `Exit code ${exitCode}. `;
  return `### ${code}\n\n${exit}${MEANINGS[code]}\n\n**What to do:** ${message.trim()}`;
}
