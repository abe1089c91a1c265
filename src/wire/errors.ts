/** Every error that Tailgate raises, in one table of stable codes: how the process ends, and how to mend it. */

/** Exit codes follow sysexits(3): 64 usage, 69 unavailable, 78 configuration. */
const CODES = {
  USAGE: { exitCode: 64, mend: "Run `tailgate --help`." },
  NODE_UNSUPPORTED: {
    exitCode: 69,
    mend: "Start it with such a Node: `npm start` in a clone brings one, and `npm install node@24` does so for npm's scripts and npx.",
  },
  PACKAGE_INCOMPLETE: {
    exitCode: 69,
    mend: "If the program is bundled, mark tailgate as external (esbuild: --external:tailgate) and install it where the bundle runs; else install Tailgate again.",
  },
  CONFIG_INVALID: {
    exitCode: 78,
    mend: "Correct the key that is named; `tailgate validate` checks a file without starting.",
  },
  CONFIG_UNREADABLE: {
    exitCode: 78,
    mend: "Check the path after --config and the file's permissions.",
  },
  BIND_REFUSED: {
    exitCode: 78,
    mend: "Use host 127.0.0.1, and a reverse proxy or an SSH tunnel for access from elsewhere.",
  },
  PLUGIN_NOT_FOUND: {
    exitCode: 78,
    mend: "Install it (`npm install tailgate-plugin-<name>`) or give its path with `use: ./mine.js`.",
  },
  PLUGIN_INVALID: {
    exitCode: 78,
    mend: "A plugin file's default export is made by defineReceiver, defineProcessor or defineExporter from tailgate/plugin.",
  },
  PLUGIN_API_MISMATCH: {
    exitCode: 78,
    mend: "Install versions of the plugin and of tailgate that fit each other.",
  },
  PLUGIN_OPEN_FAILED: {
    exitCode: 1,
    mend: "See the cause; the plugin's options are under its key in the configuration.",
  },
  PORT_IN_USE: {
    exitCode: 69,
    mend: "End the program that listens there, or choose another port (0 picks a free one).",
  },
  SENDS_TO_ITSELF: {
    exitCode: 78,
    mend: "Give it the address of the collector, or this gateway other ports (port, receivers.otlp.port).",
  },
  LISTEN_FAILED: { exitCode: 69, mend: "Check host and port in the configuration." },
  LOG_DIR_UNUSABLE: {
    exitCode: 69,
    mend: "Choose another directory with --log-dir, or mend its owner and permissions.",
  },
  LOG_DIR_IN_USE: {
    exitCode: 69,
    mend: "End the other gateway, or give this one a directory of its own with --log-dir.",
  },
  JOURNAL_UNUSABLE: {
    exitCode: 69,
    mend: "Mend the disk, the owner or the permissions of the log directory, or choose another one with --log-dir.",
  },
  AUDIT_KEY_UNUSABLE: {
    exitCode: 78,
    mend: "It must be an Ed25519 key in PKCS8 PEM of the gateway's user, mode 0600, no link, outside the log directory, in a directory that no other user can write. Mend that, or name another file with audit_key_file; one that is not there is made.",
  },
  AUDIT_KEY_NOT_CREATED: {
    exitCode: 78,
    mend: "Make its directory writable for the gateway's user, or name another file with audit_key_file.",
  },
  AUDIT_UNREADABLE: {
    exitCode: 69,
    mend: "Nothing was verified. Give what is missing with --log-dir, --key or --checkpoint.",
  },
  AUDIT_UNPROVEN: {
    exitCode: 69,
    mend: "Give a checkpoint that was kept elsewhere with --checkpoint, and the gateway's public key with --key. --allow-unsigned accepts a trail that only its own hashes hold together.",
  },
  AUDIT_TRAIL_BROKEN: {
    exitCode: 1,
    mend: "Keep the files as they are, and compare them with copies from elsewhere.",
  },
  GATEWAY_UNREACHABLE: {
    exitCode: 69,
    mend: "Start it with `tailgate run`, or give its address with --url.",
  },
  OUTPUT_FAILED: {
    exitCode: 1,
    mend: "See to the disk or the program that its stdout leads to.",
  },
  FILTER_INVALID: {
    exitCode: 64,
    mend: 'Terms are: text, "a phrase", -not, level:WARNING, type:audit, logger:NAME, action:NAME, field:value.',
  },
  REGISTRATION_FAILED: {
    exitCode: 1,
    mend: "Another LoggerProvider or a second copy of the API package owns the global. Start Tailgate first, or log through LoggingManager.getLogger().",
  },
  OTLP_UNDECODABLE: {
    exitCode: 1,
    mend: "Nothing of the request was stored. Send an ExportLogsServiceRequest as protobuf or JSON.",
  },
  JOURNAL_FULL: {
    exitCode: 1,
    mend: "Free space on the disk of the log directory and send them again; the gateway goes on by itself.",
  },
  JOURNAL_REFUSED: {
    exitCode: 1,
    mend: "See to the disk of the log directory and send them again; the gateway goes on by itself.",
  },
  JOURNAL_FAILED: {
    exitCode: 1,
    mend: "See to the disk of the log directory, and send them again with the same log.record.uid: what was stored is not stored twice.",
  },
  OVERLOADED: {
    exitCode: 1,
    mend: "Nothing of it was stored. Send it again a little later; OTLP clients do so by themselves.",
  },
  AUDIT_REFUSED: {
    exitCode: 1,
    mend: "The event was not stored, and the same event will not be: change it, or the processor that changed it or failed on it.",
  },
  STOPPED: {
    exitCode: 1,
    mend: "The record was not stored: the gateway is stopping or has stopped.",
  },
  DELIVERY_TIMEOUT: {
    exitCode: 1,
    mend: "The batch is kept and tried again; see whether the other side answers.",
  },
  INTERNAL: { exitCode: 1, mend: "This is a bug in Tailgate; please report it with this text." },
} as const satisfies Record<string, { exitCode: number; mend: string }>;

export type ErrorCode = keyof typeof CODES;

const TAILGATE_ERROR = Symbol.for("tailgate.error");

/** An error with a stable code. Its message says what happened and how to mend it. */
export class TailgateError extends Error {
  readonly code: ErrorCode;
  /** What a CLI that ends because of this error exits with. */
  readonly exitCode: number;
  readonly [TAILGATE_ERROR] = true;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    // After a list, how to mend it has a line of its own.
    super(`${message}${message.endsWith("\n") ? "" : " "}${CODES[code].mend}`, options);
    this.name = "TailgateError";
    this.code = code;
    this.exitCode = CODES[code].exitCode;
  }

  /** True across copies of this package, where `instanceof` is not. */
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

/** Thrown by an exporter's `write` where trying again cannot help: the batch is dropped and counted. */
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

/** Thrown by an exporter's `write` where the other side has said when to come again. */
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

/** The text of whatever was thrown, for a log line; never throws itself. */
export function textOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? thrown.message : String(thrown);
  } catch {
    return "a value that cannot be shown";
  }
}
