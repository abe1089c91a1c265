/** A token, or a function that returns the current one; it is called before each connection and each request. */
export type TokenSource = string | (() => string | Promise<string>);

/** The headers that authenticate a request; none without credentials. */
export type AccessHeaders = Readonly<Record<string, string>>;

/** The global object of Node. */
interface Environment {
  readonly process?: { readonly env?: Readonly<Record<string, string | undefined>> };
}

/**
 * Returns the function that creates the headers of each request: with the token, else with `authorization`, else with the
 * environment variable TAILGATE_TOKEN, which a page does not have. It rejects if the token is not valid, or cannot be
 * obtained.
 */
export function accessHeaders(
  token: TokenSource | undefined,
  authorization: string,
): () => Promise<AccessHeaders> {
  const source =
    token ??
    (authorization ? "" : ((globalThis as Environment).process?.env?.["TAILGATE_TOKEN"] ?? ""));
  return async () => {
    const text = (typeof source === "string" ? source : await source()).trim();
    // The error that `fetch` throws would show it.
    if (/[^!-~]/.test(text)) throw new TypeError("The token contains invalid characters.");
    const value = text ? `Bearer ${text}` : authorization;
    return value ? { Authorization: value } : {};
  };
}
