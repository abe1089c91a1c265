import { createToken, digestOf, formatToken } from "./token.ts";
import { grantedAccess, type Grant } from "../access.ts";
import type { StoredToken } from "./tokens-file.ts";

export interface IssueOptions extends Grant {
  readonly name: string;
  /** Null: never. */
  readonly expires: Date | null;
}

/** A new token. Its text is not stored anywhere: whoever issues it must hand it to its holder. */
export interface IssuedToken {
  readonly text: string;
  readonly stored: StoredToken;
}

/**
 * Returns a new token with what the tokens file stores of it.
 * @throws TailgateError SCOPE_INVALID or FILTER_INVALID
 */
export function issueToken({ name, scopes, filter, expires }: IssueOptions): IssuedToken {
  grantedAccess(`token:${name}`, { scopes, filter });
  const token = createToken();
  const stored = {
    id: token.id,
    name,
    sha256: digestOf(token.secret).toString("hex"),
    scopes: [...new Set(scopes)],
    ...(filter !== undefined && { filter }),
    created_at: new Date().toISOString(),
    ...(expires !== null && { expires_at: expires.toISOString() }),
  };
  return { text: formatToken(token), stored };
}

export type TokenState = "valid" | "expired" | "revoked";

export function stateOf(token: StoredToken, nowMs = Date.now()): TokenState {
  if (token.revoked_at !== undefined) return "revoked";
  const { expires_at: expiresAt } = token;
  return expiresAt !== undefined && Date.parse(expiresAt) <= nowMs ? "expired" : "valid";
}
