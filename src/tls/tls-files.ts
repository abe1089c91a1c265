/** The certificate, the key and the authorities of the TLS configuration, as files that someone else renews. */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { TailgateError, textOf } from "../wire/errors.ts";

/** Absolute paths. */
export interface TlsFiles {
  /** The gateway's certificate and the intermediate ones after it. */
  readonly certificate: string;
  readonly key: string;
  /** The authorities whose client certificates are accepted; undefined to request none. */
  readonly clientCa: string | undefined;
}

/** What the files contain. It has been checked to work. */
export interface TlsMaterial {
  readonly context: Pick<SecureContextOptions, "cert" | "key" | "ca">;
  /** The gateway's own certificate. */
  readonly certificate: X509Certificate;
}

/** A chain is some kilobytes, a bundle of all public authorities some hundreds. */
const FILE_BYTES_MAX = 4 << 20;

const ACCESSIBLE_BY_ALL = 0o006;

/** Without O_NONBLOCK, opening a FIFO would block until it has a writer. Links are followed: certbot and Kubernetes use them. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

const PEM_BEGIN = /-----BEGIN CERTIFICATE-----/g;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** PKCS #8 and the older form of OpenSSL. */
const ENCRYPTED_KEY = /^(-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED)/m;

/**
 * Reads and checks the files.
 * @throws TailgateError TLS_UNUSABLE
 */
export async function readTlsFiles(files: TlsFiles): Promise<TlsMaterial> {
  const cert = await readText("certificate", files.certificate);
  const [certificate] = parseCertificates("certificate", files.certificate, cert);
  const key = await readText("key", files.key);
  checkKey(files, key, certificate!);
  const ca = files.clientCa === undefined ? undefined : await readText("client_ca", files.clientCa);
  if (ca !== undefined) parseCertificates("client_ca", files.clientCa!, ca);
  const context = { cert, key, ...(ca !== undefined && { ca }) };
  try {
    createSecureContext(context);
  } catch (error) {
    throw unusable("certificate", files.certificate, `cannot be used: ${textOf(error)}`, error);
  }
  return { context, certificate: certificate! };
}

/** Returns a text that changes if one of the files is replaced, renewed or gets other permissions. */
export async function stateOfFiles({ certificate, key, clientCa }: TlsFiles): Promise<string> {
  const paths = [certificate, key, ...(clientCa === undefined ? [] : [clientCa])];
  const states = paths.map(async (path) => {
    const stats = await stat(path).catch((error: NodeJS.ErrnoException) => error);
    if (stats instanceof Error) return stats.code;
    return [stats.dev, stats.ino, stats.size, stats.mtimeMs, stats.ctimeMs].join(" ");
  });
  return (await Promise.all(states)).join("\n");
}

type Option = "certificate" | "key" | "client_ca";

async function readText(option: Option, path: string): Promise<string> {
  try {
    await using handle = await open(path, READ_FLAGS);
    const stats = await handle.stat();
    if (!stats.isFile()) throw unusable(option, path, "is not a file");
    if (stats.size > FILE_BYTES_MAX) throw unusable(option, path, "is too large");
    if (option === "key" && process.platform !== "win32" && stats.mode & ACCESSIBLE_BY_ALL) {
      const mode = (stats.mode & 0o7777).toString(8).padStart(4, "0");
      throw unusable(option, path, `is accessible to all users (mode ${mode})`);
    }
    return await handle.readFile("utf8");
  } catch (error) {
    if (TailgateError.is(error)) throw error;
    throw unusable(option, path, `cannot be read (${textOf(error)})`, error);
  }
}

/** Returns at least one certificate. */
function parseCertificates(option: Option, path: string, pem: string): X509Certificate[] {
  const blocks = pem.match(PEM_CERTIFICATE) ?? [];
  const begun = pem.match(PEM_BEGIN)?.length ?? 0;
  if (begun === 0) throw unusable(option, path, "contains no certificate in PEM format");
  if (begun !== blocks.length)
    throw unusable(option, path, "is incomplete: a certificate has no end");
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      const why = `cannot be parsed: certificate ${index + 1} is invalid (${textOf(error)})`;
      throw unusable(option, path, why, error);
    }
  });
}

function checkKey(files: TlsFiles, pem: string, certificate: X509Certificate): void {
  let matches: boolean;
  try {
    matches = certificate.checkPrivateKey(createPrivateKey(pem));
  } catch (error) {
    const why = ENCRYPTED_KEY.test(pem)
      ? "is encrypted; it must be stored without a passphrase"
      : "is not a private key in PEM format";
    throw unusable("key", files.key, why, error);
  }
  if (matches) return;
  throw unusable("key", files.key, `does not belong to the certificate ${files.certificate}`);
}

function unusable(option: Option, path: string, why: string, cause?: unknown): TailgateError {
  return new TailgateError("TLS_UNUSABLE", `tls.${option}: ${path} ${why}.`, { cause });
}
