/**
 * The error codes of Tailgate. They are stable: scripts and clients may depend on them. `fix` tells users what the error
 * means for their data and what to do. Exit codes follow sysexits(3): 64 usage, 69 unavailable, 77 permission, 78 configuration.
 */
const CODES = {
  USAGE: { exitCode: 64, fix: "Run `tailgate --help`." },
  NODE_UNSUPPORTED: {
    exitCode: 69,
    fix: "Run Tailgate with a supported version: `npm start` in a clone uses its own Node.js, and `npm install node@24` provides one for npm scripts and npx.",
  },
  PACKAGE_INCOMPLETE: {
    exitCode: 69,
    fix: "If the program is bundled, mark tailgate as external (esbuild: --external:tailgate) and install it where the bundle runs; otherwise reinstall Tailgate.",
  },
  CONFIG_INVALID: {
    exitCode: 78,
    fix: "Fix the keys listed above; `tailgate validate` checks a file without starting the gateway.",
  },
  CONFIG_UNREADABLE: { exitCode: 78, fix: "Check the --config path and the file's permissions." },
  BIND_REFUSED: {
    exitCode: 78,
    fix: "Configure `auth` and `tls`, or use host 127.0.0.1 with a reverse proxy or an SSH tunnel for remote access. `insecure: true` accepts the risk, for example in a container behind a proxy.",
  },
  TLS_UNUSABLE: {
    exitCode: 78,
    fix: "Certificate and key must be PEM files that belong together and that the gateway's user can read. The key must have no passphrase and not be accessible to all users (mode 0600, or 0640 with a group).",
  },
  PLUGIN_NOT_FOUND: {
    exitCode: 78,
    fix: "Install it (`npm install tailgate-plugin-<name>`) or set its path with `use: ./mine.js`.",
  },
  PLUGIN_INVALID: {
    exitCode: 78,
    fix: "The default export of a plugin file must be created by defineReceiver, defineProcessor or defineExporter from tailgate/plugin.",
  },
  PLUGIN_API_MISMATCH: {
    exitCode: 78,
    fix: "Install compatible versions of the plugin and tailgate.",
  },
  PLUGIN_OPEN_FAILED: {
    exitCode: 1,
    fix: "Check the reason and the plugin's options in the configuration.",
  },
  PORT_IN_USE: {
    exitCode: 69,
    fix: "Stop the program that listens there, or choose another port (0 picks a free one).",
  },
  SENDS_TO_ITSELF: {
    exitCode: 78,
    fix: "Set the endpoint to the collector's address, or move this gateway to other ports (port, receivers.otlp.port).",
  },
  RELOAD_REFUSED: {
    exitCode: 78,
    fix: "Restart the gateway to apply the changes, or undo them in the configuration.",
  },
  RELOAD_FAILED: {
    exitCode: 1,
    fix: "The gateway continues with the previous configuration. Remove the cause, and reload again.",
  },
  LISTEN_FAILED: { exitCode: 69, fix: "Check host and port in the configuration." },
  LOG_DIR_UNUSABLE: {
    exitCode: 69,
    fix: "Choose another directory with --log-dir, or fix its ownership and permissions.",
  },
  LOG_DIR_IN_USE: {
    exitCode: 69,
    fix: "Stop the other gateway, or give this one its own directory with --log-dir.",
  },
  JOURNAL_UNUSABLE: {
    exitCode: 69,
    fix: "Fix the disk, or the ownership and permissions of the log directory, or choose another directory with --log-dir.",
  },
  AUDIT_KEY_UNUSABLE: {
    exitCode: 78,
    fix: "The key must be an Ed25519 key in PKCS#8 PEM format, owned by the gateway's user, with mode 0600, not a symbolic link, outside the log directory, and in a directory that no other user can write to. Fix that, or set audit_key_file to another file; a missing file is created.",
  },
  AUDIT_KEY_NOT_CREATED: {
    exitCode: 78,
    fix: "Make its directory writable for the gateway's user, or set audit_key_file to another file.",
  },
  AUDIT_UNREADABLE: {
    exitCode: 69,
    fix: "Nothing was verified. Provide what is missing with --log-dir, --key or --checkpoint.",
  },
  AUDIT_UNPROVEN: {
    exitCode: 69,
    fix: "Provide a checkpoint that was stored elsewhere with --checkpoint, and the gateway's public key with --key. --allow-unsigned accepts a trail that is protected by its own hashes only.",
  },
  AUDIT_TRAIL_BROKEN: {
    exitCode: 1,
    fix: "Preserve the files as they are, and compare them with copies stored elsewhere.",
  },
  GATEWAY_UNREACHABLE: {
    exitCode: 69,
    fix: "Start it with `tailgate run`, or fix its address (--url; for LoggingManager.connect: endpoint and headers).",
  },
  RECORDS_LOST: {
    exitCode: 1,
    fix: "Their lines were printed, unless --quiet is set. Check whether the gateway runs, its address (--endpoint or OTEL_EXPORTER_OTLP_ENDPOINT) and the token (TAILGATE_TOKEN).",
  },
  INPUT_FAILED: {
    exitCode: 1,
    fix: "What was read before was printed and sent. Check the program or the file that stdin comes from.",
  },
  OUTPUT_FAILED: {
    exitCode: 1,
    fix: "Check the disk or the program that stdout is redirected to.",
  },
  FILTER_INVALID: {
    exitCode: 64,
    fix: 'Valid terms are: text, "a phrase", -not, a OR b, (group), level:WARNING, type:audit, logger:NAME, field:value, field:>5, /regex/.',
  },
  SCOPE_INVALID: {
    exitCode: 64,
    fix: "Use ingest, read, metrics or admin, or the narrower ingest:system, ingest:audit, read:system, read:audit.",
  },
  UNAUTHENTICATED: {
    exitCode: 77,
    fix: "Nothing was stored or returned. Send a valid token: in TAILGATE_TOKEN, with --token-file, or in the header `Authorization: Bearer`.",
  },
  FORBIDDEN: {
    exitCode: 77,
    fix: "Nothing was stored. Use a token with the missing scope.",
  },
  TOKENS_UNREADABLE: {
    exitCode: 78,
    fix: "The tokens file must be valid, and writable by the gateway's user alone and not readable by others (mode 0600 or 0640).",
  },
  TOKENS_NOT_WRITTEN: {
    exitCode: 77,
    fix: "No token was created or changed. Run the command as the user of the gateway or as root, or fix the permissions of the directory.",
  },
  REGISTRATION_FAILED: {
    exitCode: 1,
    fix: "Another LoggerProvider or a second copy of the API package is registered globally. Start Tailgate first, or log through LoggingManager.getLogger().",
  },
  OTLP_UNDECODABLE: {
    exitCode: 1,
    fix: "No record of the request was stored. Send an ExportLogsServiceRequest as protobuf or JSON.",
  },
  JOURNAL_FULL: {
    exitCode: 1,
    fix: "Free space on the disk of the log directory and resend the records; the gateway recovers on its own.",
  },
  JOURNAL_REFUSED: {
    exitCode: 1,
    fix: "Check the disk of the log directory and resend the records; the gateway recovers on its own.",
  },
  JOURNAL_FAILED: {
    exitCode: 1,
    fix: "Check the disk of the log directory, and resend the records with the same log.record.uid: audit events that were stored are not stored twice.",
  },
  OVERLOADED: {
    exitCode: 1,
    fix: "Nothing was stored. Retry after a short delay; OTLP clients do so automatically.",
  },
  AUDIT_REFUSED: {
    exitCode: 1,
    fix: "The event was not stored, and retrying it unchanged will not help: fix the event, or the processor that changed it or failed on it.",
  },
  AUDIT_UNCONFIRMED: {
    exitCode: 1,
    fix: "Whether the event was stored is unknown. Log it again with the same key, which stores it only once.",
  },
  STOPPED: {
    exitCode: 1,
    fix: "The record was not stored: the gateway is stopping or has stopped.",
  },
  DELIVERY_TIMEOUT: {
    exitCode: 1,
    fix: "The batch is retained and retried; check whether the destination responds.",
  },
  INTERNAL: { exitCode: 1, fix: "This is a bug in Tailgate. Report it with this text." },
} as const satisfies Record<string, { exitCode: number; fix: string }>;

