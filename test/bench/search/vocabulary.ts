/** The words of the generated records. */

import type { Random } from "./random.ts";

export const KNOWN_WORDS =
  "request handled cache queue worker token model agent plan step retry socket file index commit replay deploy branch review merge build test fix login database schema migration parser filter stream buffer window render component upload export import billing invoice customer search result timeout backoff lease lock shard cluster gateway".split(
    " ",
  );

const SYLLABLES =
  "ba be bi bo bu da de di do du fa fe ga ge gi ka ke ki la le li lo ma me mi mo na ne no pa pe po ra re ri ro sa se si ta te ti to va ve vi".split(
    " ",
  );

const WORDS = 3000;

const DIRECTORIES = [
  "src/server",
  "src/router",
  "src/llm",
  "tests/unit",
  "tests/e2e",
  "docs",
  "packages/core/lib",
  "packages/ui/components",
];

export class Vocabulary {
  readonly words: readonly string[];
  readonly #random: Random;

  constructor(random: Random) {
    const words = [...KNOWN_WORDS];
    while (words.length < WORDS) {
      let word = "";
      for (let left = 2 + random.below(3); left > 0; left--) word += random.pick(SYLLABLES);
      words.push(word);
    }
    this.words = words;
    this.#random = random;
  }

  /** Returns a word, frequent ones more often. */
  word(limit = WORDS): string {
    return this.words[this.#random.zipf(limit)]!;
  }

  text(words: number): string {
    return Array.from({ length: words }, () => this.word()).join(" ");
  }

  path(): string {
    return `/workspace/${this.#random.pick(DIRECTORIES)}/${this.word()}_${this.word(500)}.py`;
  }
}
