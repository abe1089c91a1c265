import { join } from "node:path";
import { createToken, digestOf, formatToken } from "../../src/auth/tokens/token.ts";
import { writeTokensFile, type StoredToken } from "../../src/auth/tokens/tokens-file.ts";
import type { Workspace } from "./workspace.ts";

/** What a test says of a token. */
export interface TestToken {
  readonly scopes: readonly string[];
  readonly filter?: string;
  readonly expires_at?: string;
  readonly revoked_at?: string;
}

/** A tokens file in a workspace, with tokens by name. */
export class TestTokens {
  readonly path: string;
  readonly #stored = new Map<string, StoredToken>();
  readonly #texts = new Map<string, string>();

  private constructor(path: string) {
    this.path = path;
  }

  static async create(
    workspace: Workspace | string,
    tokens: Readonly<Record<string, TestToken>>,
  ): Promise<TestTokens> {
    const name = "tokens.json";
    const file = new TestTokens(
      typeof workspace === "string" ? join(workspace, name) : workspace.path(name),
    );
    for (const [holder, token] of Object.entries(tokens)) file.#add(holder, token);
    await file.#write();
    return file;
  }

  /** Returns a token as its holder sends it. */
  text(name: string): string {
    return this.#texts.get(name)!;
  }

  /** Returns the header that a holder of the token sends. */
  bearer(name: string): { Authorization: string } {
    return { Authorization: `Bearer ${this.text(name)}` };
  }

  async add(name: string, token: TestToken): Promise<void> {
    this.#add(name, token);
    await this.#write();
  }

  async revoke(name: string): Promise<void> {
    const token = this.#stored.get(name)!;
    this.#stored.set(name, { ...token, revoked_at: new Date().toISOString() });
    await this.#write();
  }

  #add(name: string, { scopes, ...rest }: TestToken): void {
    const token = createToken();
    this.#texts.set(name, formatToken(token));
    this.#stored.set(name, {
      id: token.id,
      name,
      sha256: digestOf(token.secret).toString("hex"),
      scopes: [...scopes],
      created_at: "2026-11-30T12:00:00.000Z",
      ...rest,
    });
  }

  async #write(): Promise<void> {
    await writeTokensFile(this.path, [...this.#stored.values()]);
  }
}
