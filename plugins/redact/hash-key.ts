import { readFile, stat } from "node:fs/promises";
import { textOf } from "tailgate/plugin";

const KEY_BYTES_MIN = 32;
const OTHERS_MASK = 0o077;
const ROOT = 0;

export interface HashKeyOptions {
  readonly hash_key_file?: string | undefined;
  readonly hash_key_env?: string | undefined;
}

/**
 * Returns the key for hashes; undefined if none is configured.
 * @throws Error if it cannot be read, is too short, or may be read by others. The message does not contain the key.
 */
export async function readHashKey(options: HashKeyOptions): Promise<Uint8Array | undefined> {
  const { hash_key_file: file, hash_key_env: name } = options;
  if (file !== undefined) return checkLength(await readKeyFile(file), `The key file ${file}`);
  if (name === undefined) return undefined;
  const text = process.env[name];
  if (text === undefined) throw new Error(`The environment variable ${name} is not set.`);
  return checkLength(Buffer.from(text), `The environment variable ${name}`);
}

async function readKeyFile(file: string): Promise<Buffer> {
  try {
    const { mode, uid } = await stat(file);
    const user = process.getuid?.();
    if (user !== undefined && uid !== user && uid !== ROOT) {
      throw new Error(`it belongs to another user (uid ${uid})`);
    }
    if (user !== undefined && (mode & OTHERS_MASK) !== 0) {
      throw new Error(`other users can read or write it; run chmod 600 ${file}`);
    }
    return withoutLineEnd(await readFile(file));
  } catch (error) {
    throw new Error(`The key file ${file} cannot be used: ${textOf(error)}.`, { cause: error });
  }
}

/** Editors end a text with a line end, which is not part of the key. */
function withoutLineEnd(key: Buffer): Buffer {
  const text = key.toString("latin1");
  return /^[\x20-\x7e]*\r?\n$/.test(text) ? Buffer.from(text.trimEnd(), "latin1") : key;
}

function checkLength(key: Buffer, place: string): Buffer {
  if (key.length >= KEY_BYTES_MIN) return key;
  throw new Error(`${place} has ${key.length} bytes; the key needs at least ${KEY_BYTES_MIN}.`);
}
