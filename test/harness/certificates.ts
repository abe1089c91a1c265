/** X.509 certificates for tests: with any names and dates, in milliseconds, and without openssl. */

import {
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  X509Certificate,
  type KeyObject,
} from "node:crypto";

/** A key and its certificate in PEM format. */
export interface TestCertificate {
  readonly cert: string;
  readonly key: string;
  readonly name: string;
}

export interface CertificateOptions {
  /** The authority that signs it; without one, it signs itself. */
  readonly by?: TestCertificate;
  /** As `DNS:localhost`, `IP:127.0.0.1`, `URI:spiffe://a`. Default: those of a gateway on this machine. */
  readonly names?: readonly string[];
  readonly isAuthority?: boolean;
  /** Relative to now. Default: valid since an hour ago, and for 90 days. */
  readonly fromMs?: number;
  readonly toMs?: number;
}

const HOUR_MS = 3_600_000;

/** Issues a certificate with this common name. */
export function issueCertificate(name: string, options: CertificateOptions = {}): TestCertificate {
  const { by, isAuthority = false, fromMs = -HOUR_MS, toMs = 90 * 24 * HOUR_MS } = options;
  const { names = isAuthority ? [] : ["DNS:localhost", "IP:127.0.0.1"] } = options;
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const signer: KeyObject = by === undefined ? privateKey : createPrivateKey(by.key);
  const algorithm = sequence(objectId(ECDSA_WITH_SHA256));
  const extensions = [
    extension(BASIC_CONSTRAINTS, sequence(...(isAuthority ? [boolean(true)] : []))),
  ];
  if (names.length > 0) {
    extensions.push(extension(SUBJECT_ALT_NAME, sequence(...names.map(alternativeName))));
  }
  const content = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    algorithm,
    commonName(by?.name ?? name),
    sequence(time(Date.now() + fromMs), time(Date.now() + toMs)),
    commonName(name),
    publicKey.export({ type: "spki", format: "der" }),
    tagged(0xa3, sequence(...extensions)),
  );
  const signature = Buffer.concat([Buffer.from([0]), sign("sha256", content, signer)]);
  const certificate = new X509Certificate(sequence(content, algorithm, tagged(0x03, signature)));
  const key = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  return { cert: certificate.toString(), key, name };
}

const ECDSA_WITH_SHA256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const COMMON_NAME = [0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME = [0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS = [0x55, 0x1d, 0x13];

/** Encodes a value in DER (X.690). */
function tagged(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const head = length < 0x80 ? [tag, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => tagged(0x30, ...parts);
const integer = (bytes: Buffer): Buffer => tagged(0x02, bytes);
const boolean = (value: boolean): Buffer => tagged(0x01, Buffer.from([value ? 0xff : 0]));
const objectId = (bytes: readonly number[]): Buffer => tagged(0x06, Buffer.from(bytes));
const utf8 = (text: string): Buffer => tagged(0x0c, Buffer.from(text));

function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  return tagged(0x18, Buffer.from(text));
}

function commonName(text: string): Buffer {
  return sequence(tagged(0x31, sequence(objectId(COMMON_NAME), utf8(text))));
}

function extension(id: readonly number[], value: Buffer): Buffer {
  return sequence(objectId(id), tagged(0x04, value));
}

function alternativeName(name: string): Buffer {
  const [, kind, value = ""] = /^(DNS|IP|URI):([^]*)$/.exec(name) ?? [];
  if (kind === "IP") return tagged(0x87, Buffer.from(value.split(".").map(Number)));
  return tagged(kind === "DNS" ? 0x82 : 0x86, Buffer.from(value, "latin1"));
}
