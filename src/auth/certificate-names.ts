/**
 * The names in an X.509 certificate. Node offers them as one printed text; whoever searched such texts was deceived by names
 * that contain separators (CVE-2021-44531 to -44533). So the encoded form is read (RFC 5280, 4.2.1.6; X.690).
 */

import type { X509Certificate } from "node:crypto";

const SEQUENCE = 0x30;
const OBJECT_IDENTIFIER = 0x06;
const OCTET_STRING = 0x04;
/** The field `extensions` of a certificate. */
const EXTENSIONS = 0xa3;
/** The alternatives of GeneralName. */
const DNS_NAME = 0x82;
const URI = 0x86;

/** 2.5.29.17 */
const SUBJECT_ALT_NAME = Buffer.from([0x55, 0x1d, 0x11]);

/** One encoded value: its tag, and what it contains. */
interface Value {
  readonly tag: number;
  readonly content: Buffer;
}

/**
 * Returns the names of a certificate's subject, in the order of their precedence: URIs, DNS names, and only without those the
 * common name. Empty if it has none, more than one common name, or names that cannot be read.
 */
export function namesOf(certificate: X509Certificate): string[] {
  let alternatives: Value[];
  try {
    alternatives = alternativeNames(certificate.raw);
  } catch {
    return [];
  }
  const named = (tag: number): string[] =>
    alternatives
      .filter((name) => name.tag === tag)
      .map(({ content }) => content.toString("latin1"));
  const names = [...named(URI), ...named(DNS_NAME)];
  if (names.length > 0) return names;
  // Not printed, unlike `certificate.subject`. Several common names are an array.
  const { CN: commonName } = certificate.toLegacyObject().subject as { CN?: unknown };
  return typeof commonName === "string" ? [commonName] : [];
}

/** @throws RangeError for an extension that is not encoded correctly. */
function alternativeNames(der: Buffer): Value[] {
  const [certificate] = valuesIn(der);
  const [toBeSigned] = valuesIn(certificate!.content);
  const extensions = valuesIn(toBeSigned!.content).find(({ tag }) => tag === EXTENSIONS);
  if (extensions === undefined) return [];
  const [list] = valuesIn(extensions.content);
  for (const extension of valuesIn(list!.content)) {
    const [id, ...rest] = valuesIn(extension.content);
    if (id?.tag !== OBJECT_IDENTIFIER || !id.content.equals(SUBJECT_ALT_NAME)) continue;
    const value = rest.find(({ tag }) => tag === OCTET_STRING);
    const [names] = valuesIn(value?.content ?? Buffer.alloc(0));
    if (names?.tag !== SEQUENCE) throw new RangeError("The alternative names are no sequence.");
    return valuesIn(names.content);
  }
  return [];
}

/** Splits a buffer into the values that it consists of. */
function valuesIn(bytes: Buffer): Value[] {
  const values: Value[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes.readUInt8(at);
    const short = bytes.readUInt8(at + 1);
    const lengthBytes = short < 0x80 ? 0 : short & 0x7f;
    const length = lengthBytes === 0 ? short : bytes.readUIntBE(at + 2, lengthBytes);
    const start = at + 2 + lengthBytes;
    const end = start + length;
    if (end > bytes.length) throw new RangeError("A value is longer than what contains it.");
    values.push({ tag, content: bytes.subarray(start, end) });
    at = end;
  }
  return values;
}
