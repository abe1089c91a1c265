/** Keys whose values are never shown. Matched anywhere in the key: `api_key`, `proxyPassword`, `x-auth-token`. */
const SECRET_KEY =
  /pass(word|wd|phrase)|secret|token|api[-_]?key|private[-_]?key|access[-_]?key|credential|authorization|cookie|^headers$/i;

/** The user and password of a URL: `https://user:password@host`. */
const URL_CREDENTIALS = /([a-z][a-z0-9+.-]*:\/\/)[^/\s@]+@/gi;

const MASK = "********";

export function isSecretKey(key: string): boolean {
  return SECRET_KEY.test(key);
}

/** A copy to show: what stands under a secret key is masked, and so are the credentials of URLs. */
export function masked(value: unknown, secret = false): unknown {
  if (Array.isArray(value)) return value.map((inner) => masked(inner, secret));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [key, masked(inner, secret || isSecretKey(key))]),
    );
  }
  if (value === undefined || value === null || typeof value === "boolean") return value;
  if (secret) return MASK;
  return typeof value === "string" ? value.replaceAll(URL_CREDENTIALS, `$1${MASK}@`) : value;
}
