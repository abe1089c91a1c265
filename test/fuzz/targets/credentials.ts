import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AddressedRequest } from "tailgate/plugin";
import { isAnonymous } from "../../../src/auth/access.ts";
import { Authenticator } from "../../../src/auth/authenticator.ts";
import { ProxyUsers } from "../../../src/auth/proxies/proxy-user.ts";
import { Forwarding, publicBase } from "../../../src/auth/proxies/public-base.ts";
import { SignIn } from "../../../src/auth/sessions/sign-in.ts";
import { Tickets } from "../../../src/auth/sessions/tickets.ts";
import { digestOf, formatToken } from "../../../src/auth/tokens/token.ts";
import { TokenStore } from "../../../src/auth/tokens/token-store.ts";
import { writeTokensFile, type StoredToken } from "../../../src/auth/tokens/tokens-file.ts";
import { mutated } from "../mutation.ts";
import { lengthOf, type Random } from "../random.ts";
import type { FuzzTarget, Timed } from "../target.ts";

/**
 * Headers with tokens, session cookies, tickets, and what proxies say of their users and clients. Nobody gets access who has
 * not sent exactly what gives it, and whoever has, does.
 */
export async function credentials(): Promise<FuzzTarget> {
  const gate = await Gate.open();
  return {
    input,
    check: (bytes, timed) => gate.check(Buffer.from(bytes).toString("latin1"), timed),
    close: () => gate.close(),
  };
}

/** The tokens are the same in each run, so that an input can be reproduced. */
const TOKENS = {
  reader: formatToken({ id: "0123456789ab", secret: "r".repeat(43) }),
  late: formatToken({ id: "0123456789ac", secret: "l".repeat(43) }),
  gone: formatToken({ id: "0123456789ad", secret: "g".repeat(43) }),
  stranger: formatToken({ id: "0123456789ae", secret: "s".repeat(43) }),
};

/** The id and the checksum are right. */
const FORGED = formatToken({ id: "0123456789ab", secret: "f".repeat(43) });

const PROXY = "10.0.0.1";
const PEERS = [PROXY, "10.0.0.2", "127.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"];
const HOST = "gateway.example:8001";
const ORIGIN = `http://${HOST}`;

/** Stands for the cookie and the ticket, which differ in each run. */
const COOKIE = "{cookie}";
const TICKET = "{ticket}";

/** Returns lines of headers after the address of the peer. */
function input(random: Random): Uint8Array {
  const lines = [random.pick(PEERS)];
  const add = (name: string, value: string): void => {
    const bytes = random.once(4) ? mutated(Buffer.from(value), random) : Buffer.from(value);
    lines.push(`${name}: ${bytes.toString("latin1").replaceAll(/[\r\n]/g, " ")}`);
  };
  if (random.once(2)) add("authorization", authorization(random));
  if (random.once(3)) add("cookie", cookie(random));
  if (random.once(3)) add("sec-websocket-protocol", protocols(random));
  if (random.once(3)) add("x-user", random.pick(["alice", "bob", "", "alice,bob", odd(random)]));
  if (random.once(3)) add("x-groups", random.pick(["ops", "dev, ops", "", ",", odd(random)]));
  if (random.once(3))
    add("x-forwarded-for", random.pick(["1.2.3.4", "1.2.3.4, 10.0.0.1", "::", odd(random)]));
  if (random.once(4)) add("x-forwarded-proto", random.pick(["https", "http", "wss", odd(random)]));
  if (random.once(4)) add("x-forwarded-host", random.pick([HOST, "evil.example", odd(random)]));
  if (random.once(4)) add("x-forwarded-prefix", random.pick(["/tailgate", "//evil", odd(random)]));
  if (random.once(2)) add("origin", random.pick([ORIGIN, "https://evil.example", "null"]));
  return Buffer.from(lines.join("\n"), "latin1");
}

