/** The files that Madrox, the Python system, wrote into its log directory. */

import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { recordOfLine, type LineParser, type LogRecord } from "tailgate/plugin";
import type { LineEvent, StartsEvent } from "./event-assembler.ts";
import type { Position } from "./position.ts";
import { setUid } from "./records.ts";

const AUDIT_LOGGER = "orchestrator.audit";

/** The severity number of INFO: audit events have at least this level. */
const INFO = 9;

type FileKind = "program" | "audit" | "instance" | "communication";

const KINDS: readonly (readonly [FileKind, RegExp])[] = [
  ["program", /^orchestrator\.log(?:\.\d+)?$/],
  ["audit", /^audit_\d{8}\.jsonl(?:\.[\d-]+)?$/],
  ["instance", /^instance\.log(?:\.\d+)?$/],
  ["communication", /^communication\.jsonl$/],
];

/** Tailgate's own lines have no white space between names and values, and times in UTC. */
const OWN_LINE = /^\{"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",/;

const PROGRAM_LINE = '{"timestamp": "';

/** What comes before the message, which Madrox did not escape. */
const BEFORE_MESSAGE =
  /^\{"timestamp": "([^"]{1,40})", "level": "([^"]{1,40})", "logger": "([^"]{1,300})", "message": "/;
const AFTER_MESSAGE = '", "module": "';

const INSTANCE_LINE = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:,\d{3})? - [A-Z]/;

/** The messages of instances that are in communication.jsonl, too, with their contents. */
const COMMUNICATIONS = ["Sending message (", "Received response (", "Communication: "];

/** Whether a file is one of those that are imported. */
export function isMadroxFile(path: string): boolean {
  return kindOf(path) !== undefined;
}

/** Returns how the lines of a file are joined: messages could have several lines, and tracebacks follow theirs. */
export function madroxEvents(path: string): StartsEvent | undefined {
  const kind = kindOf(path);
  if (kind === "program") {
    return (line) => line.startsWith(PROGRAM_LINE) || OWN_LINE.test(line);
  }
  return kind === "instance" ? (line) => INSTANCE_LINE.test(line) : undefined;
}

function kindOf(path: string): FileKind | undefined {
  const name = basename(path);
  return KINDS.find(([, pattern]) => pattern.test(name))?.[0];
}

/** What is known of an instance by its directory. */
interface Instance {
  readonly id: string;
  readonly name: string | undefined;
  readonly hasCommunications: boolean;
}

/** Makes records of the lines, with their own times. They are marked with the attribute `imported`. */
export class MadroxReader {
  readonly #parser: LineParser;
  readonly #instances = new Map<string, Instance>();

  constructor(parser: LineParser) {
    this.#parser = parser;
  }

  /** Returns the record of an event; undefined for lines of Tailgate, and for those that another file has. */
  read({ text, start }: LineEvent, path: string, position: Position): LogRecord | undefined {
    if (OWN_LINE.test(text)) return undefined;
    const kind = kindOf(path);
    const isOfInstance = kind === "instance" || kind === "communication";
    const record = isOfInstance
      ? this.#instanceRecord(text, kind, this.#instanceOf(dirname(path)))
      : this.#programRecord(text);
    if (kind === "audit") ensureAuditEvent(record);
    if (record === undefined) return undefined;
    record.attributes.set("imported", "madrox");
    record.attributes.set("log.file.name", basename(path));
    setUid(record, position, start);
    return record;
  }

  #programRecord(text: string): LogRecord {
    const line = this.#parser.parseFields(text);
    if (line !== undefined) return recordOfLine(line, "orchestrator");
    const parts = partsOf(text);
    if (parts === undefined) return recordOfLine(this.#parser.parse(text), "orchestrator");
    const { head, tail, rest } = parts;
    const whole = this.#parser.parseFields(`${head.slice(0, -1)}, ${tail}`);
    const record = recordOfLine(whole ?? this.#parser.parse(head), "orchestrator");
    if (whole === undefined) record.attributes.set("unparsed", tail);
    if (rest !== "") record.attributes.set("exception.stacktrace", rest);
    return record;
  }

  #instanceRecord(text: string, kind: FileKind, instance: Instance): LogRecord | undefined {
    const { id, name, hasCommunications } = instance;
    const line = this.#parser.parse(text);
    const { body, attributes } = line;
    if (kind === "communication") {
      // It repeats every line of instance.log, and says more of these only.
      if (attributes.get("event_type") === "unknown") return undefined;
    } else if (hasCommunications && typeof body === "string") {
      if (COMMUNICATIONS.some((start) => body.startsWith(start))) return undefined;
    }
    const record = recordOfLine(line, `instance.${id}`);
    record.attributes.set("instance_id", id);
    if (name !== undefined) record.attributes.set("instance_name", name);
    return record;
  }

  #instanceOf(directory: string): Instance {
    let instance = this.#instances.get(directory);
    if (instance === undefined) {
      instance = {
        id: basename(directory),
        name: nameIn(join(directory, "metadata.json")),
        hasCommunications: existsSync(join(directory, "communication.jsonl")),
      };
      this.#instances.set(directory, instance);
    }
    return instance;
  }
}

/** Extras could replace the logger and the level of an event. They stay as attributes. */
function ensureAuditEvent(record: LogRecord | undefined): void {
  if (record === undefined) return;
  const { scope, attributes } = record;
  if (scope.name !== AUDIT_LOGGER && !scope.name.startsWith(`${AUDIT_LOGGER}.`)) {
    attributes.set("logger", scope.name);
    record.scope = { ...scope, name: AUDIT_LOGGER };
  }
  if (record.severityNumber < INFO) {
    if (record.severityText !== "") attributes.set("level", record.severityText);
    record.severityNumber = INFO;
    record.severityText = "INFO";
  }
}

function nameIn(path: string): string | undefined {
  try {
    const { instance_name: name } = JSON.parse(readFileSync(path, "utf8")) as {
      instance_name?: unknown;
    };
    return typeof name === "string" ? name : undefined;
  } catch {
    return undefined;
  }
}

/** A line of which the message may have made invalid JSON. */
interface LineParts {
  /** Valid JSON with everything up to the message. */
  readonly head: string;
  /** The members after the message, up to the last brace. */
  readonly tail: string;
  /** The traceback after the line. */
  readonly rest: string;
}

function partsOf(text: string): LineParts | undefined {
  const head = BEFORE_MESSAGE.exec(text);
  const end = text.lastIndexOf(AFTER_MESSAGE);
  if (head === null || end < head[0].length) return undefined;
  const [whole, timestamp, level, logger] = head;
  const message = text.slice(whole.length, end);
  const members = text.slice(end + '", '.length);
  const tailEnd = endOfObject(members) ?? members.length;
  return {
    head: JSON.stringify({ timestamp, level, logger, message }),
    tail: members.slice(0, tailEnd),
    rest: members.slice(tailEnd).trim(),
  };
}

/** Returns the end of the object whose first brace is before the text. */
function endOfObject(text: string): number | undefined {
  let depth = 1;
  let isQuoted = false;
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (isQuoted && character === "\\") index++;
    else if (character === '"') isQuoted = !isQuoted;
    else if (!isQuoted && character === "{") depth++;
    else if (!isQuoted && character === "}" && --depth === 0) return index + 1;
  }
  return undefined;
}
