/** The keywords of the built-in rules and of the configured keys, each with what decides what is there. */

import { verifyEmail, verifyEncodedEmail } from "./addresses.ts";
import { ASSIGNMENT_KEYWORDS, assignmentKind, assignmentVerifier } from "./assignments.ts";
import { literal, type Keyword } from "./automaton.ts";
import { verifyCard } from "./cards.ts";
import type { Verifier } from "./cursor.ts";
import type { KeyGlobs } from "./key-globs.ts";
import { BUILT_IN_RULES, HASH_START, KEYS_RULE, MASK_START, type BuiltInRule } from "./rules.ts";
import { KEY_FORMATS, keyVerifier, verifyBasic, verifyBearer, verifyJwt } from "./tokens.ts";
import { verifyPrivateKey } from "./tokens.ts";
import { QUERY_PARAMETERS, verifyQueryValue, verifyUserInfo } from "./urls.ts";

/** What the outputs of the automaton stand for. */
export interface Probe {
  readonly rule: string;
  readonly verify: Verifier;
  /** Set if the keyword may be part of a key, or only be the end of one. */
  readonly key?: "part" | "end";
  /** True if the keyword may be an escape of JSON. */
  readonly isEscape?: boolean;
}

const DIGITS = "0123456789";
const HIGH_NIBBLES = "234567";

/** How far a mask reaches. */
const MASK_BYTES_MAX = 160;
const BRACKET = 0x5d;

/** Skips what was redacted already, such as by a gateway before this one. */
const skipMask: Verifier = (cursor, at) => {
  const limit = Math.min(cursor.end, at + MASK_BYTES_MAX);
  let stop = at;
  while (stop < limit && cursor.bytes[stop] !== BRACKET) stop++;
  return cursor.skipTo(stop < limit ? stop : at);
};

const nothing: Verifier = () => false;

/** Collects keywords and their probes. The first added comes first where several end at the same place. */
class KeywordList {
  readonly probes: Probe[] = [];
  readonly keywords: Keyword[] = [];

  add(probe: Probe, ...texts: readonly string[]): void {
    for (const text of texts) this.#push(literal(text), probe);
  }

  /** Adds keywords within which `-` and `_` are ignored. */
  addKeys(probe: Probe, texts: readonly string[]): void {
    for (const text of texts) this.#push(literal(text), probe, true);
  }

  /** Adds groups of digits. */
  addDigits(probe: Probe, separators: string, ...groups: readonly number[]): void {
    const symbols = groups.flatMap((digits, index) => [
      ...(index === 0 ? [] : [separators]),
      ...Array.from({ length: digits }, () => DIGITS),
    ]);
    this.#push(symbols, probe);
  }

  addEscape(probe: Probe): void {
    this.#push(["\\", "u", "0", "0", HIGH_NIBBLES], probe);
  }

  #push(symbols: readonly string[], probe: Probe, ignoresSeparators = false): void {
    if (!this.probes.includes(probe)) this.probes.push(probe);
    this.keywords.push({ symbols, ignoresSeparators, output: this.probes.indexOf(probe) });
  }
}

const ADDERS: Readonly<Record<BuiltInRule, (list: KeywordList) => void>> = {
  email: (list) => {
    list.add({ rule: "email", verify: verifyEmail }, "@");
    list.add({ rule: "email", verify: verifyEncodedEmail }, "%40");
  },
  card: (list) => {
    const probe = { rule: "card", verify: verifyCard };
    list.addDigits(probe, "", 13);
    list.addDigits(probe, " -", 4, 4);
    list.addDigits(probe, " -", 4, 6);
  },
  jwt: (list) => list.add({ rule: "jwt", verify: verifyJwt }, "eyJ"),
  authorization: (list) => {
    const rule = "authorization";
    list.add({ rule, verify: verifyBearer }, "bearer ");
    list.add({ rule, verify: verifyBasic }, "basic ");
    const isHeader = (word: string): boolean => word.toLowerCase().endsWith(rule);
    const verify = assignmentVerifier((word) => (isHeader(word) ? "header" : undefined));
    list.addKeys({ rule, verify }, [rule]);
  },
  cloud_keys: (list) => {
    for (const format of KEY_FORMATS) {
      list.add({ rule: "cloud_keys", verify: keyVerifier(format) }, format.prefix);
    }
  },
  private_key: (list) => list.add({ rule: "private_key", verify: verifyPrivateKey }, "-----begin "),
  assignments: (list) => {
    const probe = { rule: "assignments", verify: assignmentVerifier(assignmentKind) };
    list.addKeys(probe, ASSIGNMENT_KEYWORDS);
  },
  url_credentials: (list) => {
    list.add({ rule: "url_credentials", verify: verifyUserInfo }, "://");
    list.add({ rule: "url_credentials", verify: verifyQueryValue }, ...QUERY_PARAMETERS);
  },
};

/** Returns the keywords of the rules and keys. */
export function listKeywords(
  rules: readonly BuiltInRule[],
  keys: KeyGlobs,
): { readonly keywords: readonly Keyword[]; readonly probes: readonly Probe[] } {
  const list = new KeywordList();
  list.add({ rule: "", verify: skipMask }, MASK_START, HASH_START);
  for (const rule of BUILT_IN_RULES) if (rules.includes(rule)) ADDERS[rule](list);
  const verify = assignmentVerifier((word) => (keys.matches(word) ? "strict" : undefined));
  list.addKeys({ rule: KEYS_RULE, verify, key: "part" }, keys.keywords);
  list.addKeys({ rule: KEYS_RULE, verify, key: "end" }, keys.endings);
  list.addEscape({ rule: "", verify: nothing, isEscape: true });
  return list;
}