function authorization(random: Random): string {
  const token = random.pick([...Object.values(TOKENS), FORGED]);
  const basic = Buffer.from(`${random.pick(["", "any", "a:b"])}:${token}`).toString("base64");
  return random.pick([
    `Bearer ${token}`,
    `bearer  ${token} `,
    `Basic ${basic}`,
    `Bearer ${token}${token}`,
    `Bearer ${token.toLowerCase()}`,
    `Digest ${token}`,
    token,
    odd(random),
  ]);
}

function cookie(random: Random): string {
  const pair = random.pick([
    COOKIE,
    `x=${COOKIE}`,
    `${COOKIE}x`,
    COOKIE.toUpperCase(),
    odd(random),
  ]);
  return random.pick([pair, `a=b; ${pair}`, `${pair};${pair}`, `${pair}; a`, `;${pair};=`]);
}

function protocols(random: Random): string {
  const ticket = random.pick([TICKET, `${TICKET}x`, odd(random)]);
  return random.pick([
    `tailgate.v1, tailgate.ticket.${ticket}`,
    `tailgate.ticket.${ticket}`,
    `tailgate.ticket.,tailgate.ticket.${ticket}`,
    ticket,
  ]);
}

function odd(random: Random): string {
  const piece = random.pick(["tgw_", "=", ";", ",", ":", "\u0000", "é", "%", "/", ".", "a", "9"]);
  return piece.repeat(Math.min(lengthOf(random), 4000));
}

/** The ways to authenticate, as a gateway has them. */
class Gate {
  readonly #directory: string;
  readonly #tokens: TokenStore;
  readonly #signIn: SignIn;
  readonly #tickets = new Tickets();
  readonly #forwarding: Forwarding;
  readonly #authenticator: Authenticator;
  /** The pair of the session, such as `tailgate-a=...`. */
  readonly #cookie: string;

