import { createSecretId, hashSecretId } from "./secret-ids.ts";

/** How long a login link is valid. */
const LOGIN_CODE_MINUTES = 10;

interface LoginCode {
  readonly tokenId: string;
  readonly expiresMs: number;
}

/** The codes of login links. A code signs in once, with the token that it was made for. */
export class LoginCodes {
  readonly #codes = new Map<string, LoginCode>();
  readonly #now: () => number;

  /** `now`: a monotonic clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  create(tokenId: string): string {
    const code = createSecretId();
    const expiresMs = this.#now() + LOGIN_CODE_MINUTES * 60_000;
    this.#codes.set(hashSecretId(code)!, { tokenId, expiresMs });
    return code;
  }

  /** Returns the token of a code, which is used up by this; undefined if it is not valid. */
  redeem(text: string): string | undefined {
    const hash = hashSecretId(text);
    const code = hash === undefined ? undefined : this.#codes.get(hash);
    if (code === undefined) return undefined;
    this.#codes.delete(hash!);
    return code.expiresMs > this.#now() ? code.tokenId : undefined;
  }
}
