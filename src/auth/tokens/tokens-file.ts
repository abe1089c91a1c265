/** The tokens file: which tokens exist and what they may do. It holds hashes of their secrets, and no secret. */

import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import {
  mkdir,
  open,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
  type FileHandle,
} from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "../../plugin/index.ts";
import { userConfigFile } from "../../runtime/config-dir.ts";
import { setTimeout } from "../../runtime/timers.ts";
import { parseScopes } from "../../wire/access-scopes.ts";
import { TailgateError, textOf } from "../../wire/errors.ts";
import { parseAccessFilter } from "../../filter/filter.ts";

const FILE_BYTES_MAX = 4 << 20;

/** Readable by others, or writable by anyone but the owner. A group may read it, as in a mounted Kubernetes secret. */
const UNSAFE_MODE = 0o026;

const OWNER_ONLY = 0o600;

const DIGEST = /^[0-9a-f]{64}$/;

/** As in `ingested_by`: what an operator reads must not be mistaken for something else. */
export const TOKEN_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

const time = z.iso.datetime();

const tokenSchema = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{12}$/),
  name: z.string().regex(TOKEN_NAME),
  /** The SHA-256 of the secret in hex digits. */
  sha256: z.string().regex(DIGEST),
  scopes: z.array(z.string()).min(1),
  /** Terms of the filter language. */
  filter: z.string().optional(),
  created_at: time,
  expires_at: time.optional(),
  revoked_at: time.optional(),
});

const fileSchema = z.strictObject({ version: z.literal(1), tokens: z.array(tokenSchema) });

/** A token of the file. Revoked and expired ones stay, so that no other token ever gets their names. */
export type StoredToken = Readonly<z.output<typeof tokenSchema>>;

