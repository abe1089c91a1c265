import type { X509Certificate } from "node:crypto";
import type { Access, AddressedRequest, RouteRefusal } from "../plugin/index.ts";
import { clearTimeout, setTimeout } from "../runtime/timers.ts";
import { printable, quotedExcerpt } from "../wire/printable.ts";
import { grantedAccess, isRefusal, type AuthMethod, type Grant } from "./access.ts";
import { namesOf } from "./certificate-names.ts";
import { foreignPageRefusal } from "./own-page.ts";
import { noAccess, rejectedCredentials } from "./refusals.ts";

/** Names are part of audit events and log lines. */
const NAME_CHARACTERS_MAX = 256;

/** How many certificates are remembered. */
const CERTIFICATES_MAX = 1000;

/** Timers do not notice when the clock is set, or that the machine was suspended. */
const CHECK_INTERVAL_MS = 60_000;

/** SHA-256, as `openssl x509 -fingerprint` prints it, or without colons. */
const FINGERPRINT = /^(?:[0-9a-f]{2}:){31}[0-9a-f]{2}$|^[0-9a-f]{64}$/i;

/** A certificate that has been seen. */
interface Known {
  readonly outcome: Access | RouteRefusal;
  readonly expiresAtMs: number;
}

/**
 * Clients with a certificate of an authority in `tls.client_ca`. The configuration names those that may do something, by a
 * name in the certificate or by its fingerprint.
 */
export class ClientCertificates implements AuthMethod {
  readonly #grants = new Map<string, Grant>();
  readonly #known = new Map<string, Known>();
  readonly #bySocket = new WeakMap<AddressedRequest["socket"], Known>();
  readonly #timers = new Set<NodeJS.Timeout>();

  /** `grants`: by the name or the fingerprint. */
  constructor(grants: Readonly<Record<string, Grant>>) {
    for (const [name, grant] of Object.entries(grants)) this.#grants.set(keyOf(name), grant);
  }

  authenticate(request: AddressedRequest): Access | RouteRefusal | undefined {
    const { socket } = request;
    // A certificate that nobody has signed arrives as well, and says whatever its owner wants.
    if (socket.authorized !== true) return undefined;
    let known = this.#bySocket.get(socket);
    if (known === undefined || isOutdated(known)) {
      // A TLS 1.3 session that was resumed without a certificate is authorized, too.
      const certificate = socket.getPeerX509Certificate?.();
      if (certificate === undefined) return undefined;
      known = this.#knownOf(certificate);
      this.#bySocket.set(socket, known);
    }
    if (known.expiresAtMs <= Date.now()) return expired(known.expiresAtMs);
    return foreignPageRefusal(request) ?? known.outcome;
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #knownOf(certificate: X509Certificate): Known {
    const { fingerprint256 } = certificate;
    const known = this.#known.get(fingerprint256);
    if (known !== undefined && !isOutdated(known)) return known;
    const expiresAtMs = certificate.validToDate.getTime();
    const found = { outcome: this.#outcomeOf(certificate, expiresAtMs), expiresAtMs };
    if (this.#known.size >= CERTIFICATES_MAX) this.#known.clear();
    this.#known.set(fingerprint256, found);
    return found;
  }

  #outcomeOf(certificate: X509Certificate, expiresAtMs: number): Access | RouteRefusal {
    const { fingerprint256 } = certificate;
    const names = namesOf(certificate).filter(isUsable);
    const byFingerprint = this.#grants.get(fingerprint256);
    const name = byFingerprint ? names[0] : names.find((one) => this.#grants.has(keyOf(one)));
    const grant = byFingerprint ?? (name === undefined ? undefined : this.#grants.get(keyOf(name)));
    if (grant === undefined) return unknown(names, fingerprint256);
    const ending = new AbortController();
    this.#abortAt(expiresAtMs, ending);
    return grantedAccess(`certificate:${name ?? fingerprint256}`, grant, ending.signal);
  }

  #abortAt(expiresAtMs: number, ending: AbortController): void {
    const leftMs = Math.min(expiresAtMs - Date.now(), CHECK_INTERVAL_MS);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (Date.now() >= expiresAtMs) ending.abort();
      else this.#abortAt(expiresAtMs, ending);
    }, leftMs).unref();
    this.#timers.add(timer);
  }
}

/** Whoever gets an access relies on its signal: one that a wrong clock has ended must be replaced. */
function isOutdated({ outcome, expiresAtMs }: Known): boolean {
  return !isRefusal(outcome) && outcome.signal!.aborted && Date.now() < expiresAtMs;
}

/** Returns the key of a grant: fingerprints as Node has them, and names regardless of their case, except for URIs. */
function keyOf(name: string): string {
  if (!FINGERPRINT.test(name)) return name.includes("://") ? name : name.toLowerCase();
  const digits = name.replaceAll(":", "").toUpperCase();
  return digits.match(/../g)!.join(":");
}

/** A name must not pass for the fingerprint of another certificate. */
function isUsable(name: string): boolean {
  if (name === "" || name.length > NAME_CHARACTERS_MAX || FINGERPRINT.test(name)) return false;
  return printable(name) === name;
}

function unknown([name]: readonly string[], fingerprint: string): RouteRefusal {
  const shown = name === undefined ? fingerprint : quotedExcerpt(name);
  return noAccess(
    `The client certificate ${shown} may not use this gateway: it is not in auth.certificates.`,
  );
}

function expired(atMs: number): RouteRefusal {
  return rejectedCredentials(`The client certificate expired at ${new Date(atMs).toISOString()}.`);
}
