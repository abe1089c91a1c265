import type { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type { SecureContextOptions, TlsOptions } from "node:tls";
import type { HostLogger } from "../plugin/index.ts";
import type { HostTls, SecureServer } from "../plugin/tls.ts";
import { clearTimeout, setTimeout } from "../runtime/timers.ts";
import { textOf } from "../wire/errors.ts";
import { readTlsFiles, stateOfFiles, type TlsFiles, type TlsMaterial } from "./tls-files.ts";

/** Watching the files instead would miss what symbolic links lead to. */
const POLL_MS = 30_000;

/** The certificate and its key are renamed one after the other. */
const RETRY_MS = 1_000;

const DAY_MS = 86_400_000;

/** Authorities renew earlier: by then, something has failed. */
const EXPIRES_SOON_MS = 14 * DAY_MS;

export interface ServerTlsOptions {
  readonly files: TlsFiles;
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  readonly log: HostLogger;
  /** Called after changed files were read: with the certificate that is used from then on, or why they are not used. */
  readonly reloaded?:
    | ((outcome: X509Certificate | { readonly reason: string }) => void)
    | undefined;
  /** How often the files are checked. Default: 30 s. */
  readonly pollMs?: number;
  /** After what time files that cannot be used are read once more. Default: 1 s. */
  readonly retryMs?: number;
}

/**
 * The TLS of all ports. Its lifecycle:
 *
 * 1. `ServerTls.open()`: reads the files, or rejects.
 * 2. Servers are created with `options` and attached.
 * 3. `watch()`: reads the files when they change, checks them, and gives them to the attached servers. Files that cannot be
 *    used change nothing.
 * 4. `close()`: stops watching.
 */
export class ServerTls implements HostTls {
  /** How often changed files were read, by result. */
  readonly reloads = { success: 0, failure: 0 };
  readonly #options: ServerTlsOptions;
  readonly #servers = new Set<SecureServer>();
  #material: TlsMaterial;
  /** The state of the files when they were read last. */
  #state: string;
  #timer: NodeJS.Timeout | undefined;
  #reloading: Promise<void> | undefined;
  #isClosed = false;
  #warnedAtMs = -Infinity;

  private constructor(options: ServerTlsOptions, material: TlsMaterial, state: string) {
    this.#options = options;
    this.#material = material;
    this.#state = state;
    this.#warnIfExpiring();
  }

  /** @throws TailgateError TLS_UNUSABLE */
  static async open(options: ServerTlsOptions): Promise<ServerTls> {
    const state = await stateOfFiles(options.files);
    return new ServerTls(options, await readTlsFiles(options.files), state);
  }

  /** The gateway's certificate. */
  get certificate(): X509Certificate {
    return this.#material.certificate;
  }

  /** Whether the certificate is for this host name or IP address. */
  isFor(host: string): boolean {
    const { certificate } = this;
    return (
      (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined
    );
  }

  get options(): TlsOptions {
    const requestsCertificate = this.#options.files.clientCa !== undefined;
    // A browser without a certificate must be able to connect: whether one is needed is decided by request.
    return { ...this.#context, requestCert: requestsCertificate, rejectUnauthorized: false };
  }

  get #context(): SecureContextOptions {
    return { ...this.#material.context, minVersion: this.#options.minVersion };
  }

  attach(server: SecureServer): void {
    this.#servers.add(server);
    server.once("close", () => this.#servers.delete(server));
    // The files may have changed since its creation.
    server.setSecureContext(this.#context);
  }

  /** Reads the files again if they have changed. Never rejects. */
  reload(): Promise<void> {
    return (this.#reloading ??= this.#reload().finally(() => (this.#reloading = undefined)));
  }

  watch(): void {
    if (this.#isClosed) return;
    const { pollMs = POLL_MS } = this.#options;
    this.#timer = setTimeout(() => void this.#poll(), pollMs).unref();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #poll(): Promise<void> {
    await this.reload();
    this.#warnIfExpiring();
    this.watch();
  }

  async #reload(): Promise<void> {
    if ((await stateOfFiles(this.#options.files)) === this.#state) return;
    try {
      await this.#read().catch(() => this.#readLater());
    } catch (error) {
      this.reloads.failure++;
      const text = "The changed TLS files are not used; the previous certificate stays in use.";
      this.#options.log.error(text, error);
      this.#options.reloaded?.({ reason: textOf(error) });
    }
  }

  async #readLater(): Promise<void> {
    const { retryMs = RETRY_MS } = this.#options;
    await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
    await this.#read();
  }

  async #read(): Promise<void> {
    const { files, log } = this.#options;
    this.#state = await stateOfFiles(files);
    const material = await readTlsFiles(files);
    if (this.#isClosed || isSame(material, this.#material)) return;
    const flaw = findFlaw(material.certificate);
    if (flaw !== undefined && findFlaw(this.certificate) === undefined) {
      throw new Error(`${files.certificate} ${flaw}, and the previous certificate is valid.`);
    }
    this.#material = material;
    for (const server of this.#servers) server.setSecureContext(this.#context);
    this.reloads.success++;
    this.#warnedAtMs = -Infinity;
    log.info(
      `The TLS files have changed. The certificate is now ${describe(material.certificate)}.`,
    );
    this.#options.reloaded?.(material.certificate);
    this.#warnIfExpiring();
  }

  /** Once a day. */
  #warnIfExpiring(): void {
    const nowMs = performance.now();
    if (nowMs - this.#warnedAtMs < DAY_MS) return;
    const text = expiryText(this.certificate);
    if (text === undefined) return;
    this.#warnedAtMs = nowMs;
    this.#options.log.warning(text);
  }
}

function isSame({ context: one }: TlsMaterial, { context: other }: TlsMaterial): boolean {
  return one.cert === other.cert && one.key === other.key && one.ca === other.ca;
}

/** Returns why clients do not accept the certificate at this time. */
function findFlaw({ validFromDate, validToDate }: X509Certificate): string | undefined {
  const nowMs = Date.now();
  if (validToDate.getTime() < nowMs) return `expired at ${validToDate.toISOString()}`;
  if (validFromDate.getTime() > nowMs) return `is not valid before ${validFromDate.toISOString()}`;
  return undefined;
}

function expiryText(certificate: X509Certificate): string | undefined {
  const flaw = findFlaw(certificate);
  const name = `The TLS certificate ${describe(certificate)}`;
  if (flaw !== undefined) return `${name} ${flaw}: clients reject it. Renew it.`;
  const leftMs = certificate.validToDate.getTime() - Date.now();
  if (leftMs >= EXPIRES_SOON_MS) return undefined;
  const days = Math.floor(leftMs / DAY_MS);
  return `${name} expires in ${days === 1 ? "1 day" : `${days} days`}. Renew it; the gateway reads the new files by itself.`;
}

/** Returns its names for people, and when it expires. */
function describe({ subjectAltName, subject, validToDate }: X509Certificate): string {
  const names = subjectAltName ?? subject.replaceAll("\n", ", ");
  return `(${names}, valid until ${validToDate.toISOString()})`;
}
