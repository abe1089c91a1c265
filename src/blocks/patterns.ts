/** Groups messages that are made of the same template, after Drain (He and others, 2017), in linear time and bounded memory. */

/** Stands for what differs between the messages of a group. */
const PLACEHOLDER = "<_>";

/** Messages that are alike. */
export interface MessagePattern {
  /** What they have in common, with {@link PLACEHOLDER} for the rest. */
  readonly pattern: string;
  readonly count: number;
  /** One of the messages, that with the highest sequence. */
  readonly example: string;
  readonly sequence: number;
}

/** The maximum number of UTF-16 code units of a message's first line that count. */
const CHARACTERS_MAX = 512;
const EXAMPLE_CHARACTERS_MAX = 1024;
const GROUPS_MAX = 2000;
/** The groups that a message is compared with. */
const ALIKE_MAX = 32;
/** The share of words that the messages of a group have in common at least. */
const SIMILARITY_MIN = 0.6;
/** The number of messages without their variable parts of which the group is remembered. */
const KNOWN_MAX = 10_000;

interface Group {
  readonly words: string[];
  count: number;
  example: string;
  sequence: number;
}

export class MessagePatterns {
  /** Messages that are in no group, because there are too many. */
  others = 0;
  /** By the number of words and the first one. */
  readonly #groups = new Map<string, Group[]>();
  #size = 0;
  /** By message without its variable parts. */
  readonly #known = new Map<string, Group>();

  /** Adds `count` messages. A pattern may be added as well, with an example of it. */
  add(message: string, count: number, sequence: number, example = message): void {
    const masked = maskedMessage(message);
    const group = this.#known.get(masked) ?? this.#groupOf(masked);
    if (!group) {
      this.others += count;
      return;
    }
    group.count += count;
    if (sequence >= group.sequence) {
      group.sequence = sequence;
      group.example = example.slice(0, EXAMPLE_CHARACTERS_MAX);
    }
  }

  /** Returns the largest groups, the largest first. */
  top(limit: number): MessagePattern[] {
    return [...this.#groups.values()]
      .flat()
      .toSorted((one, other) => other.count - one.count || other.sequence - one.sequence)
      .slice(0, limit)
      .map(({ words, count, example, sequence }) => ({
        pattern: words.join(" "),
        count,
        example,
        sequence,
      }));
  }

  #groupOf(masked: string): Group | undefined {
    const words = masked.split(" ");
    const key = `${words.length} ${words[0]}`;
    const alike = this.#groups.get(key) ?? [];
    let best: Group | undefined;
    let bestShare = SIMILARITY_MIN;
    for (const group of alike) {
      const share = similarity(group.words, words);
      if (share >= bestShare) {
        best = group;
        bestShare = share;
      }
    }
    if (best) generalize(best.words, words);
    else if (this.#size < GROUPS_MAX && alike.length < ALIKE_MAX) {
      best = { words, count: 0, example: "", sequence: -1 };
      alike.push(best);
      this.#groups.set(key, alike);
      this.#size++;
    } else return undefined;
    if (this.#known.size >= KNOWN_MAX) this.#known.clear();
    this.#known.set(masked, best);
    return best;
  }
}

/** Returns the share of words that are the same, of two lists of the same length. */
function similarity(one: readonly string[], other: readonly string[]): number {
  let same = 0;
  for (let index = 0; index < one.length; index++) if (one[index] === other[index]) same++;
  return same / one.length;
}

/** Replaces the words that are different. */
function generalize(words: string[], others: readonly string[]): void {
  for (const [index, word] of others.entries()) {
    if (words[index] !== word) words[index] = PLACEHOLDER;
  }
}

/** What characters are: parts of a run may be an id, a number or a path together. */
const LETTER = 1;
const DIGIT = 2;
const JOINT = 3;
const SLASH = 4;
const KINDS = new Uint8Array(128);
for (let code = 0; code < KINDS.length; code++) {
  const character = String.fromCharCode(code);
  if (/[a-z]/i.test(character)) KINDS[code] = LETTER;
  else if (/\d/.test(character)) KINDS[code] = DIGIT;
  else if (/[-_.:@%+~]/.test(character)) KINDS[code] = JOINT;
  else if (/[/\\]/.test(character)) KINDS[code] = SLASH;
}

/** The longest unit that a number keeps, as in `12 ms` written without a space. */
const UNIT_MAX = 3;

/** Returns the first line of a message with placeholders for numbers, ids, quoted texts and paths, and single spaces. */
function maskedMessage(message: string): string {
  const text = firstLine(message);
  const { length } = text;
  let masked = "";
  let hasQuote = true;
  for (let at = 0; at < length;) {
    const code = text.charCodeAt(at);
    if (kindOf(code) !== 0) {
      const end = runEnd(text, at);
      masked += maskedRun(text, at, end);
      at = end;
    } else if (code === QUOTE && hasQuote) {
      const end = text.indexOf('"', at + 1);
      hasQuote = end >= 0;
      masked += hasQuote ? `"${PLACEHOLDER}"` : '"';
      at = hasQuote ? end + 1 : at + 1;
    } else {
      if (text.startsWith(PLACEHOLDER, at)) {
        masked += PLACEHOLDER;
        at += PLACEHOLDER.length;
        continue;
      }
      if (code > SPACE) masked += text[at];
      else if (masked !== "" && !masked.endsWith(" ")) masked += " ";
      at++;
    }
  }
  return masked.trimEnd();
}

const SPACE = 0x20;
const QUOTE = 0x22;

function firstLine(message: string): string {
  const start = message.slice(0, CHARACTERS_MAX).trimStart();
  const end = start.search(/[\r\n]/);
  return end < 0 ? start : start.slice(0, end);
}

/** Characters beyond ASCII are taken for letters. */
function kindOf(code: number): number {
  return code < KINDS.length ? KINDS[code]! : LETTER;
}

function runEnd(text: string, start: number): number {
  let end = start + 1;
  while (end < text.length && kindOf(text.charCodeAt(end)) !== 0) end++;
  return end;
}

function maskedRun(text: string, start: number, runStop: number): string {
  let end = runStop;
  // A sentence may end here.
  while (end > start && kindOf(text.charCodeAt(end - 1)) === JOINT) end--;
  let digits = 0;
  let slashes = 0;
  let firstLetter = end;
  let letters = 0;
  for (let at = start; at < end; at++) {
    const kind = kindOf(text.charCodeAt(at));
    if (kind === DIGIT) digits++;
    else if (kind === SLASH) slashes++;
    else if (kind === LETTER) {
      if (letters === 0) firstLetter = at;
      letters++;
    }
  }
  const isPath = slashes > 1 || (slashes === 1 && kindOf(text.charCodeAt(start)) === SLASH);
  if (digits === 0 && !isPath) return text.slice(start, runStop);
  // `12ms` keeps its unit.
  const hasUnit =
    !isPath &&
    letters > 0 &&
    letters <= UNIT_MAX &&
    end - firstLetter === letters &&
    firstLetter > start;
  return PLACEHOLDER + text.slice(hasUnit ? firstLetter : end, runStop);
}
