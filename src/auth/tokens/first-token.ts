import { createToken } from "./token.ts";
import { changeTokensFile, readTokensFile, type StoredToken } from "./tokens-file.ts";

/** No secret has this digest: the token signs in with login links only, and nobody can have it. */
const NO_SECRET = "0".repeat(64);

const NAME = "admin";

/**
 * Creates the first token, with the scope `admin`, if the file has none. Returns its id as long as it is the only valid one:
 * nobody could use the gateway without a login link then. Returns undefined if there are others.
 * @throws TailgateError TOKENS_UNREADABLE or TOKENS_NOT_WRITTEN
 */
export async function firstToken(path: string): Promise<string | undefined> {
  const { tokens = [] } = (await readTokensFile(path)) ?? {};
  if (tokens.length === 0) return createUnlessThereAreSome(path);
  const [only, ...others] = tokens.filter(isValid);
  return others.length === 0 && only?.sha256 === NO_SECRET ? only.id : undefined;
}

function createUnlessThereAreSome(path: string): Promise<string | undefined> {
  return changeTokensFile(path, (tokens) => {
    if (tokens.length > 0) return { tokens, result: undefined };
    const token = createFirstToken();
    return { tokens: [token], result: token.id };
  });
}

function createFirstToken(): StoredToken {
  return {
    id: createToken().id,
    name: NAME,
    sha256: NO_SECRET,
    scopes: ["admin"],
    created_at: new Date().toISOString(),
  };
}

function isValid({ revoked_at: revokedAt, expires_at: expiresAt }: StoredToken): boolean {
  const isExpired = expiresAt !== undefined && Date.parse(expiresAt) <= Date.now();
  return revokedAt === undefined && !isExpired;
}
