/** Matches keys whose values are never shown, anywhere in the key: `api_key`, `proxyPassword`, `x-auth-token`. */
const SECRET_KEY =
  /pass(word|wd|phrase)|secret|token|api[-_]?key|private[-_]?key|access[-_]?key|credential|authorization|cookie|^headers$/i;

/** Matches the user and the password of a URL, up to the last `@` of the authority, as URL parsers do. */
const URL_CREDENTIALS = /([a-z][a-z0-9+.-]*:\/\/)[^/?#\s]*@/gi;

/** Matches the query of a URL, which often contains a key: `https://host/path?api_key=...`. */
const URL_QUERY = /([a-z][a-z0-9+.-]*:\/\/[^?#\s]*\?)[^#\s]+/gi;

const MASK = "********";

/** The path of a file with secrets is none itself: `tokens_file`. */
const FILE_KEY = /[-_]file$/i;

export function isSecretKey(key: string): boolean {
  return SECRET_KEY.test(key) && !FILE_KEY.test(key);
}

/** Returns a copy for display: values of secret keys, and the credentials and queries of URLs, are masked. */
export function mask(value: unknown, isSecret = false): unknown {
  if (Array.isArray(value)) return value.map((inner) => mask(inner, isSecret));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [key, mask(inner, isSecret || isSecretKey(key))]),
    );
  }
  if (value === undefined || value === null || typeof value === "boolean") return value;
  if (isSecret) return MASK;
  return typeof value === "string" ? maskUrls(value) : value;
}

/** Returns the text with the credentials and queries of the URLs in it masked. */
export function maskUrls(text: string): string {
  return text.replaceAll(URL_CREDENTIALS, `$1${MASK}@`).replaceAll(URL_QUERY, `$1${MASK}`);
}