/** A code of `docs/errors.md`. */
export type ErrorCode = keyof typeof CODES;

/** All codes, in the order of the documentation. */
export const ERROR_CODES = Object.keys(CODES) as ErrorCode[];

const TAILGATE_ERROR = Symbol.for("tailgate.error");

/** An error with a stable code. Its message says what happened, followed by the code's `fix`. */
export class TailgateError extends Error {
  readonly code: ErrorCode;
  /** The exit code of a command that fails with this error. */
  readonly exitCode: number;
  readonly [TAILGATE_ERROR] = true;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    // A message that ends with a list puts the fix on its own line.
    super(`${message}${message.endsWith("\n") ? "" : " "}${CODES[code].fix}`, options);
    this.name = "TailgateError";
    this.code = code;
    this.exitCode = CODES[code].exitCode;
  }

  /** Unlike `instanceof`, recognizes errors of other copies of this package. */
  static is(error: unknown, code?: ErrorCode): error is TailgateError {
    return (
      typeof error === "object" &&
      error !== null &&
      TAILGATE_ERROR in error &&
      (code === undefined || (error as TailgateError).code === code)
    );
  }
}

const PERMANENT = Symbol.for("tailgate.permanent");

/** Thrown by an exporter's `write` if a retry cannot help. The batch is dropped and counted. */
export class PermanentError extends Error {
  readonly [PERMANENT] = true;

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "PermanentError";
  }

  static is(error: unknown): error is PermanentError {
    return typeof error === "object" && error !== null && PERMANENT in error;
  }
}

const RETRY_LATER = Symbol.for("tailgate.retry-later");

/** Thrown by an exporter's `write` if the destination has said when to retry. */
export class RetryLaterError extends Error {
  readonly [RETRY_LATER] = true;
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "RetryLaterError";
    this.retryAfterMs = retryAfterMs;
  }

  static is(error: unknown): error is RetryLaterError {
    return typeof error === "object" && error !== null && RETRY_LATER in error;
  }
}

/** Returns the text of a thrown value for a log line. Never throws. */
export function textOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? thrown.message : String(thrown);
  } catch {
    return "a value that cannot be converted to text";
  }
}
