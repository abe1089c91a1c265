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
import { signedText, type Checkpoint, type UnsignedCheckpoint } from "./checkpoint.ts";
import {
  defaultKeyFile,
  findKeyThreat,
  futureRealPath,
  nearestRealPath,
  writeTemporary,
} from "./key-files.ts";
import { findRetainedKey, PublicKey, publishedKeyIds, publishKey } from "./public-keys.ts";

/** Without O_NONBLOCK, opening a FIFO would block until it has a writer. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const ACCESSIBLE_BY_OTHERS = 0o077;

const KEY_BYTES_MAX = 64 << 10;

export interface SigningKeyOptions {
  /** Undefined for the default path. */
  readonly path: string | undefined;
  /** The key must be outside of it: whoever can change the trail must not be able to sign it. */
  readonly logDir: string;
  readonly log: HostLogger;
}

/** The state of the key file, without changing anything. */
export interface KeyState {
  /** Undefined for a user without a home directory. */
  readonly file: string | undefined;
  readonly isThere: boolean;
  /** Why the default key cannot be created; undefined if there is a key, or one can be created. */
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
   * Reads the key, or creates one, and publishes the public key beside it. Returns undefined, after a warning, if the
   * default key does not exist and cannot be created: the gateway then writes no checkpoints.
   * @throws TailgateError AUDIT_KEY_UNUSABLE if the key is not safe; AUDIT_KEY_NOT_CREATED if a configured key does not
   * exist and cannot be created.
   */
  static async open({ path, logDir, log }: SigningKeyOptions): Promise<SigningKey | undefined> {
    try {
      const { file, found } = await findKey(path, logDir);
      const key = new SigningKey(file, found ?? (await createKey(file, logDir)));
      if (found === undefined) key.#reportLoss(log);
      await publishKey(file, key.publicKey, log);
      return key;
    } catch (error) {
      if (path !== undefined || !TailgateError.is(error, "AUDIT_KEY_NOT_CREATED")) throw error;
      log.warning(`The audit trail will have no signed checkpoints. ${error.message}`);
      return undefined;
    }
  }

  /**
   * Performs the same checks as `open` without creating anything.
   * @throws TailgateError like `open`
   */
  static async check({ path, logDir }: Omit<SigningKeyOptions, "log">): Promise<KeyState> {
    const file = path ?? defaultKeyFile(process.env);
    try {
      const { found } = await findKey(path, logDir);
      if (found === undefined) await checkKeyCreatable(file!);
      return { file, isThere: found !== undefined, obstacle: undefined };
    } catch (error) {
      if (path !== undefined || !TailgateError.is(error, "AUDIT_KEY_NOT_CREATED")) throw error;
      return { file, isThere: false, obstacle: error.message };
    }
  }

  sign(checkpoint: UnsignedCheckpoint): Checkpoint {
    const text = Buffer.from(signedText(checkpoint));
    return { ...checkpoint, signature: sign(null, text, this.#key).toString("base64") };
  }

  /** Returns the public key with that id, its own or a previous one; undefined if it was not retained. */
  publicKeyOf(id: string): PublicKey | undefined {
    return id === this.publicKey.id ? this.publicKey : findRetainedKey(this.#file, id);
  }

  /** If there are public keys, a new key has replaced one that was lost. */
  #reportLoss(log: HostLogger): void {
    const { id } = this.publicKey;
    const previous = publishedKeyIds(this.#file).filter((one) => one !== id);
    if (previous.length === 0) return;
    log.error(
      `The private key ${this.#file} that signs the audit trail is missing, so a new one, ${id}, was created. The public keys for earlier checkpoints (${previous.join(", ")}) were retained. If you did not remove the file, find out who did. To use the previous key again, stop the gateway and restore the file from a backup.`,
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
  await checkOutside(logDir, file);
  await checkSafeDirectory(file);
  return { file, found: await readKey(file) };
}

/** Undefined if the file does not exist. */
async function readKey(path: string): Promise<KeyObject | undefined> {
  let pem: string;
  try {
    await using handle = await open(path, READ_FLAGS);
    const stats = await handle.stat();
    if (!stats.isFile()) throw unusable(path, "is not a regular file");
    if (process.getuid && stats.uid !== process.getuid())
      throw unusable(path, "belongs to another user");
    if (stats.mode & ACCESSIBLE_BY_OTHERS) throw unusable(path, "is accessible to other users");
    if (stats.size > KEY_BYTES_MAX) throw unusable(path, "is not an Ed25519 private key");
    pem = await handle.readFile("utf8");
  } catch (error) {
    if (TailgateError.is(error)) throw error;
    return handleOpenError(path, error as NodeJS.ErrnoException);
  }
  return parseKey(path, pem);
}

async function handleOpenError(path: string, error: NodeJS.ErrnoException): Promise<undefined> {
  if (error.code === "ENOENT") return undefined;
  if (error.code === "ELOOP") throw unusable(path, "is a symbolic link");
  const exists = await lstat(path).then(
    () => true,
    () => false,
  );
  if (!exists) throw notCreated(`${path} cannot be reached: ${textOf(error)}`, error);
  throw unusable(path, `cannot be read (${textOf(error)})`, error);
}

function parseKey(path: string, pem: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === "ed25519") return key;
  } catch {
    // OpenSSL's message would not help.
  }
  throw unusable(path, "is not an Ed25519 private key");
}

/** If several gateways create it at the same time, one of them succeeds and the others use its key. */
async function createKey(path: string, logDir: string): Promise<KeyObject> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await checkOutside(logDir, path);
    const { privateKey } = generateKeyPairSync("ed25519");
    const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    const temporary = await writeTemporary(path, pem, 0o600);
    try {
      await link(temporary, path).catch(ignoreExisting);
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

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}

async function checkOutside(logDir: string, path: string): Promise<void> {
  const outer = await futureRealPath(logDir);
  const inner = await futureRealPath(dirname(path));
  if (`${inner}${sep}`.startsWith(outer.endsWith(sep) ? outer : outer + sep)) {
    throw unusable(
      path,
      `is inside the log directory ${logDir}: anyone who can write there could sign`,
    );
  }
}

async function checkKeyCreatable(path: string): Promise<void> {
  const directory = dirname(path);
  try {
    await checkCreatable(directory);
    await access(await nearestRealPath(directory), constants.W_OK | constants.X_OK);
  } catch (error) {
    throw notCreated(`${path}: ${textOf(error)}`, error);
  }
}

async function checkSafeDirectory(path: string): Promise<void> {
  const threat = await findKeyThreat(path);
  if (threat === undefined) return;
  throw unusable(
    path,
    `is not safe in ${threat}: other users could replace the key. Revoke their write access (for example with \`chmod go-w\`), or choose a directory that only the gateway's user can write`,
  );
}

function unusable(path: string, why: string, cause?: unknown): TailgateError {
  const text = `The audit key ${path} ${why}.`;
  return new TailgateError("AUDIT_KEY_UNUSABLE", text, { cause });
}

function notCreated(why: string, cause?: unknown): TailgateError {
  const text = `The audit key does not exist and could not be created (${why}).`;
  return new TailgateError("AUDIT_KEY_NOT_CREATED", text, { cause });
}
