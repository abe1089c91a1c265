import type { SplitLine } from "tailgate/plugin";

/** One or more lines of a file that become one record. */
export interface LineEvent {
  readonly text: string;
  /** The offset of its first byte in the file. */
  readonly start: number;
  /** The offset after its last byte. */
  readonly end: number;
  /** The number of lines. */
  readonly lines: number;
  /** The number of bytes that were left out, because the event is too long. */
  readonly cutBytes: number;
}

/** Returns whether an event starts with a line. */
export type StartsEvent = (line: string) => boolean;

interface OpenEvent {
  readonly parts: string[];
  readonly start: number;
  end: number;
  chars: number;
  cutBytes: number;
}

/** Joins the lines of a file to events. Without `startsEvent`, each line is one. Empty lines between events are left out. */
export class EventAssembler {
  readonly #maxChars: number;
  readonly #startsEvent: StartsEvent | undefined;
  #open: OpenEvent | undefined;

  constructor(maxChars: number, startsEvent: StartsEvent | undefined) {
    this.#maxChars = maxChars;
    this.#startsEvent = startsEvent;
  }

  /** Whether an event is open that may have more lines. */
  get isWaiting(): boolean {
    return this.#open !== undefined;
  }

  /** The offset at which the open event starts. */
  get start(): number {
    return this.#open?.start ?? 0;
  }

  /** Adds a line that starts at `offset`, and returns the events that are complete. */
  add(line: SplitLine, offset: number): LineEvent[] {
    const text = withoutHole(line.text);
    const next = { text, start: offset, end: offset + line.bytes, cutBytes: line.cutBytes };
    if (this.#startsEvent === undefined) return text === "" ? [] : [{ ...next, lines: 1 }];
    if (this.#open !== undefined && !this.#startsEvent(text)) {
      this.#append(this.#open, text, next.end, line);
      return [];
    }
    const complete = this.flush();
    if (text !== "") {
      const { start, end, cutBytes } = next;
      this.#open = { parts: [text], start, end, chars: text.length, cutBytes };
    }
    return complete === undefined ? [] : [complete];
  }

  #append(open: OpenEvent, text: string, end: number, line: SplitLine): void {
    open.end = end;
    if (open.chars + text.length > this.#maxChars) open.cutBytes += line.bytes;
    else {
      open.parts.push(text);
      open.chars += text.length + 1;
      open.cutBytes += line.cutBytes;
    }
  }

  /** Returns the open event; undefined if there is none. */
  flush(): LineEvent | undefined {
    if (this.#open === undefined) return undefined;
    const { parts, start, end, cutBytes } = this.#open;
    this.#open = undefined;
    const joined = parts.join("\n").trimEnd();
    const isCut = cutBytes > 0 && !joined.endsWith("]");
    const text = isCut ? `${joined}\n[truncated: ${cutBytes} more bytes]` : joined;
    return { text, start, end, lines: parts.length, cutBytes };
  }
}

/** A program that writes on at its old offset after its file was truncated leaves a hole, which reads as NUL bytes. */
function withoutHole(text: string): string {
  let start = 0;
  while (text.charCodeAt(start) === 0) start++;
  return start === 0 ? text : text.slice(start);
}
