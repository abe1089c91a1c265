import type { Actions } from "./actions.ts";
import type { CustomPatterns } from "./custom-patterns.ts";
import type { Scanner } from "./scanner.ts";

const SCRATCH_BYTES = 64 << 10;
const UTF8_BYTES_MAX = 3;

/** A secret in a text, in bytes. */
export interface Span {
  readonly rule: string;
  readonly start: number;
  readonly stop: number;
  /** What surrounds the replacement, such as an escaped quote. */
  readonly quote: string;
  /** False if only an empty replacement needs the quotes. */
  readonly isQuoteNeeded: boolean;
}

/** A text with what was found in it. */
export interface ScannedText {
  readonly bytes: Buffer;
  readonly spans: readonly Span[];
  /** Whether it may contain a configured key, or an escape of JSON. */
  readonly hasKey: boolean;
  readonly hasEscape: boolean;
}

/** Finds and replaces secrets in texts and bytes. */
export class TextRedaction {
  readonly #scanner: Scanner;
  readonly #custom: CustomPatterns | undefined;
  readonly #actions: Actions;
  readonly #scratch = Buffer.alloc(SCRATCH_BYTES);

  constructor(scanner: Scanner, custom: CustomPatterns | undefined, actions: Actions) {
    this.#scanner = scanner;
    this.#custom = custom;
    this.#actions = actions;
  }

  /** Whether there are patterns that a number may match. */
  get hasCustom(): boolean {
    return this.#custom !== undefined;
  }

  /** Scans a text. The result is valid until the next call. */
  scan(text: string): ScannedText {
    const isShort = text.length * UTF8_BYTES_MAX <= SCRATCH_BYTES;
    const bytes = isShort
      ? this.#scratch.subarray(0, this.#scratch.write(text))
      : Buffer.from(text);
    return this.#scan(bytes, text);
  }

  #scan(bytes: Buffer, text: string | undefined): ScannedText {
    const scanner = this.#scanner;
    const spans: Span[] = [];
    scanner.open(bytes, 0, bytes.length);
    while (scanner.next()) {
      const { start, stop, quote, quoteEscapes, isQuoteNeeded } = scanner.found;
      spans.push({
        rule: scanner.rule,
        start,
        stop,
        quote: quote === 0 ? "" : "\\".repeat(quoteEscapes) + String.fromCharCode(quote),
        isQuoteNeeded,
      });
    }
    const { sawKey: hasKey, sawEscape: hasEscape } = scanner;
    if (this.#custom === undefined) return { bytes, spans, hasKey, hasEscape };
    const custom = this.#custom
      .find(text ?? bytes.toString())
      .filter(({ start, stop }) => !scanner.allows(bytes.toString("utf8", start, stop)));
    return { bytes, spans: mergeSpans(spans, custom), hasKey, hasEscape };
  }

  /** Returns a scanned text without its secrets. */
  replaceIn({ bytes, spans }: ScannedText): string {
    return this.#replaced(bytes, spans).toString();
  }

  /** Returns bytes without the secrets in them, which may be texts of UTF-8; the same array if there are none. */
  bytes(given: Uint8Array): Uint8Array {
    const { bytes, spans } = this.#scan(
      Buffer.from(given.buffer, given.byteOffset, given.length),
      undefined,
    );
    return spans.length === 0 ? given : Uint8Array.from(this.#replaced(bytes, spans));
  }

  #replaced(bytes: Buffer, spans: readonly Span[]): Buffer {
    const parts: Buffer[] = [];
    let from = 0;
    for (const { rule, start, stop, quote, isQuoteNeeded } of spans) {
      const secret = bytes.toString("utf8", start, stop);
      const replacement = this.#actions.replace(rule, secret) ?? "";
      const ends = isQuoteNeeded || replacement === "" ? quote : "";
      parts.push(bytes.subarray(from, start), Buffer.from(ends + replacement + ends));
      from = stop;
    }
    parts.push(bytes.subarray(from));
    return Buffer.concat(parts);
  }
}

/** Returns the spans of both in order. Spans that overlap become one, of the rule that starts first. */
function mergeSpans(one: readonly Span[], other: readonly Span[]): Span[] {
  if (other.length === 0) return [...one];
  const merged: Span[] = [];
  const all = [...one, ...other].sort((a, b) => a.start - b.start || b.stop - a.stop);
  for (const span of all) {
    const last = merged.at(-1);
    if (last === undefined || span.start >= last.stop) merged.push(span);
    else if (span.stop > last.stop) merged[merged.length - 1] = { ...last, stop: span.stop };
  }
  return merged;
}
