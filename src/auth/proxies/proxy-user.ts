import type { Access, AddressedRequest, RouteRefusal } from "../../plugin/index.ts";
import { printable, quotedExcerpt } from "../../wire/printable.ts";
import type { AccessScope } from "../../wire/access-scopes.ts";
import { bothFilters } from "../../filter/filter.ts";
import { grantedAccess, type AuthMethod, type Grant } from "../access.ts";
import { foreignPageRefusal } from "../own-page.ts";
import type { Forwarding } from "./public-base.ts";
import { noAccess } from "../refusals.ts";

/** A header by which a proxy names the user it has authenticated, and what its users may do. */
export interface ProxyUsersConfig {
  readonly userHeader: string;
  /** Undefined if the proxy knows no groups. */
  readonly groupsHeader: string | undefined;
  /** By the name of the group, and of the user. */
  readonly groups: Readonly<Record<string, Grant>>;
  readonly users: Readonly<Record<string, Grant>>;
}

/** Names are part of audit events and log lines. */
const NAME_CHARACTERS_MAX = 256;

/** How many pairs of user and groups are remembered with their access. */
const ACCESSES_MAX = 1000;

const READ_SCOPES: readonly AccessScope[] = ["read:system", "read:audit"];

/**
 * Users that a trusted proxy has authenticated. Their headers count as `X-Forwarded-*` does: those of other senders are
 * ignored and counted.
 */
export class ProxyUsers implements AuthMethod {
  readonly #userHeader: string;
  readonly #groupsHeader: string | undefined;
  readonly #groups: ReadonlyMap<string, Grant>;
  readonly #users: ReadonlyMap<string, Grant>;
  readonly #forwarding: Forwarding;
  readonly #accesses = new Map<string, Access | RouteRefusal>();

  constructor(config: ProxyUsersConfig, forwarding: Forwarding) {
    this.#userHeader = config.userHeader.toLowerCase();
    this.#groupsHeader = config.groupsHeader?.toLowerCase();
    this.#groups = new Map(Object.entries(config.groups));
    this.#users = new Map(Object.entries(config.users));
    this.#forwarding = forwarding;
    // In /metrics: the configured names may be anything.
    for (const label of ["user", "groups"]) forwarding.announce(label);
  }

  authenticate(request: AddressedRequest): Access | RouteRefusal | undefined {
    const users = valuesOf(request, this.#userHeader);
    const groups = this.#groupsHeader ? valuesOf(request, this.#groupsHeader) : [];
    if (users.length === 0 && groups.length === 0) return undefined;
    if (!this.#forwarding.isTrusted(request)) {
      if (users.length > 0) this.#forwarding.ignore(request, this.#userHeader, "user");
      if (groups.length > 0) this.#forwarding.ignore(request, this.#groupsHeader!, "groups");
      return undefined;
    }
    // A proxy that appends its header leaves that of the client in place.
    if (users.length > 1) return repeated(this.#userHeader);
    if (groups.length > 1) return repeated(this.#groupsHeader!);
    const [user = ""] = users;
    // A proxy sends an empty header for those who have not logged in.
    if (user === "") return undefined;
    const foreign = foreignPageRefusal(request);
    if (foreign !== undefined) return foreign;
    const key = `${user}\n${groups[0] ?? ""}`;
    const known = this.#accesses.get(key);
    if (known !== undefined) return known;
    const access = this.#accessOf(utf8(user), utf8(groups[0] ?? ""));
    if (this.#accesses.size >= ACCESSES_MAX) this.#accesses.clear();
    this.#accesses.set(key, access);
    return access;
  }

  #accessOf(user: string, groupsText: string): Access | RouteRefusal {
    if (user.length > NAME_CHARACTERS_MAX || printable(user) !== user) {
      const text = `The user name ${quotedExcerpt(user)} of the proxy is longer than ${NAME_CHARACTERS_MAX} characters or has control characters.`;
      return { status: 400, text };
    }
    const principal = `user:${user}`;
    const groups = groupsText.split(",").map((name) => name.trim());
    const grants = [this.#users.get(user), ...groups.map((name) => this.#groups.get(name))];
    const granted = grants.filter((grant) => grant !== undefined);
    return granted.length === 0
      ? noAccess(
          `${principal} may not use this gateway: neither the user nor one of the groups is in auth.proxy.`,
        )
      : combinedAccess(principal, granted);
  }
}

/**
 * Returns the access of a principal with several grants: the scopes of all of them. There is no filter that matches what one
 * of several filters does. So the filters do not apply if grants without one cover all types that may be read, and else all
 * of them do.
 */
export function combinedAccess(principal: string, grants: readonly Grant[]): Access {
  const accesses = grants.map((grant) => grantedAccess(principal, grant));
  const scopes = grants.flatMap((grant) => grant.scopes);
  const union = grantedAccess(principal, { scopes });
  const free = new Set(
    accesses.flatMap((access, index) => (grants[index]!.filter ? [] : [...access.scopes])),
  );
  const isCovered = READ_SCOPES.every((scope) => !union.scopes.has(scope) || free.has(scope));
  if (isCovered) return union;
  const filtered = grants.flatMap(({ filter }) => filter || []);
  const filters = filtered.map((filter) => grantedAccess(principal, { scopes, filter }).filter);
  return { ...union, filter: filters.reduce(bothFilters, union.filter) };
}

/** Returns the values of a header: Node joins those of repeated headers. HTTP/2 has no raw headers on some paths. */
function valuesOf({ headers, rawHeaders }: AddressedRequest, name: string): string[] {
  const value = (headers as Readonly<Record<string, unknown>>)[name];
  if (value === undefined) return [];
  if (rawHeaders === undefined) return [value].flat().map(String);
  return rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]!.toLowerCase() === name);
}

/** Node decodes headers as Latin-1; proxies send UTF-8. */
function utf8(text: string): string {
  const bytes = Buffer.from(text, "latin1");
  const decoded = bytes.toString("utf8");
  return decoded.includes("\ufffd") ? text : decoded;
}

function repeated(header: string): RouteRefusal {
  return {
    status: 400,
    text: `The request has more than one header ${header}: the proxy must replace the header of its clients.`,
  };
}
