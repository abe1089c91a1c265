/**
 * A keyword search in one pass over the bytes of a text (Aho and Corasick, 1975), whatever the number of keywords. Case is
 * ignored. It is built as a deterministic automaton by subset construction, because some keywords ignore separators.
 */

export interface Keyword {
  /** The characters that match, one text for each position, in lower case: `["p", "i", "0123456789"]`. */
  readonly symbols: readonly string[];
  /** True if `-` and `_` between the characters are ignored. */
  readonly ignoresSeparators?: boolean;
  /** What the automaton reports when it has found the keyword; the lowest comes first. */
  readonly output: number;
}

export interface Automaton {
  /** The class of each byte. */
  readonly classes: Uint8Array;
  /** The next state for a state and a class: `table[state + class]`. The start is 0. */
  readonly table: Uint16Array | Uint32Array;
  /** States from here on have found a keyword. */
  readonly accepting: number;
  /** The outputs of a state from {@link accepting} on, at `(state - accepting) / classCount`. */
  readonly outputs: readonly (readonly number[])[];
  readonly classCount: number;
}

const ASCII = 0x80;
const SEPARATORS = "-_";

/** Returns one symbol for each character of a text of ASCII. */
export function literal(text: string): string[] {
  return text.toLowerCase().split("");
}

export function compileAutomaton(keywords: readonly Keyword[]): Automaton {
  const { classes, classCount, characters } = classify(keywords);
  const subsets = new Subsets(keywords);
  const rows: number[][] = [];
  for (let state = 0; state < subsets.length; state++) {
    rows.push(characters.map((character) => subsets.next(state, character)));
  }
  const order = rows.map((_, state) => state);
  const isAccepting = order.map((state) => subsets.outputs(state).length > 0);
  order.sort((one, other) => Number(isAccepting[one]) - Number(isAccepting[other]) || one - other);
  const position: number[] = [];
  order.forEach((state, index) => (position[state] = index * classCount));
  const cells = rows.length * classCount;
  const table = cells > 0xffff ? new Uint32Array(cells) : new Uint16Array(cells);
  rows.forEach((row, state) => {
    row.forEach((next, index) => (table[position[state]! + index] = position[next]!));
  });
  const accepting = order.filter((state) => isAccepting[state]);
  return {
    classes,
    classCount,
    table,
    accepting: (rows.length - accepting.length) * classCount,
    outputs: accepting.map((state) => subsets.outputs(state)),
  };
}

/** Groups the bytes that no keyword tells apart. The class 0 is that of the bytes that are in no keyword. */
function classify(keywords: readonly Keyword[]): {
  classes: Uint8Array;
  classCount: number;
  /** One character of each class. */
  characters: string[];
} {
  const symbols = [...new Set([SEPARATORS, ...keywords.flatMap((keyword) => keyword.symbols)])];
  const known = new Map([["", 0]]);
  const characters = ["\0"];
  const classes = new Uint8Array(256);
  for (let byte = 0; byte < ASCII; byte++) {
    const character = String.fromCharCode(byte).toLowerCase();
    const signature = symbols.flatMap((set, index) => (set.includes(character) ? [index] : []));
    const key = signature.join();
    if (!known.has(key)) {
      known.set(key, characters.length);
      characters.push(character);
    }
    classes[byte] = known.get(key)!;
  }
  return { classes, classCount: characters.length, characters };
}

/** The states, each a set of positions in keywords: `keyword * POSITIONS + matched symbols`. */
class Subsets {
  readonly #keywords: readonly Keyword[];
  readonly #sets: number[][] = [[]];
  readonly #states = new Map([["", 0]]);
  /** The keywords by the characters that they start with. */
  readonly #starts = new Map<string, number[]>();

  constructor(keywords: readonly Keyword[]) {
    this.#keywords = keywords;
    keywords.forEach(({ symbols }, keyword) => {
      for (const character of symbols[0]!) {
        const started = this.#starts.get(character) ?? [];
        this.#starts.set(character, [...started, keyword * POSITIONS + 1]);
      }
    });
  }

  get length(): number {
    return this.#sets.length;
  }

  next(state: number, character: string): number {
    const reached = new Set(this.#starts.get(character));
    for (const position of this.#sets[state]!) {
      const { symbols, ignoresSeparators = false } = this.#keyword(position);
      const symbol = symbols[position % POSITIONS];
      if (symbol === undefined) continue;
      if (symbol.includes(character)) reached.add(position + 1);
      if (ignoresSeparators && SEPARATORS.includes(character)) reached.add(position);
    }
    const set = [...reached].sort((one, other) => one - other);
    const key = set.join();
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    this.#states.set(key, this.#sets.length);
    return this.#sets.push(set) - 1;
  }

  /** Returns the outputs of the keywords that end here, the lowest first. */
  outputs(state: number): number[] {
    const found = this.#sets[state]!.filter(
      (position) => position % POSITIONS === this.#keyword(position).symbols.length,
    );
    const outputs = new Set(found.map((position) => this.#keyword(position).output));
    return [...outputs].sort((one, other) => one - other);
  }

  #keyword(position: number): Keyword {
    return this.#keywords[Math.floor(position / POSITIONS)]!;
  }
}

/** More than the symbols of any keyword. */
const POSITIONS = 1024;
