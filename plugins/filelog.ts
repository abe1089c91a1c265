/** Follows log files: through rotations, from line to line, and across restarts. */

import { defineReceiver, lineParser, z, type LineKeys, type LineParser } from "tailgate/plugin";
import { Delivery, type ReadEvent } from "./filelog/delivery.ts";
import type { FollowContext } from "./filelog/followed-file.ts";
import { Follower } from "./filelog/follower.ts";
import { lineStart } from "./filelog/line-start.ts";
import { isMadroxFile, madroxEvents, MadroxReader } from "./filelog/madrox.ts";
import { OwnFiles } from "./filelog/own-files.ts";
import { Positions } from "./filelog/position.ts";
import { recordOfEvent } from "./filelog/records.ts";

/** Opening waits for the first search for so long. */
const FIRST_SEARCH_MS_MAX = 5000;

/** More files are not read at a time: the lines of each take memory until they are durable. */
const READS_MAX = 16;

const keys = z.array(z.string().min(1)).min(1).optional();

const options = z
  .strictObject({
    include: z
      .array(z.string().min(1))
      .min(1)
      .describe("Paths of the files, with the wildcards `*`, `?`, `**`, `[abc]` and `{a,b}`."),
    exclude: z
      .array(z.string().min(1))
      .default([])
      .describe("Paths of files that are not followed although `include` matches them."),
    start_at: z
      .enum(["beginning", "end"])
      .optional()
      .describe(
        "Where to start in the files that are there when the receiver starts for the first time; files that appear later are read from their beginning. Default: `beginning` if `format` is `madrox`, else `end`.",
      ),
    format: z
      .enum(["auto", "json", "logfmt", "text", "madrox"])
      .default("auto")
      .describe(
        "What the lines are: with `auto`, each line tells. `madrox` imports the log directory of Madrox.",
      ),
    time_keys: keys.describe(
      "The fields of JSON and logfmt with the time. Default: those of the usual libraries.",
    ),
    level_keys: keys.describe("The fields with the level, likewise."),
    logger_keys: keys.describe("The fields with the logger's name, likewise."),
    message_keys: keys.describe("The fields with the message, likewise."),
    time_zone: z
      .string()
      .default("local")
      .refine(isTimeZone, "expected local, UTC, an offset such as +02:00, or a name of the IANA")
      .describe(
        "The zone of times without one: `local`, `UTC`, an offset such as `+02:00`, or a name such as `Europe/Berlin`.",
      ),
    multiline: z
      .enum(["none", "time", "unindented"])
      .default("none")
      .describe(
        "Which lines start a record: all of them (`none`), those that start with a time (`time`), or those that do not start with white space (`unindented`).",
      ),
    line_start_pattern: z
      .string()
      .min(1)
      .optional()
      .describe(
        "A regular expression for the beginning of lines that start a record, in the syntax of RE2. Instead of `multiline`.",
      ),
    logger: z
      .string()
      .min(1)
      .optional()
      .describe(
        "The logger of lines that do not name one. Default: the name of the file without its extension.",
      ),
    include_file_name: z
      .boolean()
      .default(true)
      .describe("Whether records get the attribute `log.file.name`."),
    include_file_path: z
      .boolean()
      .default(false)
      .describe("Whether records get the attribute `log.file.path`."),
    poll_interval_seconds: z
      .number()
      .min(0.05)
      .max(3600)
      .default(1)
      .describe(
        "How often to look for new files and changes, in seconds. If the system reports changes, they are read at once.",
      ),
    force_flush_seconds: z
      .number()
      .min(0)
      .max(3600)
      .default(1)
      .describe(
        "How long a record waits for further lines that belong to it, in seconds, if `multiline` or `line_start_pattern` is set.",
      ),
    max_log_bytes: z
      .int()
      .min(1024)
      .max(64 << 20)
      .default(1 << 20)
      .describe("Maximum size of a record, in bytes. What is longer is truncated and counted."),
    fingerprint_bytes: z
      .int()
      .min(16)
      .max(64 << 10)
      .default(1000)
      .describe(
        "So many bytes from the beginning of a file, and before the position in it, tell whether it is still the same file.",
      ),
    max_concurrent_files: z
      .int()
      .min(1)
      .default(1024)
      .describe("Maximum number of files that are followed at a time."),
  })
  .superRefine(({ multiline, line_start_pattern: pattern }, context) => {
    if (pattern === undefined || multiline === "none") return;
    const message = "set either multiline or line_start_pattern, not both";
    context.addIssue({ code: "custom", path: ["line_start_pattern"], message });
  });

