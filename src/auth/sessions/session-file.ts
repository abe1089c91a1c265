import { readFileSync, renameSync } from "node:fs";
import { overwriteFile } from "../../runtime/log-dir.ts";

/** A session as the file has it: without its secret, of which only the hash is known. */
export interface StoredSession {
  readonly id: string;
  readonly hash: string;
  readonly token: string;
  readonly address: string;
  readonly user_agent: string;
  readonly created_ms: number;
  readonly used_ms: number;
}

interface StoredSessions {
  /** The name of the gateway in its cookies. */
  readonly instance: string;
  readonly sessions: readonly StoredSession[];
}

/** Sessions that survive a restart, in a file that only the gateway's user can read. */
export class SessionFile {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Returns undefined if there is no file, or one that cannot be used: users then sign in again. */
  read(): StoredSessions | undefined {
    try {
      const stored: unknown = JSON.parse(readFileSync(this.#path, "utf8"));
      return isStored(stored) ? stored : undefined;
    } catch {
      return undefined;
    }
  }

  /** Replaces the file. @throws Error */
  write(stored: StoredSessions): void {
    const temporary = `${this.#path}.new`;
    overwriteFile(temporary, `${JSON.stringify(stored)}\n`, true);
    renameSync(temporary, this.#path);
  }
}

function isStored(value: unknown): value is StoredSessions {
  const { instance, sessions } = (value ?? {}) as Partial<StoredSessions>;
  return (
    typeof instance === "string" &&
    /^[a-z0-9]{1,32}$/.test(instance) &&
    Array.isArray(sessions) &&
    sessions.every(isStoredSession)
  );
}

const TEXTS = ["id", "hash", "token", "address", "user_agent"] as const;
const TIMES = ["created_ms", "used_ms"] as const;

function isStoredSession(value: unknown): value is StoredSession {
  const session = (value ?? {}) as Partial<StoredSession>;
  return (
    TEXTS.every((name) => typeof session[name] === "string") &&
    TIMES.every((name) => Number.isFinite(session[name]))
  );
}
