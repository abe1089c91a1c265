import type { AccessTrail } from "../../auth/access-trail.ts";
import { forwardedOf } from "../../auth/proxies/public-base.ts";
import { MISSING_CREDENTIALS } from "../../auth/refusals.ts";
import type { Access, AddressedRequest, RouteRefusal } from "../../plugin/index.ts";

export interface AccessRecorderOptions {
  readonly trail: AccessTrail;
  /** Returns the id of the token that the credentials of a request name, if there is such a token. */
  readonly tokenIdOf: (request: AddressedRequest) => string | undefined;
}

/** Tells the access trail about requests. */
export class AccessRecorder {
  readonly #options: AccessRecorderOptions;

  constructor(options: AccessRecorderOptions) {
    this.#options = options;
  }

  /** Records a request whose credentials are not sufficient. One without any is no attempt: browsers make it first. */
  denied(request: AddressedRequest, refusal: RouteRefusal): void {
    const { status, text: reason } = refusal;
    if (refusal === MISSING_CREDENTIALS || (status !== 401 && status !== 403)) return;
    const { trail, tokenIdOf } = this.#options;
    const details = { id: tokenIdOf(request) };
    trail.record({ type: "access_denied", address: addressOf(request), reason, details });
  }

  /** Records a request of a page of another site, or one that names another host. */
  otherSite(request: AddressedRequest, { status, text: reason }: RouteRefusal): void {
    if (status !== 403) return;
    const address = addressOf(request);
    this.#options.trail.record({ type: "origin_refused", address, reason });
  }

  /** Records what a request has read. */
  read(
    request: AddressedRequest,
    { principal = "" }: Access,
    page: { readonly records: number; readonly isExport: boolean; readonly query: string },
  ): void {
    this.#options.trail.read({ principal, address: addressOf(request), ...page });
  }
}

function addressOf(request: AddressedRequest): string | undefined {
  return forwardedOf(request)?.address ?? request.socket.remoteAddress;
}