  private constructor(directory: string, tokens: TokenStore) {
    this.#directory = directory;
    this.#tokens = tokens;
    const hour = 3_600_000;
    const sessions = { instance: "a", idleMs: hour, absoluteMs: hour, file: undefined };
    this.#signIn = new SignIn({ tokens, withoutSession: [tokens], ...sessions, log: SILENT });
    this.#forwarding = new Forwarding({ trustedProxies: [PROXY], basePath: "", log: SILENT });
    const users = new ProxyUsers(
      {
        userHeader: "X-User",
        groupsHeader: "X-Groups",
        groups: { ops: { scopes: ["read"] } },
        users: { alice: { scopes: ["admin"] } },
      },
      this.#forwarding,
    );
    this.#authenticator = new Authenticator([this.#tickets, this.#signIn, users, tokens]);
    const signedIn = this.#signIn.login(requestOf("127.0.0.1", { origin: ORIGIN }), {
      token: TOKENS.reader,
    });
    if ("status" in signedIn) throw new Error(signedIn.text);
    this.#cookie = signedIn.cookie.split(";", 1)[0]!;
  }

  static async open(): Promise<Gate> {
    const directory = await mkdtemp(join(tmpdir(), "tailgate-fuzz-"));
    const path = join(directory, "tokens.json");
    const past = "2026-01-01T00:00:00.000Z";
    await writeTokensFile(path, [
      stored("reader", {}),
      stored("late", { expires_at: past }),
      stored("gone", { revoked_at: past }),
    ]);
    return new Gate(directory, await TokenStore.open({ path, log: SILENT }));
  }

  async close(): Promise<void> {
    this.#tokens.close();
    this.#signIn.close();
    await rm(this.#directory, { recursive: true });
  }

  check(text: string, timed: Timed): void {
    const ticket = this.#tickets.issue(this.#tokens.accessOf("0123456789ab")!, undefined)!;
    const [peer = "", ...lines] = text
      .replaceAll(COOKIE, this.#cookie)
      .replaceAll(TICKET, ticket)
      .split("\n");
    const headers = new Map<string, string>();
    for (const line of lines) {
      const [, name, value] = /^([a-z-]+): (.*)$/.exec(line) ?? [];
      // As node:http has them: without spaces around them.
      if (name !== undefined) headers.set(name, value!.replaceAll(/^[ \t]+|[ \t]+$/g, ""));
    }
    const request = requestOf(peer, Object.fromEntries(headers));
    const principal = timed(() => this.#principalOf(request));
    this.#checkBase(request, peer);
    const expected = this.#expected(peer, headers, ticket);
    if (principal !== undefined && !expected.possible.has(principal)) {
      throw new Error(`${principal} was admitted without having what that takes.`);
    }
    if (principal === undefined && expected.certain !== undefined) {
      throw new Error(`${expected.certain} was not admitted.`);
    }
  }

  #principalOf(request: AddressedRequest): string | undefined {
    if (this.#forwarding.read(request) !== undefined) return undefined;
    if (this.#authenticator.refusalOf(request, ["read:system"]) !== undefined) return undefined;
    const access = this.#authenticator.accessOf(request);
    if (isAnonymous(access)) throw new Error("Nobody was admitted to a route that is not public.");
    return access.principal;
  }

  /** What a proxy says ends up in links and cookies; what anyone else says does not. */
  #checkBase(request: AddressedRequest, peer: string): void {
    const { path, address } = publicBase(request);
    if (!/^(?:\/[A-Za-z0-9._~-]+)*$/.test(path)) throw new Error(`The path is ${path}.`);
    if (!isProxy(peer) && address !== peer) throw new Error(`${peer} became ${address}.`);
  }

  /** Who may be admitted with these headers, and who must be, if they are what programs send. */
  #expected(peer: string, headers: ReadonlyMap<string, string>, ticket: string) {
    const get = (name: string): string => headers.get(name) ?? "";
    const possible = new Set<string>();
    const basic = /^basic +(\S+)$/i.exec(get("authorization"))?.[1] ?? "";
    const given = `${get("authorization")} ${Buffer.from(basic, "base64").toString()}`;
    // A proxy may say that the gateway has another origin.
    const isOwn = isProxy(peer) || [undefined, ORIGIN].includes(headers.get("origin"));
    const hasCookie = isOwn && get("cookie").includes(this.#cookie);
    if (
      hasCookie ||
      given.includes(TOKENS.reader) ||
      get("sec-websocket-protocol").includes(ticket)
    )
      possible.add("token:reader");
    if (isProxy(peer) && get("x-user") !== "") {
      // UTF-8, or what is not.
      possible.add(`user:${get("x-user")}`);
      possible.add(`user:${Buffer.from(get("x-user"), "latin1").toString()}`);
    }
    const names = [...headers.keys()];
    const isPlain = names.length === 1 && get("authorization") === `Bearer ${TOKENS.reader}`;
    return { possible, certain: isPlain ? "token:reader" : undefined };
  }
}

function isProxy(peer: string): boolean {
  return peer === PROXY || peer === `::ffff:${PROXY}`;
}

function stored(name: keyof typeof TOKENS, given: Partial<StoredToken>): StoredToken {
  const [, id = "", secret = ""] = /^tgw_(.{12})_(.{43})/.exec(TOKENS[name])!;
  const sha256 = digestOf(secret).toString("hex");
  return { id, name, sha256, scopes: ["read"], created_at: "2026-01-01T00:00:00.000Z", ...given };
}

function requestOf(remoteAddress: string, headers: Record<string, string>): AddressedRequest {
  const all = { host: HOST, ...headers };
  return {
    method: "GET",
    url: "/api/logs",
    headers: all,
    rawHeaders: Object.entries(all).flat(),
    httpVersion: "1.1",
    socket: { remoteAddress, localPort: 8001 },
  };
}

const SILENT = { info() {}, warning() {}, error() {} };