type Options = z.output<typeof options>;

export default defineReceiver({
  name: "filelog",
  description:
    "Follows log files through rotations and restarts: JSON, logfmt, plain text, and the files of Madrox.",
  options,
  plan: async (given) => {
    await lineStart(given, createParser(given));
    return {};
  },
  async open(given, host) {
    const isMadrox = given.format === "madrox";
    const parser = createParser(given);
    const startsEvent = await lineStart(given, parser);
    const closing = new AbortController();
    const countLines = host.metrics.counter("lines", "Lines that were read from files.");
    const countBytes = host.metrics.counter("read_bytes", "Bytes that were read from files.");
    const countCut = host.metrics.counter(
      "truncated_bytes",
      "Bytes that were left out of records longer than max_log_bytes.",
    );
    const countErrors = host.metrics.counter(
      "errors",
      "Files that could not be read, each time that the reason changed.",
    );
    // The metrics are there before the first line is.
    for (const count of [countLines, countBytes, countCut, countErrors]) count(0);
    const positions = new Positions(host.memory.recall());
    const delivery = new Delivery(
      host.intake,
      host.log,
      readerOf(given, parser),
      positions,
      ({ lines, bytes, cutBytes }) => {
        countLines(lines);
        countBytes(bytes);
        if (cutBytes > 0) countCut(cutBytes);
      },
      closing.signal,
    );
    const context: FollowContext = {
      positions,
      delivery,
      ownFiles: new OwnFiles(host.logDir, isMadrox),
      flushMs: 1000 * given.force_flush_seconds,
      optionsOf: (path) => ({
        maxLogBytes: given.max_log_bytes,
        fingerprintBytes: given.fingerprint_bytes,
        startsEvent: isMadrox ? madroxEvents(path) : startsEvent,
      }),
    };
    const follower = new Follower(
      {
        include: given.include,
        exclude: given.exclude,
        accepts: isMadrox ? isMadroxFile : () => true,
        startAt: given.start_at ?? (isMadrox ? "beginning" : "end"),
        pollMs: 1000 * given.poll_interval_seconds,
        filesMax: given.max_concurrent_files,
        readsMax: isMadrox ? 1 : READS_MAX,
      },
      context,
      host.memory,
      host.log,
      () => countErrors(1),
    );
    host.metrics.gauge("open_files", "Files that are followed.", () => follower.openFiles);
    host.metrics.gauge(
      "lag_bytes",
      "Bytes of the followed files that are not stored in the journal yet.",
      () => follower.lagBytes,
    );
    await withinMs(FIRST_SEARCH_MS_MAX, follower.run());
    return {
      close: async () => {
        closing.abort();
        await follower.close();
      },
    };
  },
});

function isTimeZone(name: string): boolean {
  try {
    lineParser({ timeZone: name });
    return true;
  } catch {
    return false;
  }
}

function createParser(given: Options): LineParser {
  const named: { [Meaning in keyof LineKeys]: string[] | undefined } = {
    time: given.time_keys,
    level: given.level_keys,
    logger: given.logger_keys,
    message: given.message_keys,
  };
  const set = Object.entries(named).filter(([, names]) => names !== undefined);
  return lineParser({
    format: given.format === "madrox" ? "auto" : given.format,
    keys: Object.fromEntries(set),
    timeZone: given.time_zone,
  });
}

function readerOf(given: Options, parser: LineParser): ReadEvent {
  if (given.format === "madrox") {
    const madrox = new MadroxReader(parser);
    return (event, path, position) => madrox.read(event, path, position);
  }
  const recordOptions = {
    parser,
    logger: given.logger,
    includeFileName: given.include_file_name,
    includeFilePath: given.include_file_path,
  };
  return (event, path, position) => recordOfEvent(event, path, position, recordOptions);
}

/** Resolves with the work, or without it after that time. */
async function withinMs(timeMs: number, work: Promise<void>): Promise<void> {
  const timer = Promise.withResolvers<void>();
  const timeout = setTimeout(timer.resolve, timeMs);
  await Promise.race([work, timer.promise]);
  clearTimeout(timeout);
}
