import { counterMetric, type PluginMetric } from "../../plugin/metrics.ts";
import type { RouteRefusal } from "../../plugin/http.ts";
import { networkOf } from "./network.ts";
import { RateLimit } from "./rate-limit.ts";

/** The limits of one principal and of one address. Undefined: unlimited. */
export interface ClientLimitsConfig {
  readonly principalConnectionsMax?: number | undefined;
  readonly principalIngestBytesPerSecond?: number | undefined;
  readonly addressWebSocketsMax?: number | undefined;
  readonly addressIngestBytesPerSecond?: number | undefined;
}

/** Who sends a request. Without authentication there is no principal; over a Unix socket there is no address. */
export interface LimitedClient {
  readonly principal: string | undefined;
  readonly address: string | undefined;
}

const LIMITS = [
  "principal_connections",
  "principal_ingest",
  "address_websockets",
  "address_ingest",
] as const;

type LimitName = (typeof LIMITS)[number];

/** When a client may try again whose other connections have to end first. */
const CONNECTION_RETRY_SECONDS = 5;

/** Limits what one token, user, certificate or address may take up, so that there is enough left for the others. */
export class ClientLimits {
  readonly metric: PluginMetric;
  /** Whether {@link charge} has an effect. A field, because it is read for each request. */
  isIngestLimited: boolean;
  /** The same for {@link begin} with a request. */
  areRequestsLimited: boolean;
  readonly #count: (limit: LimitName) => void;
  readonly #byPrincipal: RateLimit | undefined;
  #byAddress: RateLimit | undefined;
  readonly #connections: ConnectionLimit | undefined;
  #webSockets: ConnectionLimit | undefined;

  constructor(config: ClientLimitsConfig) {
    const { metric, add } = counterMetric(
      "",
      "tailgate_requests_limited",
      "Requests rejected because their principal or address exceeded a limit.",
    );
    this.metric = metric;
    for (const limit of LIMITS) add(0, { limit });
    this.#count = (limit) => add(1, { limit });
    this.#byPrincipal = ingestLimit(config.principalIngestBytesPerSecond);
    this.#byAddress = ingestLimit(config.addressIngestBytesPerSecond);
    this.#connections = connectionLimit(config.principalConnectionsMax);
    this.#webSockets = connectionLimit(config.addressWebSocketsMax);
    this.isIngestLimited = this.#byPrincipal !== undefined || this.#byAddress !== undefined;
    this.areRequestsLimited = this.#connections !== undefined;
  }

  /** Replaces the limits of addresses. WebSockets that are open count only if there was a limit before. */
  setAddressLimits({
    addressWebSocketsMax,
    addressIngestBytesPerSecond,
  }: Pick<ClientLimitsConfig, "addressWebSocketsMax" | "addressIngestBytesPerSecond">): void {
    if (this.#byAddress?.perSecond !== addressIngestBytesPerSecond) {
      this.#byAddress = ingestLimit(addressIngestBytesPerSecond);
    }
    this.isIngestLimited = this.#byPrincipal !== undefined || this.#byAddress !== undefined;
    if (this.#webSockets !== undefined && addressWebSocketsMax !== undefined) {
      this.#webSockets.max = addressWebSocketsMax;
    } else {
      this.#webSockets = connectionLimit(addressWebSocketsMax);
    }
  }

  /**
   * Charges an ingested body to its sender. Returns why the sender has to wait, and charges nothing then. With 0 bytes, checks
   * a request before its body is read.
   */
  charge(
    client: LimitedClient,
    bytes: number,
    nowMs = performance.now(),
  ): RouteRefusal | undefined {
    if (!this.isIngestLimited) return undefined;
    const { principal } = client;
    const address = client.address && networkOf(client.address);
    const ofPrincipal =
      principal === undefined ? 0 : (this.#byPrincipal?.waitMs(principal, nowMs) ?? 0);
    if (ofPrincipal > 0) {
      const why = `${principal} sends more than ${this.#byPrincipal!.perSecond} bytes per second on average (auth.max_ingest_bytes_per_second_per_principal).`;
      return this.#refuse("principal_ingest", why, ofPrincipal / 1000);
    }
    const ofAddress = address === undefined ? 0 : (this.#byAddress?.waitMs(address, nowMs) ?? 0);
    if (ofAddress > 0) {
      const why = `The address ${client.address} sends more than ${this.#byAddress!.perSecond} bytes per second on average (http.max_ingest_bytes_per_second_per_address).`;
      return this.#refuse("address_ingest", why, ofAddress / 1000);
    }
    if (bytes === 0) return undefined;
    if (principal !== undefined) this.#byPrincipal?.charge(principal, bytes, nowMs);
    if (address !== undefined) this.#byAddress?.charge(address, bytes, nowMs);
    return undefined;
  }

  /**
   * Counts a request of a principal until `end` is called, or a WebSocket until its socket closes. Returns why it must be
   * rejected; `end` must not be called then.
   */
  begin(client: LimitedClient, kind: "request" | "websocket"): RouteRefusal | undefined {
    const { principal } = client;
    if (principal !== undefined && this.#connections?.isFull(principal) === true) {
      const why = `All ${this.#connections.max} connections of ${principal} are in use (auth.max_connections_per_principal).`;
      return this.#refuse("principal_connections", why, CONNECTION_RETRY_SECONDS);
    }
    const address = kind === "websocket" && client.address ? networkOf(client.address) : undefined;
    if (address !== undefined && this.#webSockets?.isFull(address) === true) {
      const why = `All ${this.#webSockets.max} WebSockets of the address ${client.address} are in use (http.max_websockets_per_address).`;
      return this.#refuse("address_websockets", why, CONNECTION_RETRY_SECONDS);
    }
    if (principal !== undefined) this.#connections?.add(principal);
    if (address !== undefined) this.#webSockets?.add(address);
    return undefined;
  }

  /** Ends what {@link begin} began. */
  end({ principal, address }: LimitedClient, kind: "request" | "websocket"): void {
    if (principal !== undefined) this.#connections?.remove(principal);
    if (kind === "websocket" && address) this.#webSockets?.remove(networkOf(address));
  }

  #refuse(limit: LimitName, why: string, waitSeconds: number): RouteRefusal {
    this.#count(limit);
    const seconds = Math.max(1, Math.ceil(waitSeconds));
    return {
      status: 429,
      text: `${why} Retry in ${seconds} s.`,
      headers: { "Retry-After": String(seconds) },
    };
  }
}

function ingestLimit(perSecond: number | undefined): RateLimit | undefined {
  return perSecond === undefined ? undefined : new RateLimit({ perSecond });
}

function connectionLimit(max: number | undefined): ConnectionLimit | undefined {
  return max === undefined ? undefined : new ConnectionLimit(max);
}

class ConnectionLimit {
  max: number;
  readonly #counts = new Map<string, number>();

  constructor(max: number) {
    this.max = max;
  }

  isFull(key: string): boolean {
    return (this.#counts.get(key) ?? 0) >= this.max;
  }

  add(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  remove(key: string): void {
    const left = (this.#counts.get(key) ?? 0) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
  }
}
