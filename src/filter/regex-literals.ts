/** Which texts every match of a regular expression contains. What is not understood is taken to require nothing. */

/** Texts that a match contains, in any case: all parts of an `and`, which may have none, and one part of an `or`. */
export type RequiredTexts =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "and" | "or"; readonly parts: readonly RequiredTexts[] };

const NOTHING: RequiredTexts = { kind: "and", parts: [] };

/** Returns the texts of an expression in the syntax of RE2; they are ASCII. */
export function literalsOfRegex(source: string): RequiredTexts {
  const parser = new LiteralParser(source.normalize("NFC"));
  const texts = parser.alternatives();
  return parser.isAtEnd ? texts : NOTHING;
}

/** Escapes of one letter that stand for no text that counts. */
const CLASS_ESCAPE = /^\\(?:[a-d]|[fnr-t]|[vwz]|[A-DSW])/;
const CODE_ESCAPE = /^\\(?:[pP](?:\{[^}]*\}|.)|x(?:\{[^}]*\}|[\da-fA-F]{2})|[0-7]{1,3})/;
const CHARACTER_ESCAPE = /^\\[!-/:-@[-`{-~]/;
const CLASS = /^\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]/s;
const QUANTIFIER = /^(?:[*+?]|\{\d+(?:,\d*)?\})\??/;
/** A group, with or without a name or flags of its own; flags alone are no group. */
const GROUP_START = /^\((?:\?(?:P?<\w+>|[a-zA-Z-]*:))?/;
/** A quantifier after flags would apply to what is before them. */
const FLAGS = /^\(\?[a-zA-Z-]+\)(?![*+?{])/;
const PLAIN = /^[ -~]/;
const OTHER = /^[^ -~]/su;

class LiteralParser {
  readonly #source: string;
  #position = 0;

  constructor(source: string) {
    this.#source = source;
  }

  get isAtEnd(): boolean {
    return this.#position === this.#source.length;
  }

  /** Parses up to the end of the expression or of the group. */
  alternatives(): RequiredTexts {
    const parts = [this.#sequence()];
    while (this.#take(/^\|/) !== undefined) parts.push(this.#sequence());
    return parts.length === 1 ? parts[0]! : { kind: "or", parts };
  }

  #sequence(): RequiredTexts {
    const parts: RequiredTexts[] = [];
    let text = "";
    const endText = (): void => {
      if (text !== "") parts.push({ kind: "text", text });
      text = "";
    };
    while (!this.isAtEnd && !/[|)]/.test(this.#source[this.#position]!)) {
      const item = this.#item();
      // Not understood: the position is not at the end.
      if (item === undefined) return NOTHING;
      const quantifier = this.#take(QUANTIFIER);
      if (typeof item === "string") {
        if (quantifier === undefined) {
          text += item;
          continue;
        }
        if (quantifier.startsWith("+")) text += item;
        endText();
      } else {
        endText();
        if (quantifier === undefined || quantifier.startsWith("+")) parts.push(item);
      }
    }
    endText();
    return parts.length === 1 ? parts[0]! : { kind: "and", parts };
  }

  /** Returns a character, or what a group requires; undefined if the rest is not understood. */
  #item(): string | RequiredTexts | undefined {
    const escaped = this.#take(CHARACTER_ESCAPE);
    if (escaped !== undefined) return escaped.slice(1);
    const hasNoText =
      this.#take(CLASS_ESCAPE) ?? this.#take(CODE_ESCAPE) ?? this.#take(CLASS) ?? this.#take(FLAGS);
    if (hasNoText !== undefined || this.#take(/^[.^$]/) !== undefined) return NOTHING;
    if (this.#take(GROUP_START) !== undefined) {
      const inner = this.alternatives();
      return this.#take(/^\)/) === undefined ? undefined : inner;
    }
    if (/[\\()[\]*+?|]/.test(this.#source[this.#position]!)) return undefined;
    return this.#take(PLAIN) ?? (this.#take(OTHER) === undefined ? undefined : NOTHING);
  }

  /** Skips what matches at the position, and returns it. */
  #take(pattern: RegExp): string | undefined {
    const found = pattern.exec(this.#source.slice(this.#position))?.[0];
    if (found !== undefined) this.#position += found.length;
    return found;
  }
}
