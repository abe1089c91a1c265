import { Agent, type AgentOptions } from "node:http";
import { Agent as TlsAgent } from "node:https";
import type { Duplex } from "node:stream";
import type { TlsFiles } from "./tls-files.ts";

/** How requests reach a destination. */
export interface Connection {
  /** Without user and password, which are in the headers. */
  readonly url: URL;
  /** The URL for log lines: without user, password and query. */
  readonly name: string;
  readonly agent: Agent;
  /** Sockets to a proxy whose tunnel is not established yet: destroy them to abort a request. */
  readonly tunnels: ReadonlySet<Duplex>;
}

/** One connection, because requests are sent one after the other. */
export function createAgent(
  { protocol }: URL,
  tls: TlsFiles,
  proxy: URL | undefined,
): Pick<Connection, "agent" | "tunnels"> {
  const tunnels = new Set<Duplex>();
  const proxyEnv = proxy === undefined ? {} : { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href };
  const options: AgentOptions = { keepAlive: true, maxSockets: 1, proxyEnv };
  if (protocol === "http:") return { agent: new Agent(options), tunnels };
  const agent = new TlsAgent({ ...options, ...tls });
  if (proxy !== undefined) agent.createConnection = trackTunnels(agent.createConnection, tunnels);
  return { agent, tunnels };
}

/** Records the sockets to the proxy until their tunnel is established: Node's request has no access to them. */
function trackTunnels(create: Agent["createConnection"], tunnels: Set<Duplex>): typeof create {
  return function createTunnel(this: Agent, options, callback) {
    const socket = create.call(this, options, (error, tunnel) => {
      if (socket) tunnels.delete(socket);
      callback?.(error, tunnel);
    });
    if (socket) tunnels.add(socket);
    return socket;
  };
}
