import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { createSecureContext } from "node:tls";
import { textOf } from "tailgate/plugin";
import type { Setting } from "./setting.ts";

/** The contents of PEM files. */
export interface TlsFiles {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** The options that name PEM files. */
export const FILE_OPTIONS = ["certificate", "client_certificate", "client_key"] as const;

export type FileOption = (typeof FILE_OPTIONS)[number];

/** @throws Error if a file cannot be read or is not valid. */
export function readTlsFiles(files: Readonly<Partial<Record<FileOption, Setting>>>): TlsFiles {
  const { certificate, client_certificate: certificateFile, client_key: keyFile } = files;
  const ca = certificate && readPem(certificate);
  const cert = certificateFile && readPem(certificateFile);
  const key = keyFile && readPem(keyFile);
  const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
  const sources = Object.values(files).map(({ source }) => source);
  try {
    // createSecureContext silently ignores a CA that is not a certificate.
    if (ca !== undefined) void new X509Certificate(ca);
    createSecureContext(tls);
    if (cert !== undefined && key === undefined) throw new Error("client_key is missing");
    if (key !== undefined && cert === undefined) throw new Error("client_certificate is missing");
  } catch (error) {
    throw new Error(`the certificates are not valid: ${textOf(error)} (${sources.join(", ")})`, {
      cause: error,
    });
  }
  return tls;
}

function readPem(file: Setting): Buffer {
  return readSecretFile(file, "a PEM file");
}

/** The error shows neither the path nor its cause: people put the content there, perhaps a private key. */
export function readSecretFile({ value, source }: Setting, kind: string): Buffer {
  let code: string | undefined;
  try {
    return readFileSync(resolve(value));
  } catch (error) {
    ({ code } = error as NodeJS.ErrnoException);
  }
  const name = source.replace(/^option /, "");
  throw new Error(`the file of ${name} cannot be read (${code}); expected the path of ${kind}`);
}
