import { Authenticator } from "../auth/authenticator.ts";
import { ClientCertificates } from "../auth/client-certificate.ts";
import { ProxyUsers } from "../auth/proxy-user.ts";
import type { Forwarding } from "../auth/public-base.ts";
import { TokenStore } from "../auth/token-store.ts";
import { defaultTokensFile } from "../auth/tokens-file.ts";
import type { AuthConfig } from "../config/config.ts";
import { TailgateError } from "../wire/errors.ts";
import { hostLogger, type WriteLine } from "./host-log.ts";

/** The parts that decide who may use a gateway, as its configuration says. */
export class Authentication {
  readonly tokens: TokenStore;
  readonly authenticator: Authenticator;

  readonly #certificates: ClientCertificates;

  private constructor(
    tokens: TokenStore,
    proxyUsers: ProxyUsers | undefined,
    certificates: ClientCertificates,
  ) {
    this.tokens = tokens;
    this.#certificates = certificates;
    // A proxy may pass on the password with which it has authenticated a user.
    this.authenticator = new Authenticator([
      ...(proxyUsers ? [proxyUsers] : []),
      tokens,
      // Clients may have a certificate for other services, and a token for this one.
      certificates,
    ]);
  }

  /** @throws TailgateError TOKENS_UNREADABLE */
  static async open(
    config: AuthConfig,
    forwarding: Forwarding,
    write: WriteLine,
  ): Promise<Authentication> {
    const path = config.tokensFile ?? defaultTokensFile(process.env);
    if (path === undefined) {
      const text = "This user has no home directory for the tokens file: set auth.tokens_file.";
      throw new TailgateError("TOKENS_UNREADABLE", text);
    }
    const log = hostLogger("tailgate.auth", write);
    const proxyUsers = config.proxy && new ProxyUsers(config.proxy, forwarding);
    const certificates = new ClientCertificates(config.certificates ?? {});
    return new Authentication(await TokenStore.open({ path, log }), proxyUsers, certificates);
  }

  close(): void {
    this.tokens.close();
    this.#certificates.close();
  }
}
