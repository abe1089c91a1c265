/** Plain lines: with a time, a level and a logger at their head, of klog, and of syslog. */

import type { Value, ValueMap } from "../plugin/record.ts";
import type { ParsedLine } from "./parsed-line.ts";
import { parseSeverity, syslogSeverity, type Severity } from "./severity.ts";
import { readKlogTime, readTime, type TimeZone } from "./time.ts";

/** A level is searched for this far into a line. */
const HEAD_CHARS_MAX = 160;

const ESCAPE = 0x1b;

/** Returns what a plain line says: its head becomes time, level and logger, the rest is the message. */
export function parseText(text: string, zone: TimeZone): ParsedLine {
  const plain = withoutStyles(text);
  return parseKlog(plain, zone) ?? parseSyslog(plain, zone) ?? new Head(plain, zone).line();
}

/** Removes terminal escape sequences (`ESC [ ... letter`): colors and text styles. */
function withoutStyles(text: string): string {
  let from = text.indexOf("\x1b[");
  if (from < 0) return text;
  const parts: string[] = [];
  let copied = 0;
  while (from >= 0) {
    let end = from + 2;
    while (end < text.length && isParameter(text.charCodeAt(end))) end++;
    parts.push(text.slice(copied, from));
    copied = Math.min(end + 1, text.length);
    from = text.indexOf("\x1b[", copied);
  }
  return parts.join("") + text.slice(copied);
}

/** Everything from space to `?` comes before the final byte (ECMA-48, 5.4). */
function isParameter(code: number): boolean {
  return code >= 0x20 && code <= 0x3f && code !== ESCAPE;
}

const KLOG_LETTERS: Readonly<Record<string, string>> = {
  I: "INFO",
  W: "WARNING",
  E: "ERROR",
  F: "FATAL",
};

const KLOG_REST = /\s{1,10}(\d{1,10}) ([^\s:\]]{1,200}):(\d{1,7})\] /y;

/** `I1013 09:27:24.339163   13652 main.go:11] listening` */
function parseKlog(text: string, zone: TimeZone): ParsedLine | undefined {
  const name = KLOG_LETTERS[text.charAt(0)];
  const time = name === undefined ? undefined : readKlogTime(text, 1, zone);
  const match = time && matchAt(KLOG_REST, text, time.end);
  if (!time || !match) return undefined;
  return {
    format: "klog",
    body: text.slice(time.end + match[0].length),
    attributes: new Map<string, Value>([
      ["thread.id", Number(match[1])],
      ["code.file.path", match[2]!],
      ["code.line.number", Number(match[3])],
    ]),
    timestamp: time.nanos,
    severity: parseSeverity(name),
  };
}

const PRIORITY = /^<(\d{1,3})>/;
const PRIORITY_MAX = 191;

/** RFC 3164 after its time: `host app[123]: `. */
const BSD_HEAD = /\s?(?:([^\s:[\]]{1,255}) )?([^\s:[\]]{1,64})(?:\[(\d{1,10})\])?: ?/y;

/** RFC 5424 after its time: `host app 123 id `. */
const SYSLOG_HEAD = / (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) /y;

/** A line with the priority of syslog: `<13>`. */
function parseSyslog(text: string, zone: TimeZone): ParsedLine | undefined {
  const priority = PRIORITY.exec(text);
  if (priority === null || Number(priority[1]) > PRIORITY_MAX) return undefined;
  const start = priority[0].length;
  const severity = syslogSeverity(Number(priority[1]) & 7);
  const attributes: ValueMap = new Map([["syslog.facility", Number(priority[1]) >> 3]]);
  const isNew = text.startsWith("1 ", start);
  const time = readTime(text, isNew ? start + 2 : start, zone);
  const at = time?.end ?? (text.startsWith("1 - ", start) ? start + 3 : start);
  const match = matchAt(isNew ? SYSLOG_HEAD : BSD_HEAD, text, at);
  const found = { format: "syslog", timestamp: time?.nanos, severity } as const;
  if (match === null) return { ...found, body: text.slice(at).trimStart(), attributes };
  const [head, host, app, pid, id] = match;
  const set = (name: string, value: string | undefined): void => {
    if (value !== undefined && value !== "-") attributes.set(name, value);
  };
  set("host.name", host);
  set("process.pid", pid);
  set("syslog.msgid", id);
  const rest = text.slice(at + head.length);
  const data = isNew ? structuredDataEnd(rest) : 0;
  if (data > 1) set("syslog.structured_data", rest.slice(0, data));
  const body = rest.slice(data).trimStart();
  return { ...found, body, attributes, logger: app === "-" ? undefined : app };
}

