import type { SecureContextOptions, TlsOptions } from "node:tls";

/** The TLS of the gateway's ports, for a port of the receiver's own. */
export interface HostTls {
  /**
   * The options for `tls.createServer`, which those of node:https and node:http2 extend: certificate, key, the lowest version
   * of TLS, and whether client certificates are requested. Clients whose certificate is not valid are not rejected.
   */
  readonly options: TlsOptions;
  /** Gives the server each new certificate until it closes. Connections that are open stay open. */
  attach(server: SecureServer): void;
}

/** A server of node:tls, node:https or node:http2. */
export interface SecureServer {
  /** As of node:tls. */
  setSecureContext(options: SecureContextOptions): void;
  /** As of node:events. */
  once(event: "close", listener: () => void): unknown;
}
