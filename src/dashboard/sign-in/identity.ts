import { useSyncExternalStore } from "react";
import type { AccessScope } from "../../wire/access-scopes.ts";
import { ENVELOPE_TYPES, type EnvelopeType } from "../../wire/envelope.ts";

/** The response of `/api/whoami`. */
export interface Identity {
  readonly authentication: "on" | "off";
  /** Null if nobody is signed in, or if authentication is off. */
  readonly principal: string | null;
  readonly scopes: readonly AccessScope[];
  /** The filter of the token; null if it has none. */
  readonly filter: string | null;
  /** Null if the browser has no session: a proxy or a certificate authenticates it. */
  readonly session: { readonly id: string; readonly expires_at: string } | null;
}

/** Who uses the page. */
export type SignInState =
  /** The gateway has not answered yet: the streams say why. */
  | { readonly kind: "unknown" }
  | { readonly kind: "signed-in"; readonly identity: Identity }
  /**
   * `wasSignedIn`: the session has ended while the page was open. `refused`: the user of a proxy or a certificate may do
   * nothing, unlike one with a token.
   */
  | {
      readonly kind: "signed-out";
      readonly wasSignedIn: boolean;
      readonly refused?: SignInProblem;
    };

/** Why signing in failed. `rejected`: in the gateway's words. */
export type SignInProblem =
  | { readonly kind: "rejected"; readonly text: string }
  | { readonly kind: "failed"; readonly status: number }
  | { readonly kind: "unreachable" };

const READ_SCOPES = { system_log: "read:system", audit_log: "read:audit" } as const;

const OPEN_IDENTITY: Identity = {
  authentication: "off",
  principal: null,
  scopes: ["read:system", "read:audit"],
  filter: null,
  session: null,
};

const IDENTITY_PATH = "api/whoami";

/** Knows who uses the page, signs them in and out, and notices when their session ends. */
export class IdentityStore {
  readonly #listeners = new Set<() => void>();
  #state: SignInState = { kind: "unknown" };
  /** Who was signed in last. */
  #last: Identity | undefined;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly current = (): SignInState => this.#state;

  /** Who uses the page or did last; before the gateway has answered, someone who may read everything. */
  get identity(): Identity {
    return this.#last ?? OPEN_IDENTITY;
  }

  mayRead(type: EnvelopeType): boolean {
    return this.identity.scopes.includes(READ_SCOPES[type]);
  }

  /** Returns the scope that the user lacks for these records; undefined if they may read them. */
  lackingScope(type: EnvelopeType): AccessScope | undefined {
    return this.mayRead(type) ? undefined : READ_SCOPES[type];
  }

  /**
   * Sends requests that read, and notices if the gateway does not know the user any more. Sends none until they sign in
   * again, and none for someone who may read nothing: the gateway would record each poll as an attempt.
   */
  readonly fetch: typeof fetch = async (input, init) => {
    if (this.#state.kind === "signed-out") return refusal(401, "The session has ended.");
    if (!ENVELOPE_TYPES.some((type) => this.mayRead(type))) return refusal(403, "No read scope.");
    const response = await fetch(input, init);
    if (response.status === 401) this.#enter({ kind: "signed-out", wasSignedIn: true });
    else if (this.#state.kind === "unknown") void this.learn();
    return response;
  };

  /** Asks the gateway who the user is. */
  async learn(): Promise<void> {
    try {
      const response = await fetch(IDENTITY_PATH, { cache: "no-store" });
      if (response.ok) return this.#know(await response.json());
      const refused = await problemOf(response);
      const wasSignedIn = this.#last !== undefined;
      const isForUsers = response.status === 403 && refused.kind === "rejected";
      if (isForUsers) this.#enter({ kind: "signed-out", wasSignedIn, refused });
    } catch {
      // The gateway is unreachable, as the streams report.
    }
  }

  /** Signs in with a token or the code of a login link. Resolves with the reason if that fails. */
  async signIn(
    credentials: { token: string } | { code: string },
  ): Promise<SignInProblem | undefined> {
    try {
      const response = await fetch("api/login", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(credentials),
      });
      if (!response.ok) return await problemOf(response);
      this.#know(await response.json());
      return undefined;
    } catch {
      return { kind: "unreachable" };
    }
  }

  /** Ends the session, and leaves nothing on the page. */
  async signOut(): Promise<void> {
    await fetch("api/logout", { method: "POST" }).catch(() => undefined);
    location.replace("./");
  }

  #know(identity: Identity): void {
    if (identity.authentication === "on" && identity.principal === null) {
      return this.#enter({ kind: "signed-out", wasSignedIn: this.#last !== undefined });
    }
    const isOther = this.#last !== undefined && this.#last.principal !== identity.principal;
    // What the page shows is for the previous user.
    if (isOther) return location.replace("./");
    this.#last = identity;
    this.#enter({ kind: "signed-in", identity });
  }

  #enter(state: SignInState): void {
    if (state.kind === "signed-out" && this.#state.kind === "signed-out") return;
    this.#state = state;
    for (const listener of this.#listeners) listener();
  }
}

/** What the gateway would respond. */
function refusal(status: 401 | 403, text: string): Response {
  return new Response(text, { status, headers: { "Content-Type": "text/plain" } });
}

async function problemOf(response: Response): Promise<SignInProblem> {
  try {
    const { error } = (await response.json()) as { error: { message: string } };
    return { kind: "rejected", text: error.message };
  } catch {
    return { kind: "failed", status: response.status };
  }
}

export function useSignInState(identity: IdentityStore): SignInState {
  return useSyncExternalStore(identity.subscribe, identity.current);
}

/**
 * Returns the code of a login link, and removes it from the address and the browser's history. The page that signs in is
 * then the dashboard itself.
 */
export function takeLoginCode(): string | undefined {
  if (!location.pathname.endsWith("/login")) return undefined;
  const code = location.hash.slice(1);
  history.replaceState(undefined, "", `./${location.search}`);
  return code === "" ? undefined : code;
}
