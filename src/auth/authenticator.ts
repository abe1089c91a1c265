import type { Access, AddressedRequest, RouteAccess, RouteRefusal } from "../plugin/index.ts";
import { ANONYMOUS, isRefusal, type AuthMethod } from "./access.ts";
import { MISSING_CREDENTIALS, missingScope } from "./refusals.ts";
import { urlTokenRefusal } from "./tokens/url-tokens.ts";

/**
 * The property of a request that was admitted. With a WeakMap, authentication would take three times as long, which a
 * request with one record notices.
 */
const ACCESS = Symbol("tailgate.access");

interface AdmittedRequest extends AddressedRequest {
  [ACCESS]?: Access;
}

/** Decides who makes a request, and whether they may. */
export class Authenticator {
  readonly #methods: readonly AuthMethod[];

  /** The first method that knows the credentials of a request decides. */
  constructor(methods: readonly AuthMethod[]) {
    this.#methods = methods;
  }

  /**
   * Returns why the request is rejected; undefined if it is admitted. A route for everyone also tells apart those who have
   * credentials, and ignores invalid ones.
   */
  refusalOf(request: AddressedRequest, access: RouteAccess): RouteRefusal | undefined {
    const misplaced = urlTokenRefusal(request);
    if (misplaced !== undefined) return misplaced;
    const outcome = this.#authenticate(request);
    if (access === "public") {
      if (outcome !== undefined && !isRefusal(outcome)) admit(request, outcome);
      return undefined;
    }
    if (outcome === undefined) return MISSING_CREDENTIALS;
    if (isRefusal(outcome)) return outcome;
    const { principal = "", scopes } = outcome;
    const isAllowed = access.length === 0 || access.some((scope) => scopes.has(scope));
    if (!isAllowed) return missingScope(principal, access);
    admit(request, outcome);
    return undefined;
  }

  /** Returns who makes a request that was admitted; nobody in particular if it was not, or has no credentials. */
  accessOf(request: AddressedRequest): Access {
    return (request as AdmittedRequest)[ACCESS] ?? ANONYMOUS;
  }

  #authenticate(request: AddressedRequest): Access | RouteRefusal | undefined {
    for (const method of this.#methods) {
      const outcome = method.authenticate(request);
      if (outcome !== undefined) return outcome;
    }
    return undefined;
  }
}

function admit(request: AdmittedRequest, access: Access): void {
  request[ACCESS] = access;
}
