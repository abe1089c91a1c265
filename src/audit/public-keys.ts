/** Public keys: the current one and every previous one, which verify checkpoints and are stored beside the private key. */

import { createHash, createPublicKey, verify, type KeyObject } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { readFile, rename, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { HostLogger } from "../plugin/index.ts";
import { signedText, type Checkpoint } from "./checkpoint.ts";
import { findKeyThreat, publicKeyFile, writeTemporary } from "./key-files.ts";
import type { TrailFinding } from "./trail.ts";

const ID_DIGITS = 16;

export class PublicKey {
  /** The first 16 hex digits of the SHA-256 of the key in DER (SPKI). */
  readonly id: string;
  readonly #key: KeyObject;

  constructor(key: KeyObject) {
    this.#key = key;
    const der = key.export({ type: "spki", format: "der" });
    this.id = createHash("sha256").update(der).digest("hex").slice(0, ID_DIGITS);
  }

  /** @throws TailgateError AUDIT_UNREADABLE */
  static read(path: string): PublicKey {
    let key: KeyObject;
    try {
      key = createPublicKey(readFileSync(path));
    } catch (error) {
      const text = `The public key ${path} cannot be read (${textOf(error)}). Without it, checkpoints cannot be verified.`;
      throw new TailgateError("AUDIT_UNREADABLE", text, { cause: error });
    }
    if (key.asymmetricKeyType !== "ed25519") {
      throw new TailgateError("AUDIT_UNREADABLE", `The public key ${path} is not an Ed25519 key.`);
    }
    return new PublicKey(key);
  }

  get pem(): string {
    return this.#key.export({ type: "spki", format: "pem" }) as string;
  }

  hasSigned(checkpoint: Checkpoint): boolean {
    const text = Buffer.from(signedText(checkpoint));
    return verify(null, text, this.#key, Buffer.from(checkpoint.signature, "base64"));
  }
}

export interface KeyRing {
  readonly keys: readonly PublicKey[];
  /** Files that do not contain the key that they should. */
  readonly findings: readonly TrailFinding[];
  /** In which directory others could have replaced the keys, and why; undefined if they could not. */
  readonly threat: string | undefined;
}

const ID = /^[0-9a-f]{16}$/;

const SUFFIX = ".pub.pem";

const PUBLIC_MODE = 0o644;

/**
 * Writes the public key of a private one beside it, where verifiers look for it, and a copy that is retained after a
 * change of the key. If there is a different public key, it is retained too. Failure is not fatal: verifiers can obtain
 * the key elsewhere.
 */
export async function publishKey(keyFile: string, key: PublicKey, log: HostLogger): Promise<void> {
  const path = publicKeyFile(keyFile);
  try {
    await write(retainedKeyFile(keyFile, key.id), key.pem);
    const previous = readIfValid(path);
    if (previous !== undefined && previous.id !== key.id) {
      await write(retainedKeyFile(keyFile, previous.id), previous.pem);
      log.warning(
        `${path} did not match the private key. The public key that it contained was saved as ${retainedKeyFile(keyFile, previous.id)}.`,
      );
    }
    await write(path, key.pem);
  } catch (error) {
    log.warning(`The public key could not be written to ${path}: ${textOf(error)}`);
  }
}

async function write(path: string, pem: string): Promise<void> {
  if ((await readFile(path, "utf8").catch(() => undefined)) === pem) return;
  await rename(await writeTemporary(path, pem, PUBLIC_MODE), path);
}

/** Returns the ids of the public keys beside a private one, which need not exist. */
export function publishedKeyIds(keyFile: string): string[] {
  const retained = retainedKeyFiles(keyFile).map((path) => idInName(keyFile, basename(path))!);
  const published = readIfValid(publicKeyFile(keyFile));
  return [...new Set([...retained, ...(published === undefined ? [] : [published.id])])];
}

/** Returns the retained public key with that id; undefined if there is none, or its file contains a different one. */
export function findRetainedKey(keyFile: string, id: string): PublicKey | undefined {
  const key = readIfValid(retainedKeyFile(keyFile, id));
  return key?.id === id ? key : undefined;
}

function readIfValid(path: string): PublicKey | undefined {
  try {
    return PublicKey.read(path);
  } catch {
    return undefined;
  }
}

/** The copy of a public key: `audit-key.<id>.pub.pem` beside `audit-key.pem`. */
function retainedKeyFile(keyFile: string, id: string): string {
  return `${stemOf(keyFile)}.${id}${SUFFIX}`;
}

function retainedKeyFiles(keyFile: string): string[] {
  const directory = dirname(keyFile);
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => idInName(keyFile, name) !== undefined)
    .sort()
    .map((name) => join(directory, name));
}

/**
 * Reads the public keys that verify checkpoints by default. A file that was replaced is not trusted.
 * @throws TailgateError AUDIT_UNREADABLE
 */
export async function readKeyRing(keyFile: string): Promise<KeyRing> {
  const findings: TrailFinding[] = [];
  // The user who verifies may differ from the one who runs the gateway.
  const owner = await stat(dirname(keyFile)).then(
    ({ uid }) => uid,
    () => undefined,
  );
  const threat = owner === undefined ? undefined : await findKeyThreat(keyFile, owner);
  const retained: PublicKey[] = [];
  for (const path of retainedKeyFiles(keyFile)) {
    const key = PublicKey.read(path);
    if (idInName(keyFile, basename(path)) === key.id) retained.push(key);
    else {
      const text = `it contains the key ${key.id}: someone replaced it.`;
      findings.push({ position: path, text });
    }
  }
  const current = readCurrentKey(keyFile, retained, findings);
  if (current === undefined || retained.some(({ id }) => id === current.id)) {
    return { keys: retained, findings, threat };
  }
  return { keys: [current, ...retained], findings, threat };
}

/** The private key decides, if it can be read. Otherwise the public one must be among the retained ones. */
function readCurrentKey(
  keyFile: string,
  retained: readonly PublicKey[],
  findings: TrailFinding[],
): PublicKey | undefined {
  const path = publicKeyFile(keyFile);
  const published = existsSync(path) ? PublicKey.read(path) : undefined;
  const own = derivePublicKey(keyFile);
  if (published === undefined) return own;
  if (own !== undefined && own.id !== published.id) {
    findings.push({
      position: path,
      text: `it is not the public key of ${keyFile}: someone replaced one of them.`,
    });
    return own;
  }
  const isRetained = retained.length === 0 || retained.some(({ id }) => id === published.id);
  if (own !== undefined || isRetained) return published;
  const text = `it contains the key ${published.id}, but unlike for the other keys there is no copy of it: someone replaced it.`;
  findings.push({ position: path, text });
  return undefined;
}

/** Undefined if the private key does not exist, or the current user may not read it. */
function derivePublicKey(keyFile: string): PublicKey | undefined {
  try {
    return new PublicKey(createPublicKey(readFileSync(keyFile)));
  } catch {
    return undefined;
  }
}

function idInName(keyFile: string, name: string): string | undefined {
  const stem = `${basename(stemOf(keyFile))}.`;
  if (!name.startsWith(stem) || !name.endsWith(SUFFIX)) return undefined;
  const id = name.slice(stem.length, -SUFFIX.length);
  return ID.test(id) ? id : undefined;
}

function stemOf(keyFile: string): string {
  return publicKeyFile(keyFile).slice(0, -SUFFIX.length);
}
