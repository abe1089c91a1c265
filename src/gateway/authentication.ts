import { Authenticator } from "../auth/authenticator.ts";
import { TokenStore } from "../auth/token-store.ts";
import { defaultTokensFile } from "../auth/tokens-file.ts";
import type { AuthConfig } from "../config/config.ts";
import { TailgateError } from "../wire/errors.ts";
import { hostLogger, type WriteLine } from "./host-log.ts";

/** The parts that decide who may use a gateway, as its configuration says. */
export class Authentication {
  readonly tokens: TokenStore;
  readonly authenticator: Authenticator;

  private constructor(tokens: TokenStore) {
    this.tokens = tokens;
    this.authenticator = new Authenticator([tokens]);
  }

  /** @throws TailgateError TOKENS_UNREADABLE */
  static async open(config: AuthConfig, write: WriteLine): Promise<Authentication> {
    const path = config.tokensFile ?? defaultTokensFile(process.env);
    if (path === undefined) {
      const text = "This user has no home directory for the tokens file: set auth.tokens_file.";
      throw new TailgateError("TOKENS_UNREADABLE", text);
    }
    const log = hostLogger("tailgate.auth", write);
    return new Authentication(await TokenStore.open({ path, log }));
  }

  close(): void {
    this.tokens.close();
  }
}