/** What tells a changed file from an unchanged one. */
export interface FileVersion {
  readonly inode: bigint;
  readonly bytes: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

export interface TokensFile {
  readonly version: FileVersion;
  readonly tokens: readonly StoredToken[];
}

/** Returns the default path: beside the audit key. Undefined for a user without a home directory. */
export function defaultTokensFile(env: NodeJS.ProcessEnv): string | undefined {
  return userConfigFile(env, "tokens.json");
}

/**
 * Returns the given path or, without one, the default path.
 * @throws TailgateError TOKENS_UNREADABLE for a user without a home directory.
 */
export function tokensFileAt(path: string | undefined): string {
  const file = path ?? defaultTokensFile(process.env);
  if (file !== undefined) return file;
  const text = "This user has no home directory for the tokens file: set auth.tokens_file.";
  throw new TailgateError("TOKENS_UNREADABLE", text);
}

/**
 * Reads the tokens. Returns undefined if there is no file.
 * @throws TailgateError TOKENS_UNREADABLE
 */
export async function readTokensFile(path: string): Promise<TokensFile | undefined> {
  try {
    // Without O_NONBLOCK, opening a FIFO would block until it has a writer.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await file.stat({ bigint: true });
      checkSafe(stats);
      return { version: versionOf(stats), tokens: parseTokens(await file.readFile("utf8")) };
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    const reason = textOf(error).replace(/\.$/, "");
    const text = `The tokens file ${path} cannot be used: ${reason}.`;
    throw new TailgateError("TOKENS_UNREADABLE", text, { cause: error });
  }
}

/** Returns the version of the file; undefined if it does not exist. Throws if that cannot be told. */
export async function fileVersion(path: string): Promise<FileVersion | undefined> {
  try {
    return versionOf(await stat(path, { bigint: true }));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Replaces the file, so that a reader sees the old tokens or the new ones. Creates its directory if absent. Resolves with
 * false, with nothing done, if `mayReplace` does so once the new file is complete.
 */
export async function writeTokensFile(
  path: string,
  tokens: readonly StoredToken[],
  mayReplace: () => Promise<boolean> = async () => true,
): Promise<boolean> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = `${path}.${randomUUID()}.tmp`;
  const file = await open(temporary, "wx", OWNER_ONLY);
  try {
    await adoptOwner(file, path);
    await file.writeFile(`${JSON.stringify({ version: 1, tokens }, null, 2)}\n`);
    await file.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  if (!(await mayReplace())) {
    await rm(temporary, { force: true });
    return false;
  }
  await rename(temporary, path);
  const entries = await open(directory);
  await entries.sync().finally(() => entries.close());
  return true;
}

/**
 * Gives the new file the owner, group and mode of the one that it replaces: root manages the tokens of a gateway that runs as
 * another user, and a group may have been allowed to read them. A first file belongs to the owner of the directory.
 */
async function adoptOwner(file: FileHandle, path: string): Promise<void> {
  const previous = await stat(path).catch(() => undefined);
  if (previous !== undefined) await file.chmod(previous.mode & 0o640);
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = previous ?? (await stat(dirname(path)));
  await file.chown(uid, gid);
}

/**
 * Replaces the tokens by what `change` makes of them, while no other process changes them. If one did nevertheless,
 * `change` is called again. Resolves with its last result. Nothing is written if it throws.
 * @throws TailgateError TOKENS_UNREADABLE, TOKENS_NOT_WRITTEN and what `change` throws
 */
export async function changeTokensFile<Result>(
  path: string,
  change: (tokens: readonly StoredToken[]) => {
    readonly tokens: readonly StoredToken[];
    readonly result: Result;
  },
): Promise<Result> {
  for (;;) {
    const held = await lock(path);
    try {
      const file = await readTokensFile(path);
      const { tokens, result } = change(file?.tokens ?? []);
      if (await writeTokensFile(path, tokens, () => held.isOwn())) return result;
    } catch (error) {
      throw TailgateError.is(error) ? error : notWritten(path, error);
    } finally {
      await held.end();
    }
  }
}

/** A change takes milliseconds: a lock of this age was left behind by a process that was killed. */
const STALE_LOCK_MS = 10_000;

const LOCK_RETRY_MS = 20;

interface Lock {
  /** False if another process has removed it: of several that find a lock that was left behind, all but one are late. */
  isOwn(): Promise<boolean>;
  end(): Promise<void>;
}

/** Waits until this process alone may change the file. */
async function lock(path: string): Promise<Lock> {
  const lockPath = `${path}.lock`;
  const id = randomUUID();
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    while (!(await createFile(lockPath, id))) {
      const modifiedMs = (await stat(lockPath).catch(() => undefined))?.mtimeMs ?? Infinity;
      if (Date.now() - modifiedMs > STALE_LOCK_MS) await rm(lockPath, { force: true });
      else await new Promise((resolve) => setTimeout(resolve, LOCK_RETRY_MS));
    }
  } catch (error) {
    throw notWritten(path, error);
  }
  const isOwn = async (): Promise<boolean> =>
    (await readFile(lockPath, "utf8").catch(() => undefined)) === id;
  return {
    isOwn,
    end: async () => {
      if (await isOwn()) await rm(lockPath, { force: true });
    },
  };
}

/** Returns false if there is such a file already. */
async function createFile(path: string, content: string): Promise<boolean> {
  try {
    await writeFile(path, content, { flag: "wx", mode: OWNER_ONLY });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function notWritten(path: string, cause: unknown): TailgateError {
  const reason = textOf(cause).replace(/\.$/, "");
  const text = `The tokens file ${path} cannot be written: ${reason}.`;
  return new TailgateError("TOKENS_NOT_WRITTEN", text, { cause });
}

function versionOf(stats: {
  ino: bigint;
  size: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
}): FileVersion {
  const { ino: inode, size: bytes, mtimeNs: modifiedNs, ctimeNs: changedNs } = stats;
  return { inode, bytes, modifiedNs, changedNs };
}

export function isSameVersion(
  one: FileVersion | undefined,
  other: FileVersion | undefined,
): boolean {
  if (one === undefined || other === undefined) return one === other;
  const keys = ["inode", "bytes", "modifiedNs", "changedNs"] as const;
  return keys.every((key) => one[key] === other[key]);
}

/** @throws Error with the reason */
function checkSafe(stats: { isFile(): boolean; size: bigint; mode: bigint; uid: bigint }): void {
  if (!stats.isFile()) throw new Error("it is not a regular file");
  if (stats.size > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`);
  const mode = Number(stats.mode) & 0o777;
  if ((mode & UNSAFE_MODE) !== 0) {
    const shown = mode.toString(8).padStart(4, "0");
    throw new Error(`its mode ${shown} lets other users read or change it`);
  }
  const own = BigInt(process.getuid?.() ?? 0);
  // Root manages the files of other users.
  if (own !== 0n && stats.uid !== own && stats.uid !== 0n) {
    throw new Error(`it belongs to user ${stats.uid}, not to ${own} or root`);
  }
}

/** @throws Error with the reason, which quotes nothing of the file */
function parseTokens(text: string): StoredToken[] {
  const { tokens } = checkedFile(text);
  const ids = new Set<string>();
  const names = new Set<string>();
  for (const { id, name, scopes, filter } of tokens) {
    if (ids.has(id)) throw new Error(`two tokens have the id ${id}`);
    if (names.has(name)) throw new Error(`two tokens have the name ${name}`);
    ids.add(id);
    names.add(name);
    parseScopes(scopes);
    if (filter !== undefined) parseAccessFilter(filter);
  }
  return tokens;
}

function checkedFile(text: string): z.output<typeof fileSchema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("it is not valid JSON");
  }
  const { data, error } = fileSchema.safeParse(value);
  if (data !== undefined) return data;
  const { path, message } = error.issues[0]!;
  throw new Error(`${path.join(".") || "the document"}: ${message}`);
}
