import { ERROR_CODES, TailgateError, type ErrorCode } from "../../src/wire/errors.ts";

/** When each code appears, and what became of the data. What to do about it stands in the error itself. */
const MEANINGS: Readonly<Record<ErrorCode, string>> = {
  USAGE: "The command line was not understood: an unknown command or option, or an invalid value.",
  NODE_UNSUPPORTED:
    'This Node.js is too old, or belongs to a line that is no longer maintained. Both the command and `import "tailgate"` report it.',
  PACKAGE_INCOMPLETE:
    "A file of the package is missing. Usually Tailgate was bundled into a program without being installed where the bundle runs, or the bundle has no `require`. See [In-process logging](guides/in-process.md#bundling).",
  CONFIG_INVALID:
    "The configuration has the listed problems, one per line, each with the path of its key and, if possible, a suggestion. The gateway did not start.",
  CONFIG_UNREADABLE: "The file after `--config` does not exist or cannot be read.",
  BIND_REFUSED:
    "`host` is not a loopback address. Tailgate has no authentication yet, so it does not listen on the network. See [Deployment](deployment/README.md).",
  PLUGIN_NOT_FOUND: "No built-in plugin and no installed package has the name.",
  PLUGIN_INVALID: "The file is not a plugin, or importing it failed.",
  PLUGIN_API_MISMATCH:
    "The plugin was built for another version of the plugin interface; the message names both versions.",
  PLUGIN_OPEN_FAILED:
    "The plugin could not start; the message has its reason. The gateway did not start.",
  PORT_IN_USE:
    "Another program listens on the port, perhaps another gateway. On 4317 it is often a collector: set `receivers.otlp.grpc_port` to another port, or to `null` to disable gRPC.",
  SENDS_TO_ITSELF:
    "An exporter's endpoint, or `pass_on_to`, is a port of this gateway: every record would return forever.",
  LISTEN_FAILED:
    "The operating system rejected the address or the port, such as a port below 1024.",
  LOG_DIR_UNUSABLE:
    "The log directory cannot be written to, is a symbolic link, or belongs to another user.",
  LOG_DIR_IN_USE: "Another gateway has the journal of this log directory open.",
  JOURNAL_UNUSABLE:
    "`journal.db` cannot be opened: it is a symbolic link, belongs to another user, or was written by a newer version of Tailgate. The message has the reason. Nothing was changed.",
  AUDIT_KEY_UNUSABLE:
    "The private key of the audit trail is not an Ed25519 key, or other users could read or replace it.",
  AUDIT_KEY_NOT_CREATED: "`audit_key_file` does not exist, and its directory is not writable.",
  AUDIT_UNREADABLE:
    "`tailgate audit verify` could not read the trail, a key or a checkpoint. Nothing was verified.",
  AUDIT_UNPROVEN:
    "No signed checkpoint covers the audit trail, so it may have been replaced as a whole.",
  AUDIT_TRAIL_BROKEN:
    "The audit trail was changed. The message names the first file and line that do not match, and what that means.",
  GATEWAY_UNREACHABLE:
    "`tailgate tail` found no gateway at the address; or `audit()` of a connected process reached none, and the event was not stored.",
  OUTPUT_FAILED:
    "A command could not write its output, for example because stdout is a file on a full disk.",
  FILTER_INVALID:
    "A filter was not understood, or exceeds a [limit](reference/filters.md); the message names the term. Over HTTP the status is 400.",
  REGISTRATION_FAILED:
    "Another LoggerProvider is registered globally, or the program loads two versions of the OpenTelemetry API (`npm ls @opentelemetry/api`). Records of that API would not arrive.",
  OTLP_UNDECODABLE:
    "HTTP 400: the body is not an `ExportLogsServiceRequest`. No record of the request was stored.",
  JOURNAL_FULL:
    "The disk is full. The records were not stored. OTLP requests are answered with 503.",
  JOURNAL_REFUSED:
    "The disk rejected the write. The records were not stored. OTLP requests are answered with 503.",
  JOURNAL_FAILED:
    "The disk failed during a write. Whether the records were stored is unknown. OTLP requests are answered with 503.",
  OVERLOADED:
    "More records arrive than the disk can store. Nothing of the request (HTTP 429) or of the audit event (after two seconds) was stored.",
  AUDIT_REFUSED:
    "An audit event was rejected and not stored: it has no `eventType`, it cannot be encoded, or a processor failed on it or lowered its level below INFO. `logAuditEvent()`, which cannot reject, counts such events instead and logs one warning.",
  AUDIT_UNCONFIRMED:
    "A gateway did not confirm an audit event of a connected process in time. Whether it was stored is unknown.",
  STOPPED: "The gateway or the connection is stopping or has stopped. The record was not stored.",
  DELIVERY_TIMEOUT:
    "An exporter's write took longer than its `timeout_seconds`. Its records stay in the journal or in its queue.",
  INTERNAL: "A bug in Tailgate.",
};

/** Returns a section for each error code as Markdown. */
export function errorReference(): Promise<string> {
  return Promise.resolve(ERROR_CODES.map(section).join("\n\n"));
}

function section(code: ErrorCode): string {
  const { exitCode, message } = new TailgateError(code, "");
  return `### ${code}\n\nExit code ${exitCode}. ${MEANINGS[code]}\n\n**What to do:** ${message.trim()}`;
}
