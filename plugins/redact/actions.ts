import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { HASH_START } from "./rules.ts";

export const ACTIONS = ["mask", "remove", "hash"] as const;

export type Action = (typeof ACTIONS)[number];

export interface ActionOptions {
  /** The action of rules that are not in {@link actions}. */
  readonly action: Action;
  readonly actions: Readonly<Record<string, Action>>;
  /** What replaces a secret; `{rule}` stands for the name of the rule. */
  readonly mask: string;
  /** The key of the hashes; required if an action is `hash`. */
  readonly hashKey: Uint8Array | undefined;
  /** Counts what was redacted. */
  count(rule: string, action: Action): void;
}

const DIGEST_DIGITS = 16;
const KEY_ID_DIGITS = 4;

/** Hashes of the newest values. */
const CACHE_SIZE = 1024;
const CACHED_CHARS_MAX = 256;

/** Decides what takes the place of a secret. */
export class Actions {
  readonly #options: ActionOptions;
  readonly #masks = new Map<string, string>();
  readonly #hashes = new Map<string, string>();
  readonly #key: KeyObject | undefined;
  readonly #keyId: string;

  constructor(options: ActionOptions) {
    this.#options = options;
    this.#key = options.hashKey && createSecretKey(options.hashKey);
    this.#keyId = this.#key ? this.#digest("key id").slice(0, KEY_ID_DIGITS) : "";
  }

  actionOf(rule: string): Action {
    const { action, actions } = this.#options;
    return Object.hasOwn(actions, rule) ? actions[rule]! : action;
  }

  /** Counts a secret, and returns what replaces it: undefined if it is removed. */
  replace(rule: string, secret: string): string | undefined {
    const action = this.actionOf(rule);
    this.#options.count(rule, action);
    if (action === "remove") return undefined;
    return action === "mask" ? this.mask(rule) : this.#hash(rule, secret);
  }

  /** Returns whether a value was replaced already. */
  isReplaced(rule: string, value: string): boolean {
    return value === this.mask(rule) || value.startsWith(HASH_START);
  }

  mask(rule: string): string {
    let mask = this.#masks.get(rule);
    if (mask === undefined) {
      mask = this.#options.mask.replaceAll("{rule}", rule);
      this.#masks.set(rule, mask);
    }
    return mask;
  }

  /** The key's id shows from which key on hashes of equal values differ. */
  #hash(rule: string, secret: string): string {
    // A card is the same with spaces, with hyphens, and as a number.
    const text = `${rule}\0${rule === "card" ? secret.replaceAll(/\D/g, "") : secret}`;
    const known = this.#hashes.get(text);
    if (known !== undefined) return known;
    const digest = this.#digest(text).slice(0, DIGEST_DIGITS);
    const hash = `${HASH_START}${rule}:${this.#keyId}:${digest}]`;
    if (text.length <= CACHED_CHARS_MAX) {
      if (this.#hashes.size >= CACHE_SIZE) this.#hashes.clear();
      this.#hashes.set(text, hash);
    }
    return hash;
  }

  #digest(text: string): string {
    return createHmac("sha256", this.#key!).update(text).digest("hex");
  }
}