/** Returns the end of the structured data of RFC 5424: `-`, or elements in brackets with values in quotes. */
function structuredDataEnd(text: string): number {
  if (text.startsWith("-")) return 1;
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (at === 0 && character !== "[") return 0;
    if (character === "\\") at++;
    else if (character === '"') isQuoted = !isQuoted;
    else if (character === "]" && !isQuoted && text.charAt(at + 1) !== "[") return at + 1;
  }
  return 0;
}

function matchAt(pattern: RegExp, text: string, start: number): RegExpExecArray | null {
  pattern.lastIndex = start;
  return pattern.exec(text);
}

/** Between the parts of a head. */
const SEPARATORS = /[\s|,;-]{1,16}/y;

/** A level, perhaps in brackets and padded: `[info     ]`, `WARNING`, `Level 25`. */
const LEVEL =
  /([[(<]?)(Level \d{1,3}|[A-Za-z]{3,11}(?:[+-]\d{1,2})?)( {0,10})([\])>]?)(?=$|[\s:|,\]-])/y;

/** The name of a logger and a separator, as Python's formats have it: `shop.cart - `. */
const NAME_BEFORE = /([\w.$:/-]{1,200})\s{0,20}(?: - | \| )/y;

/** `shop.cart:` right after a level, of Python's basic format. */
const BASIC_NAME = /:([\w.$-]{1,200}):/y;

/** `module:function:12 - `, of loguru. */
const LOGURU_SITE = /([\w.]{1,200}):([\w.<>]{1,200}):(\d{1,7}) - /y;

/** `com.acme.Cart - ` of logback, `app::cart] ` of env_logger. */
const NAME_AFTER = /([\w.$]{1,200}) {1,40}- |([\w:]{1,200})\] /y;

/** `[main] `, of logback. */
const THREAD = /\[([^\][]{1,80})\] /y;

