import { resolve } from "node:path";
import {
  defineProcessor,
  z,
  type LogRecord,
  type Processor,
  type RecordView,
  type Verdict,
} from "tailgate/plugin";
import { Actions, ACTIONS, type Action } from "./redact/actions.ts";
import { CustomPatterns } from "./redact/custom-patterns.ts";
import { EncodedRecord } from "./redact/encoded-record.ts";
import { readHashKey } from "./redact/hash-key.ts";
import { KeyGlobs } from "./redact/key-globs.ts";
import { RecordRedaction } from "./redact/record-redaction.ts";
import { BUILT_IN_RULES, KEYS_RULE } from "./redact/rules.ts";
import { Scanner } from "./redact/scanner.ts";
import { TextRedaction } from "./redact/text-redaction.ts";

const DEFAULT_KEYS = [
  "*password*",
  "*passwd*",
  "pwd",
  "*passphrase*",
  "*secret*",
  "*api_key*",
  "*access_key*",
  "*private_key*",
  "*credentials",
  "*authorization",
  "cookie",
  "set_cookie",
  "token",
  "access_token",
  "refresh_token",
  "id_token",
  "auth_token",
  "session_token",
  "bearer_token",
  "x_amz_security_token",
];

const KEYS_MAX = 256;

const RULE_NAME = /^[a-z][a-z0-9_]{0,31}$/;

const glob = z.string().min(1).max(256);

const options = z
  .strictObject({
    keys: z
      .array(glob)
      .max(KEYS_MAX)
      .default(DEFAULT_KEYS)
      .describe(
        "Globs of keys whose values are redacted, at any depth. A glob is compared with the last part of a key and with its dotted path; case, `-` and `_` do not matter.",
      ),
    add_keys: z
      .array(glob)
      .max(KEYS_MAX)
      .default([])
      .describe("Globs of further keys, in addition to those of `keys`."),
    patterns: z
      .array(z.enum(BUILT_IN_RULES))
      .default([...BUILT_IN_RULES])
      .describe("Built-in patterns that are searched in all texts and keys."),
    custom: z
      .record(z.string().regex(RULE_NAME), z.string().min(1).max(4096))
      .default({})
      .describe(
        "Patterns of your own by a name, such as `{ employee: 'E-[0-9]{6}' }`, in the syntax of RE2.",
      ),
    allow: z
      .array(glob)
      .default([])
      .describe(
        "Globs of texts that are kept although a pattern matches, such as `*@example.com`. A glob is compared with the matched text alone.",
      ),
    action: z
      .enum(ACTIONS)
      .default("mask")
      .describe(
        "What happens to a secret: `mask` replaces it by `mask`, `remove` deletes it, `hash` replaces it by a keyed hash, so that equal values stay equal.",
      ),
    actions: z
      .record(z.string(), z.enum(ACTIONS))
      .default({})
      .describe(
        "Actions of single rules, such as `{ email: hash }`. The rule of `keys` is `keys`.",
      ),
    mask: z
      .string()
      .min(1)
      .max(64)
      .regex(/^[^"'`\\\p{Cc}]*$/u, "a text without quotes, backslashes and control characters")
      .default("[REDACTED:{rule}]")
      .describe("Text that replaces a secret. `{rule}` is replaced by the name of the rule."),
    hash_key_file: z
      .string()
      .min(1)
      .optional()
      .describe(
        "File with the key for `hash`, of at least 32 bytes, which only its owner can read. A relative path is relative to the working directory.",
      ),
    hash_key_env: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Name of the environment variable with the key for `hash`, of at least 32 characters.",
      ),
  })
  .check(({ value, issues }) => {
    const builtIn: readonly string[] = [...BUILT_IN_RULES, KEYS_RULE];
    for (const rule of Object.keys(value.custom)) {
      if (!builtIn.includes(rule)) continue;
      const message = "a built-in rule has that name";
      issues.push({ code: "custom", input: rule, path: ["custom", rule], message });
    }
    const rules = [...builtIn, ...Object.keys(value.custom)];
    for (const rule of Object.keys(value.actions)) {
      if (rules.includes(rule)) continue;
      const message = `there is no rule of that name; the rules are ${rules.join(", ")}`;
      issues.push({ code: "custom", input: rule, path: ["actions", rule], message });
    }
    const isHashing = [value.action, ...Object.values(value.actions)].includes("hash");
    if (!isHashing || value.hash_key_file !== undefined || value.hash_key_env !== undefined) return;
    const message = "the action hash needs a key: set hash_key_file or hash_key_env";
    issues.push({ code: "custom", input: value.action, path: ["action"], message });
  });

export type RedactOptions = z.output<typeof options>;

export default defineProcessor({
  name: "redact",
  description:
    "Removes secrets from records before they are stored: values of configured keys, and what patterns find.",
  failsClosed: true,
  options,
  plan: async (given) => {
    await readHashKey(given);
    await CustomPatterns.compile(given.custom);
    const { hash_key_file: file } = given;
    return file === undefined ? {} : { files: [resolve(file)] };
  },
  open(given, host) {
    const count = host.metrics.counter(
      "matches",
      "Secrets that were redacted, by rule and action.",
    );
    return Redactor.open(given, (rule, action, secrets) => count(secrets, { rule, action }));
  },
});

/** Counts secrets that were redacted; 0 announces a rule. */
type Count = (rule: string, action: Action, secrets: number) => void;

interface RedactorParts {
  readonly hashKey?: Uint8Array | undefined;
  readonly custom?: CustomPatterns | undefined;
}

export class Redactor implements Processor {
  readonly #encoded: EncodedRecord;
  readonly #redaction: RecordRedaction;
  /** Whether the bytes of the record that `process` gets next were searched. */
  #isInspected = false;

  /** @throws Error if the key of the hashes or a pattern cannot be used. */
  static async open(given: RedactOptions, count: Count): Promise<Redactor> {
    const hashKey = await readHashKey(given);
    return new Redactor(
      given,
      { hashKey, custom: await CustomPatterns.compile(given.custom) },
      count,
    );
  }

  constructor(given: RedactOptions, { hashKey, custom }: RedactorParts, count: Count) {
    const keys = new KeyGlobs([...given.keys, ...given.add_keys]);
    const scanner = new Scanner(given.patterns, keys, given.allow);
    const actions = new Actions({
      ...given,
      hashKey,
      count: (rule, action) => count(rule, action, 1),
    });
    const rules = [...given.patterns, KEYS_RULE, ...Object.keys(given.custom)];
    for (const rule of rules) count(rule, actions.actionOf(rule), 0);
    const findsCards = given.patterns.includes("card");
    const texts = new TextRedaction(scanner, custom, actions);
    this.#encoded = new EncodedRecord({ scanner, keys, custom, findsCards });
    this.#redaction = new RecordRedaction({ texts, keys, actions, findsCards });
  }

  inspect(view: RecordView): Verdict {
    this.#isInspected = this.#encoded.hasSecrets(view);
    return this.#isInspected ? "process" : "pass";
  }

  process(record: LogRecord): LogRecord {
    const before = { ...record };
    const redacted = this.#redaction.record(record);
    if (!this.#isInspected) return redacted;
    this.#isInspected = false;
    const unchanged = {
      record:
        before.body === redacted.body &&
        before.attributes === redacted.attributes &&
        before.eventName === redacted.eventName &&
        before.severityText === redacted.severityText,
      resource: before.resource === redacted.resource,
      scope: before.scope === redacted.scope,
    };
    if (!this.#encoded.hasHidden(unchanged)) return redacted;
    throw new Error("there is a secret in a repeated or unknown field, which cannot be redacted");
  }
}
