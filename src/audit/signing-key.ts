import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type KeyObject,
} from "node:crypto";
import { constants } from "node:fs";
import { access, link, lstat, mkdir, open, rm } from "node:fs/promises";
import { dirname, sep } from "node:path";
import { TailgateError, textOf } from "../wire/errors.ts";
import { checkCreatable } from "../runtime/log-dir.ts";
import type { HostLogger } from "../plugin/index.ts";
import { signedText, type Checkpoint, type Claim } from "./checkpoint.ts";
import { futureRealPath, nearestRealPath, threatTo } from "./key-directory.ts";
import { defaultKeyFile, writeTemporary } from "./key-file.ts";
import { formerKeyIds, keptKey, publishKey } from "./key-ring.ts";
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

/** What became of the key when it was looked for. */
export interface KeyState {
  /** Undefined for a user without a home. */
  readonly file: string | undefined;
  readonly isThere: boolean;
  /** Why the default one cannot be created; undefined if there is a key, or there will be. */
  readonly obstacle: string | undefined;
}

/** The private key that signs checkpoints. */
export class SigningKey {
  readonly publicKey: PublicKey;
  readonly #file: string;
  readonly #key: KeyObject;

  private constructor(file: string, key: KeyObject) {
    this.#file = file;
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
      const { file, found } = await findKey(path, logDir);
      const key = new SigningKey(file, found ?? (await createKey(file, logDir)));
      if (found === undefined) key.#warnOfLoss(log);
      await publishKey(file, key.publicKey, log);
      return key;
    } catch (error) {
      if (path !== undefined || !TailgateError.is(error, "AUDIT_KEY_NOT_CREATED")) throw error;
      log.warning(`The audit trail gets no signed checkpoints. ${error.message}`);
      return undefined;
    }
  }

  /**
   * Makes the same checks without creating anything, and returns the key's file, and why there will be no key.
   * @throws TailgateError as `open`
   */
  static async check({ path, logDir }: Omit<SigningKeyOptions, "log">): Promise<KeyState> {
    const file = path ?? defaultKeyFile(process.env);
    try {
      const { found } = await findKey(path, logDir);
      if (found === undefined) await refuseUncreatableKey(file!);
      return { file, isThere: found !== undefined, obstacle: undefined };
    } catch (error) {
      if (path !== undefined || !TailgateError.is(error, "AUDIT_KEY_NOT_CREATED")) throw error;
      return { file, isThere: false, obstacle: error.message };
    }
  }

  sign(claim: Claim): Checkpoint {
    const signature = sign(null, Buffer.from(signedText(claim)), this.#key).toString("base64");
    return { ...claim, signature };
  }

  /** Returns the public key with that id: its own or a former one; undefined if none is kept. */
  publicKeyOf(id: string): PublicKey | undefined {
    return id === this.publicKey.id ? this.publicKey : keptKey(this.#file, id);
  }

  /** A key that was made although there are public keys has taken the place of one that was lost. */
  #warnOfLoss(log: HostLogger): void {
    const { id } = this.publicKey;
    const former = formerKeyIds(this.#file).filter((one) => one !== id);
    if (former.length === 0) return;
    log.error(
      `The private key ${this.#file} that signs the audit trail is missing, so a new one, ${id}, was created. Public keys are kept for what was signed before (${former.join(", ")}). If nobody removed the file on purpose, find out who did; to use the former key again, stop the gateway and restore the file from a backup.`,
    );
  }
}

/** Returns the path of the key file, and its key if it exists. */
async function findKey(
  path: string | undefined,
  logDir: string,
): Promise<{ file: string; found: KeyObject | undefined }> {
  const file = path ?? defaultKeyFile(process.env);
  if (file === undefined) throw notCreated("this user has no home directory");
  await refuseInside(logDir, file);
  await refuseUnsafeDirectory(file);
  return { file, found: await readKey(file) };
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

async function refuseInside(logDir: string, path: string): Promise<void> {
  const outer = await futureRealPath(logDir);
  const inner = await futureRealPath(dirname(path));
  if (`${inner}${sep}`.startsWith(outer.endsWith(sep) ? outer : outer + sep)) {
    throw unusable(
      path,
      `lies inside the log directory ${logDir}: whoever writes there could sign`,
    );
  }
}

async function refuseUncreatableKey(path: string): Promise<void> {
  const directory = dirname(path);
  try {
    await checkCreatable(directory);
    await access(await nearestRealPath(directory), constants.W_OK | constants.X_OK);
  } catch (error) {
    throw notCreated(`${path}: ${textOf(error)}`, error);
  }
}

async function refuseUnsafeDirectory(path: string): Promise<void> {
  const threat = await threatTo(path);
  if (threat === undefined) return;
  throw unusable(
    path,
    `is not safe in ${threat}: they could replace the key. Remove that right (such as \`chmod go-w\`), or choose a directory that only the gateway's user can write`,
  );
}

function unusable(path: string, why: string, cause?: unknown): TailgateError {
  const text = `The audit trail's key ${path} ${why}.`;
  return new TailgateError("AUDIT_KEY_UNUSABLE", text, { cause });
}

function notCreated(why: string, cause?: unknown): TailgateError {
  const text = `The audit trail's key is not there and could not be made (${why}).`;
  return new TailgateError("AUDIT_KEY_NOT_CREATED", text, { cause });
}