/** `level=warn` within a text. */
const LEVEL_PAIR = /(?:^|[\s[({,])(?:level|lvl|severity)="?([A-Za-z]{3,11})/i;

/** `[error]` or `ERROR:` within a text. */
const MARKED_LEVEL = /[[(<]([A-Za-z]{3,11})[\])>]|(?:^|\s)([A-Z]{3,11}):/g;

/** A level in capitals among the first words. */
const LEADING_WORDS = /^(?:\S{1,60}\s{1,10}){0,2}([A-Z]{3,11})(?=\s)/;

/** Reads the head of a plain line, part by part. */
class Head {
  readonly #text: string;
  readonly #zone: TimeZone;
  readonly #attributes: ValueMap = new Map();
  #at = 0;
  #severity: Severity | undefined;
  #logger: string | undefined;

  constructor(text: string, zone: TimeZone) {
    this.#text = text;
    this.#zone = zone;
  }

  line(): ParsedLine {
    const timestamp = this.#readTime();
    this.#readLevel(timestamp !== undefined);
    if (this.#severity !== undefined) this.#readNameAfterLevel();
    const rest = this.#at === 0 ? this.#text : this.#text.slice(this.#at).trim();
    const head = this.#text.slice(0, HEAD_CHARS_MAX);
    return {
      format: "text",
      body: rest === "" ? this.#text : rest,
      attributes: this.#attributes,
      timestamp: timestamp ?? this.#timeWithin(head),
      severity: this.#severity ?? severityWithin(head),
      logger: this.#logger,
    };
  }

  #readTime(): bigint | undefined {
    const start = this.#text.startsWith("[") ? 1 : 0;
    const time = readTime(this.#text, start, this.#zone);
    if (time === undefined) return undefined;
    this.#at = time.end;
    if (start > 0 && this.#text.charAt(time.end) === "]") this.#at++;
    this.#match(SEPARATORS);
    return time.nanos;
  }

  /** Reads the level at the position, or behind a logger's name or a thread. */
  #readLevel(hasTime: boolean): void {
    const start = this.#at;
    if (this.#takeLevel(hasTime)) return;
    if (!hasTime) return;
    const thread = this.#match(THREAD)?.[1];
    this.#match(SEPARATORS);
    if (thread !== undefined && this.#takeLevel(true)) {
      this.#attributes.set("thread.name", thread);
      return;
    }
    this.#at = start;
    const name = this.#match(NAME_BEFORE)?.[1];
    if (name !== undefined && this.#takeLevel(true)) this.#logger = name;
    else this.#at = start;
  }

  /** Words that are no level for sure stay a part of the message, such as that of `Error: no such file`. */
  #takeLevel(hasTime: boolean): boolean {
    const start = this.#at;
    const match = this.#match(LEVEL);
    if (match === null) return false;
    const [, opening, name, , closing] = match;
    const severity = parseSeverity(name);
    const isSure =
      (opening !== "" && closing !== "") ||
      name === name!.toUpperCase() ||
      name!.startsWith("Level ") ||
      (hasTime && this.#text.charAt(this.#at) === "\t");
    if (severity === undefined || !isSure) {
      this.#at = start;
      return false;
    }
    this.#severity = severity;
    return true;
  }

  #readNameAfterLevel(): void {
    const basic = this.#match(BASIC_NAME);
    if (basic !== null) {
      this.#logger = basic[1];
      return;
    }
    if (this.#text.charAt(this.#at) === ":") this.#at++;
    this.#match(SEPARATORS);
    if (this.#logger !== undefined) return;
    const site = this.#match(LOGURU_SITE);
    if (site !== null) {
      this.#logger = site[1];
      this.#attributes.set("code.function.name", site[2]!);
      this.#attributes.set("code.line.number", Number(site[3]));
      return;
    }
    const name = this.#match(NAME_AFTER);
    if (name !== null) this.#logger = name[1] ?? name[2];
  }

  /** `127.0.0.1 - - [13/Oct/2025:09:27:24 +0200] "GET / HTTP/1.1"`, of web servers. */
  #timeWithin(head: string): bigint | undefined {
    const bracket = head.indexOf(" [");
    return bracket < 0 ? undefined : readTime(this.#text, bracket + 2, this.#zone)?.nanos;
  }

  /** Matches at the position, and moves behind the match. */
  #match(pattern: RegExp): RegExpExecArray | null {
    const match = matchAt(pattern, this.#text, this.#at);
    if (match !== null) this.#at += match[0].length;
    return match;
  }
}

/** Returns the level that the beginning of a text tells without being its head. */
function severityWithin(head: string): Severity | undefined {
  for (const match of head.matchAll(MARKED_LEVEL)) {
    const severity = parseSeverity(match[1] ?? match[2]);
    if (severity !== undefined) return severity;
  }
  const pair = parseSeverity(LEVEL_PAIR.exec(head)?.[1]);
  return pair ?? parseSeverity(LEADING_WORDS.exec(head)?.[1]) ?? wordSeverity(head);
}

/** `Error: no such file`, `warning: unused variable`: the first word, before a colon. */
function wordSeverity(head: string): Severity | undefined {
  const colon = head.indexOf(":");
  return colon > 0 && colon <= "emergency".length ? parseSeverity(head.slice(0, colon)) : undefined;
}
