import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomUUID,
  sign,
  type KeyObject,
} from "node:crypto";
import { constants } from "node:fs";
import { link, lstat, mkdir, open, readFile, realpath, rename, rm } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { TailgateError, textOf } from "../errors.ts";
import type { HostLogger } from "../plugin.ts";
import { signedText, type Checkpoint, type Claim } from "./checkpoint.ts";
import { defaultKeyFile, publicKeyFile } from "./key-file.ts";
import { PublicKey } from "./public-key.ts";

/** O_NONBLOCK keeps the opening of a FIFO from waiting for its writer. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const OF_OTHERS = 0o077;

const KEY_BYTES_MAX = 64 << 10;

export interface SigningKeyOptions {
  /** Undefined for the default one. */
  readonly path: string | undefined;
  /** The key must lie outside of it: who may change the trail must not be able to sign it. */
  readonly logDir: string;
  readonly log: HostLogger;
}

/** The private key that signs checkpoints. */
export class SigningKey {
  readonly publicKey: PublicKey;
  readonly #key: KeyObject;

  private constructor(key: KeyObject) {
    this.#key = key;
    this.publicKey = new PublicKey(createPublicKey(key));
  }

  /**
   * Reads the key, and makes one where there is none, with the public key beside it. Undefined where the default one
   * is not there and cannot be made: the gateway works without, and says so.
   * @throws TailgateError AUDIT_KEY_UNUSABLE where it is not safe, AUDIT_KEY_NOT_CREATED where one that was named is
   * not there and cannot be made.
   */
  static async open({ path, logDir, log }: SigningKeyOptions): Promise<SigningKey | undefined> {
    try {
      const file = path ?? defaultKeyFile(process.env);
      if (file === undefined) throw notCreated("this user has no home directory");
      await refuseInside(logDir, file);
      const key = new SigningKey((await readKey(file)) ?? (await createKey(file, logDir)));
      await key.#publish(publicKeyFile(file), log);
      return key;
    } catch (error) {
      if (path !== undefined || !TailgateError.is(error, "AUDIT_KEY_NOT_CREATED")) throw error;
      log.warning(`The audit trail gets no signed checkpoints. ${error.message}`);
      return undefined;
    }
  }

  sign(claim: Claim): Checkpoint {
    const signature = sign(null, Buffer.from(signedText(claim)), this.#key).toString("base64");
    return { ...claim, signature };
  }

  /** Puts the public key beside the private one. Verifiers that have it from elsewhere need no file here. */
  async #publish(path: string, log: HostLogger): Promise<void> {
    const { pem } = this.publicKey;
    if ((await readFile(path, "utf8").catch(() => undefined)) === pem) return;
    try {
      const temporary = await writeTemporary(path, pem, 0o644);
      await rename(temporary, path);
    } catch (error) {
      log.warning(`The public key could not be written to ${path}: ${textOf(error)}`);
    }
  }
}

/** Undefined where there is none. */
async function readKey(path: string): Promise<KeyObject | undefined> {
  let pem: string;
  try {
    await using handle = await open(path, READ_FLAGS);
    const stats = await handle.stat();
    if (!stats.isFile()) throw unusable(path, "is not a regular file");
    if (process.getuid && stats.uid !== process.getuid())
      throw unusable(path, "belongs to another user");
    if (stats.mode & OF_OTHERS) throw unusable(path, "can be read or written by other users");
    if (stats.size > KEY_BYTES_MAX) throw unusable(path, "is no Ed25519 private key");
    pem = await handle.readFile("utf8");
  } catch (error) {
    if (TailgateError.is(error)) throw error;
    return absent(path, error as NodeJS.ErrnoException);
  }
  return keyOf(path, pem);
}

async function absent(path: string, error: NodeJS.ErrnoException): Promise<undefined> {
  if (error.code === "ENOENT") return undefined;
  if (error.code === "ELOOP") throw unusable(path, "is a symbolic link");
  const isThere = await lstat(path).then(
    () => true,
    () => false,
  );
  if (!isThere) throw notCreated(`${path} cannot be reached: ${textOf(error)}`, error);
  throw unusable(path, `cannot be read (${textOf(error)})`, error);
}

function keyOf(path: string, pem: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === "ed25519") return key;
  } catch {
    // The text below says it all; what OpenSSL says does not help.
  }
  throw unusable(path, "is no Ed25519 private key");
}

/** Of several gateways that make it at the same time one succeeds, and the others take its key. */
async function createKey(path: string, logDir: string): Promise<KeyObject> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await refuseInside(logDir, path);
    const { privateKey } = generateKeyPairSync("ed25519");
    const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    const temporary = await writeTemporary(path, pem, 0o600);
    try {
      await link(temporary, path).catch(unlessThere);
    } finally {
      await rm(temporary);
    }
    await using directory = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
    await directory.sync();
  } catch (error) {
    if (TailgateError.is(error)) throw error;
    throw notCreated(`${path}: ${textOf(error)}`, error);
  }
  return (await readKey(path))!;
}

function unlessThere(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}

/** A synced file beside the one that is meant. */
async function writeTemporary(path: string, text: string, mode: number): Promise<string> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  try {
    await using handle = await open(temporary, flags, mode);
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return temporary;
}

async function refuseInside(logDir: string, path: string): Promise<void> {
  const outer = await realpath(logDir);
  const inner = await nearestRealPath(dirname(path));
  if (inner === outer || inner.startsWith(outer + sep)) {
    throw unusable(
      path,
      `lies inside the log directory ${logDir}: whoever writes there could sign`,
    );
  }
}

/** The real path of the directory or, where it is not there, of the nearest one above that is. */
async function nearestRealPath(path: string): Promise<string> {
  const found = await realpath(path).catch(() => undefined);
  const parent = dirname(path);
  return found ?? (parent === path ? path : nearestRealPath(parent));
}

function unusable(path: string, why: string, cause?: unknown): TailgateError {
  const text = `The audit trail's key ${path} ${why}.`;
  return new TailgateError("AUDIT_KEY_UNUSABLE", text, { cause });
}

function notCreated(why: string, cause?: unknown): TailgateError {
  const text = `The audit trail's key is not there and could not be made (${why}).`;
  return new TailgateError("AUDIT_KEY_NOT_CREATED", text, { cause });
}
