/** The globs of the options `keys` and `allow`. */

const SEPARATORS = /[-_]/g;

/** The names of rules in masks are no keys. */
const MASKS = /\[(?:REDACTED|HASH):[^\]]{0,160}\]/g;

/** Verdicts on longer keys are not remembered. */
const REMEMBERED_CHARS_MAX = 128;
const REMEMBERED_MAX = 2048;

/** Returns a key as it is compared: in lower case, without `-` and `_`. */
export function normalizeKey(key: string): string {
  return key.toLowerCase().replaceAll(SEPARATORS, "");
}

/** Decides which keys are those of secrets. */
export class KeyGlobs {
  readonly #globs: readonly string[];
  readonly #pathGlobs: readonly string[];
  readonly #known = new Map<string, boolean>();
  /** The literal parts by which keys are found in one pass over the bytes; `endings` are those that a key ends with. */
  readonly keywords: readonly string[];
  readonly endings: readonly string[];
  /** True if there is a glob without such a part, so that each key has to be compared. */
  readonly isUnbounded: boolean;

  constructor(globs: readonly string[]) {
    this.#globs = globs.map(normalizeKey);
    this.#pathGlobs = this.#globs.filter((glob) => glob.includes("."));
    const keywords = this.#globs.map(literalPart);
    const isEnding = (keyword: string, index: number): boolean =>
      this.#globs[index]!.endsWith(keyword);
    const endings = new Set(keywords.filter((keyword, index) => isEnding(keyword, index)));
    const inner = new Set(keywords.filter((keyword, index) => !isEnding(keyword, index)));
    endings.delete("");
    this.keywords = [...inner];
    this.endings = [...endings].filter((keyword) => !inner.has(keyword));
    this.isUnbounded = keywords.includes("");
  }

  /** True if a glob may match the path of a key that does not match alone. */
  get hasPaths(): boolean {
    return this.#pathGlobs.length > 0;
  }

  /** Returns whether a key is one, or its last part: `password` of `db.password`. */
  matches(key: string): boolean {
    if (key.length > REMEMBERED_CHARS_MAX) return this.#compare(key);
    let verdict = this.#known.get(key);
    if (verdict === undefined) {
      verdict = this.#compare(key);
      if (this.#known.size >= REMEMBERED_MAX) this.#known.clear();
      this.#known.set(key, verdict);
    }
    return verdict;
  }

  #compare(key: string): boolean {
    const whole = normalizeKey(key.replaceAll(MASKS, ""));
    const leaf = whole.slice(whole.lastIndexOf(".") + 1);
    return this.#globs.some((glob) => matchesGlob(glob, leaf) || matchesGlob(glob, whole));
  }

  /** Returns whether the path of a nested key is one. */
  matchesPath(path: readonly string[]): boolean {
    if (!this.hasPaths || path.length < 2) return false;
    const whole = normalizeKey(path.join("."));
    return this.#pathGlobs.some((glob) => matchesGlob(glob, whole));
  }
}

/** Returns the longest part without wildcards and dots; "" if it has other characters than ASCII. */
function literalPart(glob: string): string {
  const parts = glob.split(/[*?.]+/).filter((part) => /^[\x20-\x7e]+$/.test(part));
  return parts.reduce((longest, part) => (part.length > longest.length ? part : longest), "");
}

/** Returns whether a text matches a glob with `*` and `?`, in time proportional to the product of their lengths at most. */
export function matchesGlob(glob: string, text: string): boolean {
  let inGlob = 0;
  let inText = 0;
  let star = -1;
  let retry = 0;
  while (inText < text.length) {
    const symbol = glob[inGlob];
    if (symbol === "*") {
      star = inGlob++;
      retry = inText;
    } else if (symbol === "?" || (symbol !== undefined && symbol === text[inText])) {
      inGlob++;
      inText++;
    } else if (star >= 0) {
      inGlob = star + 1;
      inText = ++retry;
    } else {
      return false;
    }
  }
  while (glob[inGlob] === "*") inGlob++;
  return inGlob === glob.length;
}
