/** A URL to send requests to. */
export interface RequestUrl {
  /** Without user and password: `fetch` rejects them, and texts that name the URL would show them. */
  readonly url: URL;
  /** The URL as errors and logs may show it: without user, password, query and fragment. */
  readonly name: string;
  /** The value of `Authorization` that the user and the password stand for (RFC 7617); undefined without them. */
  readonly authorization: string | undefined;
}

/**
 * Takes the user and the password out of a URL, and makes a header of them. Escapes (`%40`) are decoded as UTF-8; what
 * is no valid escape is taken as it is.
 * @throws TypeError if the text is no URL.
 */
export function requestUrl(given: string | URL): RequestUrl {
  const url = new URL(given);
  const { username, password } = url;
  url.username = "";
  url.password = "";
  const name = `${url.origin}${url.pathname}`;
  if (username === "" && password === "") return { url, name, authorization: undefined };
  const credentials = Buffer.from(`${decoded(username)}:${decoded(password)}`);
  return { url, name, authorization: `Basic ${credentials.toString("base64")}` };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Appends to the path of a URL, before its query, with one slash in between: `/base?a=b` and `v1/logs` are `/base/v1/logs?a=b`. */
export function withPath(base: string | URL, path: string): URL {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path.replace(/^\/+/, "")}`;
  return url;
}
