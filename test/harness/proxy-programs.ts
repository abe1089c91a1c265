/** Reverse proxies in the foreground, with the configuration files of examples/, on ports of the tests' own. */

import { once } from "node:events";
import { request } from "node:https";
import { createServer, type AddressInfo } from "node:net";
import { readFile } from "node:fs/promises";
import { vi } from "vitest";
import { repositoryPath } from "../docs/document.ts";
import type { GatewayProcess } from "./gateway.ts";
import { Program, requireInstalled } from "./program.ts";
import { Workspace } from "./workspace.ts";

/** The name in the configuration files. */
export const HOST = "logs.example.com";

export type ProxyName = "nginx" | "caddy" | "haproxy";

/** The proxies with a configuration for a host name of the gateway's own. */
export type RootProxyName = Exclude<ProxyName, "haproxy">;

const PACKAGES = { nginx: "nginx-light", caddy: "caddy", haproxy: "haproxy" };

/** Where the documentation has the passwords and the certificate. */
const DIRECTORIES = /\/etc\/(?:nginx|caddy|haproxy|ssl\/tailgate)\//g;

/** Everything in one directory, and no rights to change to another user. */
const NGINX_MAIN = `
daemon off;
user root;
pid DIR/nginx.pid;
error_log stderr;
events {}
http {
  access_log DIR/access.log;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  include DIR/site;
}
`;

/** The proxy before a gateway, as the documentation sets it up. */
export class ReverseProxy implements AsyncDisposable {
  readonly #workspace: Workspace;
  readonly #path: string;
  readonly name: ProxyName;
  readonly port: number;
  #program: Program | undefined;

  private constructor(name: ProxyName, path: string, workspace: Workspace, port: number) {
    this.name = name;
    this.#path = path;
    this.#workspace = workspace;
    this.port = port;
  }

  /** Creates a directory for the proxy with a certificate of {@link HOST} and localhost. */
  static async create(name: ProxyName): Promise<ReverseProxy> {
    const path = await requireInstalled(name, PACKAGES[name]);
    const proxy = new ReverseProxy(name, path, await Workspace.create(), await freePort());
    await proxy.run(
      `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=${HOST} -addext subjectAltName=DNS:${HOST},DNS:localhost -keyout /etc/ssl/tailgate/privkey.pem -out /etc/ssl/tailgate/fullchain.pem 2>&1`,
    );
    await proxy.#workspace.write(
      ".curlrc",
      `resolve = ${HOST}:${proxy.port}:127.0.0.1\ncacert = ${proxy.certificate}\nsilent\n`,
    );
    return proxy;
  }

  /** Path of the certificate, which signed itself. */
  get certificate(): string {
    return this.#workspace.path("fullchain.pem");
  }

  /** `https://logs.example.com:PORT` */
  get url(): string {
    return `https://${HOST}:${this.port}`;
  }

  /** Runs a script of the documentation: its files are in the proxy's directory, and curl finds and trusts the proxy. */
  run(script: string, { lines = "" } = {}): Promise<string> {
    const { directory } = this.#workspace;
    const here = script
      .replaceAll(DIRECTORIES, `${directory}/`)
      .replaceAll(`https://${HOST}`, this.url);
    // Programs that ask for a password read it from a terminal if there is one.
    return Program.run("setsid", ["--wait", "bash", "-ec", `{ ${here}\n} <<< '${lines}'`], {
      cwd: directory,
      env: { HOME: directory },
    });
  }

  /** Starts it with a configuration file of the repository, or with the text of one. */
  async start(gateway: GatewayProcess, file: string | { readonly text: string }): Promise<void> {
    const { directory } = this.#workspace;
    const given =
      typeof file === "string" ? await readFile(repositoryPath(file), "utf8") : file.text;
    const grpc = new URL(await gateway.endpoint("OTLP/gRPC"));
    const site = given
      .replaceAll(DIRECTORIES, `${directory}/`)
      .replaceAll("127.0.0.1:8001", new URL(gateway.url).host)
      .replaceAll("127.0.0.1:4317", grpc.host);
    const args = await this.#configure(site);
    const program = new Program(this.#path, args, { cwd: directory, env: { HOME: directory } });
    this.#program = program;
    const answers = vi.waitFor(() => this.status("/"), { timeout: 20_000, interval: 50 });
    await answers.catch((error: unknown) => {
      throw new Error(`${this.name} does not answer:\n${program.stderr}`, { cause: error });
    });
  }

  /** Writes the configuration; returns the arguments of the program. */
  async #configure(site: string): Promise<readonly string[]> {
    const { directory } = this.#workspace;
    switch (this.name) {
      case "nginx":
        await this.#workspace.write("site", site.replace("listen 443 ", `listen ${this.port} `));
        await this.#workspace.write("nginx.conf", NGINX_MAIN.replaceAll("DIR", directory));
        return ["-c", `${directory}/nginx.conf`];
      case "caddy": {
        const address = `${this.url}, https://localhost:${this.port} {\n\ttls ${this.certificate} ${directory}/privkey.pem`;
        const global = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n";
        await this.#workspace.write("site", global + site.replace(`${HOST} {`, address));
        return ["run", "--adapter", "caddyfile", "--config", `${directory}/site`];
      }
      default:
        await this.#workspace.write("site", site.replace(" :443 ", ` 127.0.0.1:${this.port} `));
        return ["-db", "-f", `${directory}/site`];
    }
  }

  /** Requests a path; returns the status. `login` is `user:password`. */
  async status(path: string, { login = "", method = "GET" } = {}): Promise<number> {
    const answer = request({
      ...{ host: "127.0.0.1", port: this.port, servername: HOST, path, method },
      headers: {
        Host: `${HOST}:${this.port}`,
        ...(login && { Authorization: `Basic ${btoa(login)}` }),
      },
      ca: await readFile(this.certificate),
    }).end();
    const [response] = (await once(answer, "response")) as [{ statusCode: number; resume(): void }];
    response.resume();
    return response.statusCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program?.end();
    await this.#workspace[Symbol.asyncDispose]();
  }
}

async function freePort(): Promise<number> {
  await using server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}
