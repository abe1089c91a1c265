import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createToken, formatToken } from "../../src/auth/tokens/token.ts";
import { TokenStore } from "../../src/auth/tokens/token-store.ts";
import { TestTokens } from "../harness/tokens.ts";
import { printFigures } from "./figure.ts";
import { measured, type Scale, type Variant } from "./rounds.ts";

const CHECKS = 4_000;

/** The valid tokens of the file; what is looked up should not depend on them. */
const TOKENS = 100;

const SILENT = { info() {}, warning() {}, error() {} };

/**
 * How long a token takes to check, by what is wrong with it. Equal times tell a stranger nothing: neither whether an id
 * exists, nor how much of a secret is right.
 */
export async function benchTokenCheck({ rounds, share }: Scale): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  try {
    const names = Array.from({ length: TOKENS }, (_, index) => `token-${index}`);
    const scopes = ["ingest"];
    const tokens = await TestTokens.create(
      directory,
      Object.fromEntries(names.map((name) => [name, { scopes }])),
    );
    const store = await TokenStore.open({ path: tokens.path, log: SILENT });
    const right = tokens.text("token-50");
    const [id, secret] = [right.slice(4, 16), right.slice(17, 60)];
    const lastWrong = secret.slice(0, -1) + (secret.endsWith("a") ? "b" : "a");
    const kinds = {
      right,
      wrong_secret: formatToken({ ...createToken(), id }),
      last_character_wrong: formatToken({ id, secret: lastWrong }),
      unknown_id: formatToken(createToken()),
    };
    const count = Math.ceil(CHECKS * share);
    const variants = Object.entries(kinds).map(([kind, text]) =>
      variantOf(kind, text, store, count),
    );
    const samples = await measured(variants, rounds);
    store.close();
    const others = Object.keys(kinds).slice(1);
    const ratios = others.map((kind) => ({
      name: `token_check.${kind}_ratio`,
      of: `token_check.${kind}`,
      to: "token_check.right",
      target: undefined,
    }));
    printFigures("ns/record", samples, ratios);
  } finally {
    await rm(directory, { recursive: true });
  }
}

function variantOf(kind: string, text: string, store: TokenStore, count: number): Variant<string> {
  return {
    name: `token_check.${kind}`,
    run() {
      // Without the header, by which valid tokens are remembered.
      for (let index = 0; index < count; index++) store.check(text);
      return count;
    },
  };
}
