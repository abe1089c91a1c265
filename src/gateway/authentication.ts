import { createHash } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import type { AccessEvent } from "../auth/access-trail.ts";
import { Authenticator } from "../auth/authenticator.ts";
import { ClientCertificates } from "../auth/client-certificate.ts";
import { firstToken } from "../auth/tokens/first-token.ts";
import { ProxyUsers } from "../auth/proxies/proxy-user.ts";
import type { Forwarding } from "../auth/proxies/public-base.ts";
import { SignIn } from "../auth/sessions/sign-in.ts";
import { Tickets } from "../auth/sessions/tickets.ts";
import { TokenStore } from "../auth/tokens/token-store.ts";
import { tokensFileAt } from "../auth/tokens/tokens-file.ts";
import type { Config } from "../config/config.ts";
import { hostLogger, type WriteLine } from "./host-log.ts";

type AuthenticationConfig = Pick<Config, "logDir" | "port"> & {
  readonly auth: NonNullable<Config["auth"]>;
};

interface AuthenticationHost {
  readonly forwarding: Forwarding;
  readonly write: WriteLine;
  /** Records logins in the access trail; undefined without one. */
  readonly record: ((event: AccessEvent) => void) | undefined;
}

/** Where sessions survive a restart, in the log directory. */
const SESSIONS_FILE = "sessions.json";

/** The parts that decide who may use a gateway, as its configuration says. */
export class Authentication {
  readonly tokens: TokenStore;
  readonly tickets = new Tickets();
  readonly signIn: SignIn;
  readonly authenticator: Authenticator;
  readonly tokensFile: string;

  readonly #certificates: ClientCertificates;

  private constructor(
    tokensFile: string,
    tokens: TokenStore,
    config: AuthenticationConfig,
    { forwarding, write, record }: AuthenticationHost,
  ) {
    this.tokensFile = tokensFile;
    const { idleMs, absoluteMs, survivesRestart } = config.auth.sessions;
    this.tokens = tokens;
    const { proxy, certificates = {} } = config.auth;
    this.#certificates = new ClientCertificates(certificates);
    const proxyUsers = proxy === undefined ? [] : [new ProxyUsers(proxy, forwarding)];
    const withoutSession = [
      // A proxy may pass on the password with which it has authenticated a user.
      ...proxyUsers,
      tokens,
      // Clients may have a certificate for other services, and a token for this one.
      this.#certificates,
    ];
    this.signIn = new SignIn({
      tokens,
      withoutSession,
      instance: instanceOf(config),
      idleMs,
      absoluteMs,
      file: survivesRestart ? join(config.logDir, SESSIONS_FILE) : undefined,
      log: hostLogger("tailgate.auth", write),
      ...(record && { record }),
    });
    this.authenticator = new Authenticator([this.tickets, this.signIn, ...withoutSession]);
  }

  /** @throws TailgateError TOKENS_UNREADABLE */
  static async open(
    config: AuthenticationConfig,
    host: AuthenticationHost,
  ): Promise<Authentication> {
    const path = tokensFileAt(config.auth.tokensFile);
    const log = hostLogger("tailgate.auth", host.write);
    const tokens = await TokenStore.open({ path, log });
    return new Authentication(path, tokens, config, host);
  }

  /**
   * Returns the code of a login link for the first token, which it creates if there is none; undefined if there are other
   * tokens.
   * @throws TailgateError TOKENS_UNREADABLE or TOKENS_NOT_WRITTEN
   */
  async firstLoginCode(): Promise<string | undefined> {
    const tokenId = await firstToken(this.tokensFile);
    if (tokenId === undefined) return undefined;
    await this.tokens.reload();
    return this.signIn.codes.create(tokenId);
  }

  close(): void {
    this.tokens.close();
    this.#certificates.close();
    this.signIn.close();
  }
}

/**
 * Returns a name for the session cookie that differs between gateways of one host, and stays the same when a gateway
 * restarts. The port would not do: several gateways may have the same one behind tunnels to one machine.
 */
function instanceOf({ logDir, port }: AuthenticationConfig): string {
  const place = JSON.stringify([hostname(), logDir, port]);
  return createHash("sha256").update(place).digest("hex").slice(0, 8);
}
