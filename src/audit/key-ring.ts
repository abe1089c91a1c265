/** The public keys beside the private one: the current key, and every one that signed checkpoints before it. */

import { createPublicKey } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { readFile, rename, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { textOf } from "../wire/errors.ts";
import type { HostLogger } from "../plugin/index.ts";
import type { Finding } from "./finding.ts";
import { threatTo } from "./key-directory.ts";
import { publicKeyFile, writeTemporary } from "./key-file.ts";
import { PublicKey } from "./public-key.ts";

const ID = /^[0-9a-f]{16}$/;

const SUFFIX = ".pub.pem";

export interface KeyRing {
  readonly keys: readonly PublicKey[];
  /** Files that do not hold the key that they should. */
  readonly findings: readonly Finding[];
  /** In which directory others could have replaced the keys, and why; undefined if they could not. */
  readonly threat: string | undefined;
}

const PUBLIC_MODE = 0o644;

/**
 * Puts the public key of a private one beside it, where verifiers look for it, and a copy that stays when another key
 * follows. A public key that is there already is kept, too. Failing is not fatal: verifiers can have it from elsewhere.
 */
export async function publishKey(keyFile: string, key: PublicKey, log: HostLogger): Promise<void> {
  const path = publicKeyFile(keyFile);
  try {
    await write(keptKeyFile(keyFile, key.id), key.pem);
    const former = formerKey(path);
    if (former !== undefined && former.id !== key.id) {
      await write(keptKeyFile(keyFile, former.id), former.pem);
      log.warning(
        `${path} held another public key than that of the private one; it is kept as ${keptKeyFile(keyFile, former.id)}.`,
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

/** Returns the ids of the public keys beside a private one, whatever became of it. */
export function formerKeyIds(keyFile: string): string[] {
  const kept = keptKeyFiles(keyFile).map((path) => idIn(keyFile, basename(path))!);
  const published = formerKey(publicKeyFile(keyFile));
  return [...new Set([...kept, ...(published === undefined ? [] : [published.id])])];
}

/** Returns the kept public key with that id; undefined if there is none, or the file holds another one. */
export function keptKey(keyFile: string, id: string): PublicKey | undefined {
  const key = formerKey(keptKeyFile(keyFile, id));
  return key?.id === id ? key : undefined;
}

function formerKey(path: string): PublicKey | undefined {
  try {
    return PublicKey.read(path);
  } catch {
    return undefined;
  }
}

/** The public key with that id: `audit-key.<id>.pub.pem` beside `audit-key.pem`. */
function keptKeyFile(keyFile: string, id: string): string {
  return `${stemOf(keyFile)}.${id}${SUFFIX}`;
}

function keptKeyFiles(keyFile: string): string[] {
  const directory = dirname(keyFile);
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => idIn(keyFile, name) !== undefined)
    .sort()
    .map((name) => join(directory, name));
}

/**
 * Reads the public keys that checkpoints are checked with if none were given. A file that was replaced is not trusted.
 * @throws TailgateError AUDIT_UNREADABLE
 */
export async function readKeyRing(keyFile: string): Promise<KeyRing> {
  const findings: Finding[] = [];
  // Who verifies may be another user than who runs the gateway.
  const owner = await stat(dirname(keyFile)).then(
    ({ uid }) => uid,
    () => undefined,
  );
  const threat = owner === undefined ? undefined : await threatTo(keyFile, owner);
  const kept: PublicKey[] = [];
  for (const path of keptKeyFiles(keyFile)) {
    const key = PublicKey.read(path);
    if (idIn(keyFile, basename(path)) === key.id) kept.push(key);
    else findings.push({ place: path, text: `it holds the key ${key.id}: someone replaced it.` });
  }
  const current = currentKey(keyFile, kept, findings);
  if (current === undefined || kept.some(({ id }) => id === current.id)) {
    return { keys: kept, findings, threat };
  }
  return { keys: [current, ...kept], findings, threat };
}

/** The private key tells if it can be read. Without it the public one has to be among those that are kept. */
function currentKey(
  keyFile: string,
  kept: readonly PublicKey[],
  findings: Finding[],
): PublicKey | undefined {
  const path = publicKeyFile(keyFile);
  const published = existsSync(path) ? PublicKey.read(path) : undefined;
  const own = publicKeyOf(keyFile);
  if (published === undefined) return own;
  if (own !== undefined && own.id !== published.id) {
    findings.push({
      place: path,
      text: `it is not the public key of ${keyFile}: someone replaced one of them.`,
    });
    return own;
  }
  const isKept = kept.length === 0 || kept.some(({ id }) => id === published.id);
  if (own !== undefined || isKept) return published;
  const text = `it holds the key ${published.id}, of which no copy is kept beside it, as of the other keys: someone replaced it.`;
  findings.push({ place: path, text });
  return undefined;
}

/** Undefined if the private key is not there, or may not be read by who verifies. */
function publicKeyOf(keyFile: string): PublicKey | undefined {
  try {
    return new PublicKey(createPublicKey(readFileSync(keyFile)));
  } catch {
    return undefined;
  }
}

function idIn(keyFile: string, name: string): string | undefined {
  const stem = `${basename(stemOf(keyFile))}.`;
  if (!name.startsWith(stem) || !name.endsWith(SUFFIX)) return undefined;
  const id = name.slice(stem.length, -SUFFIX.length);
  return ID.test(id) ? id : undefined;
}

function stemOf(keyFile: string): string {
  return publicKeyFile(keyFile).slice(0, -SUFFIX.length);
}
