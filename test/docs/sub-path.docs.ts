/** Follows docs/deployment/sub-path.md with the real nginx, Caddy and HAProxy. */

import { readFile } from "node:fs/promises";
import { Client, credentials, Metadata, status, type ServiceError } from "@grpc/grpc-js";
import { afterAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { launchBrowser } from "../dashboard/launch.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { PYTHON } from "../harness/otlp.ts";
import { MAIN, Program, skipTest, startCli } from "../harness/program.ts";
import { HOST, ReverseProxy, type ProxyName } from "../harness/proxy-programs.ts";
import { Workspace } from "../harness/workspace.ts";
import { METHOD } from "../plugins/otlp-receiver/raw-call.ts";
import { Document, repositoryPath } from "./document.ts";

const page = await Document.read("docs/deployment/sub-path.md");

const BASE = "receivers: { otlp: { port: 0, grpc_port: 0 } }\n";

const FILES: Readonly<Record<ProxyName, string>> = {
  nginx: "examples/sub-path/nginx.conf",
  caddy: "examples/sub-path/Caddyfile",
  haproxy: "examples/sub-path/haproxy.cfg",
};

/** What creates the login of a person, and what removes the prefix, by proxy. */
const EXAMPLES = {
  nginx: [page.example("sub-path-nginx-login"), page.example("sub-path-nginx-strip")],
  caddy: [page.example("sub-path-caddy-login"), page.example("sub-path-caddy-strip")],
  haproxy: [page.example("sub-path-haproxy-login"), page.example("sub-path-haproxy-strip")],
} as const;

const READER = "alice:correct horse";

interface Published {
  readonly gateway: GatewayProcess;
  readonly proxy: ReverseProxy;
  readonly token: string;
  /** Another one, for the metrics. */
  readonly monitor: string;
  /** Runs the page's command that sends a record, for another logger and message. */
  send(logger: string, message: string): Promise<void>;
}

type Way = "kept" | "removed";

const stack = new AsyncDisposableStack();
const published = new Map<string, Promise<Published>>();

afterAll(() => stack.disposeAsync());

/** Follows the page until the gateway is published, once for each proxy and what it does with the prefix. */
function publish(name: ProxyName, way: Way): Promise<Published> {
  const running = published.get(`${name} ${way}`) ?? publishAnew(name, way);
  published.set(`${name} ${way}`, running);
  return running;
}

async function publishAnew(name: ProxyName, way: Way): Promise<Published> {
  const proxy = stack.use(await ReverseProxy.create(name));
  const workspace = stack.use(await Workspace.create());
  const file = workspace.path("tokens.json");
  const [, ...words] = page.example("sub-path-token").trimEnd().split(" ");
  const create = [MAIN, ...words, "--tokens-file", file];
  const createToken = async (...options: string[]): Promise<string> =>
    (await Program.run(process.execPath, [...create, ...options], { cwd: "/" })).trimEnd();
  const token = await createToken();
  const monitor = await createToken("--name", "monitor", "--scope", "metrics");
  const config = page
    .example("config-sub-path")
    .replace("auth:\n", `auth:\n  tokens_file: ${file}\n`)
    .replace(way === "kept" ? "" : "base_path: /tailgate\n", "");
  const gateway = stack.use(await GatewayProcess.start(BASE + config));
  await proxy.start(gateway, { text: await configurationOf(name, way, proxy) });
  const send = async (logger: string, message: string): Promise<void> => {
    const command = page
      .example("sub-path-send")
      .replace("deploy.check", logger)
      .replace("Hello below a path", message);
    expect(await proxy.run(`TOKEN=${token}\n${command}`)).toBe("{}");
  };
  return { gateway, proxy, token, monitor, send };
}

/** Returns the proxy's configuration, after the logins that it needs were created as the page says. */
async function configurationOf(name: ProxyName, way: Way, proxy: ReverseProxy): Promise<string> {
  const password = { lines: "correct horse\ncorrect horse" };
  const [createLogin, removal] = EXAMPLES[name];
  const login = await proxy.run(createLogin, password);
  const given = await readFile(repositoryPath(FILES[name]), "utf8");
  switch (name) {
    case "nginx": {
      const kept = '        proxy_set_header X-Forwarded-Prefix "";\n';
      return way === "kept" ? given : given.replaceAll(kept, removal);
    }
    case "caddy": {
      const kept = "\t\t\theader_up -X-Forwarded-Prefix\n";
      const upstream = "\t\treverse_proxy 127.0.0.1:8001 {\n";
      if (way === "kept") return given;
      const line = page.command("uri strip_prefix /tailgate");
      const [http, grpc] = given.split("# OTLP/gRPC");
      return `${http!.replaceAll(kept, removal).replaceAll(upstream, `\t\t${line}\n${upstream}`)}# OTLP/gRPC${grpc}`;
    }
    default: {
      await proxy.run(page.example("sub-path-haproxy-certificate"));
      const backend = "backend tailgate from tailgate\n";
      return given
        .replace("PASSWORD-HASH", login.trimEnd())
        .replace(backend, way === "kept" ? backend : backend + removal);
    }
  }
}

/** Exports the records of the Python SDK over gRPC; returns the status. */
async function exportOverGrpc(
  proxy: ReverseProxy,
  headers: Readonly<Record<string, string>>,
): Promise<number> {
  const secure = credentials.createSsl(await readFile(proxy.certificate));
  const client = new Client(`localhost:${proxy.port}`, secure, {
    "grpc.ssl_target_name_override": HOST,
    "grpc.default_authority": `${HOST}:${proxy.port}`,
  });
  onTestFinished(() => client.close());
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const asIs = (bytes: Buffer): Buffer => bytes;
  const error = await new Promise<ServiceError | null>((resolve) => {
    client.makeUnaryRequest(METHOD, asIs, asIs, PYTHON, metadata, resolve);
  });
  return error?.code ?? status.OK;
}

test.each([
  ["sub-path-nginx", FILES.nginx],
  ["sub-path-caddy", FILES.caddy],
  ["sub-path-haproxy", FILES.haproxy],
  ["config-sub-path", "examples/sub-path/tailgate.yaml"],
])("%s is an excerpt of %s", async (example, path) => {
  expect(await readFile(repositoryPath(path), "utf8")).toContain(page.example(example));
});

const WAYS = (["nginx", "caddy", "haproxy"] as const).flatMap((name) =>
  (["kept", "removed"] as const).map((way) => ({ name, way })),
);

describe.each(WAYS)("behind $name, with the prefix $way", ({ name, way }) => {
  test("the commands of the page check it and send a record", async () => {
    const { proxy, send } = await publish(name, way);
    const check = page.example("sub-path-check").replace("alice:PASSWORD", `'${READER}'`);
    const checked = await proxy.run(check);
    expect(checked.startsWith(page.listings[0]!.trimEnd())).toBe(true);
    await send("deploy.check", "Hello below a path");
  });

  test("people and services have the rights that the gateway gives them, and no others", async () => {
    const { proxy, token } = await publish(name, way);
    const rights = async (login: string): Promise<number[]> => {
      const paths = ["/tailgate/api/logs", "/tailgate/ws/logs", "/tailgate/metrics", "/tailgate/x"];
      return Promise.all(paths.map((path) => proxy.status(path, { login })));
    };
    expect(await rights("")).toEqual([401, 401, 401, 401]);
    // 426: the WebSocket would be accepted. 403: alice lacks the scope `metrics`.
    expect(await rights(READER)).toEqual([200, 426, 403, 404]);
    for (const header of ["", "X-Forwarded-User: alice", "x-forwarded-user: alice"]) {
      const post = `curl --output /dev/null --write-out '%{http_code}' --header '${header}' --json '{}' https://${HOST}/tailgate/v1/logs`;
      expect(await proxy.run(post)).toBe("401");
    }
    expect(await exportOverGrpc(proxy, {})).toBe(status.UNAUTHENTICATED);
    expect(await exportOverGrpc(proxy, { "x-forwarded-user": "alice" })).toBe(
      status.UNAUTHENTICATED,
    );
    expect(await exportOverGrpc(proxy, { authorization: `Bearer ${token}` })).toBe(status.OK);
  });

  test("no ambiguous path gets around the proxy's login", async () => {
    const { proxy } = await publish(name, way);
    for (const path of [
      "v1/../api/logs",
      "v1/%2e%2e/api/logs",
      "v1//../api/logs",
      "v1%2f..%2fapi/logs",
    ]) {
      const answered = await proxy.status(`/tailgate/${path}`);
      expect([path, answered]).toEqual([path, expect.toSatisfy(isRejection)]);
    }
  });

  test("the path without its slash is redirected", async () => {
    const { proxy } = await publish(name, way);
    const command = `curl --output /dev/null --write-out '%{http_code} %{redirect_url}' https://${HOST}/tailgate`;
    expect(await proxy.run(command)).toBe(`308 ${proxy.url}/tailgate/`);
  });

  test("the dashboard shows live records in a browser, over the WebSocket", async () => {
    const { gateway, proxy, monitor, send } = await publish(name, way);
    const browser = await launchBrowser("chrome", skipTest, {
      args: [`--host-resolver-rules=MAP ${HOST} 127.0.0.1`],
      acceptInsecureCerts: true,
    });
    onTestFinished(() => browser.close());
    const dashboard = await browser.newPage();
    const [username, password] = READER.split(":") as [string, string];
    const failed: string[] = [];
    dashboard.on("response", (response) => {
      if (response.status() >= 400 && response.status() !== 401) failed.push(response.url());
    });
    await dashboard.authenticate({ username, password });
    await dashboard.goto(`${proxy.url}/tailgate/?q=logger%3Adeploy.browser`);
    const headers = { Authorization: `Bearer ${monitor}` };
    const metric = /^tailgate_websocket_clients_subscribed(?:\{[^}]*\})? 2$/m;
    await vi.waitFor(
      async () =>
        expect(await (await fetch(`${gateway.url}/metrics`, { headers })).text()).toMatch(metric),
      { timeout: 20_000, interval: 50 },
    );
    await send("deploy.browser", "Hello to the browser");
    await dashboard.locator("::-p-text(Hello to the browser)").wait();
    expect(failed).toEqual([]);
  });

  test("`tailgate tail` follows it, and the client's address is in the gateway's log", async () => {
    const { gateway, proxy, send } = await publish(name, way);
    const shown = page.command("--url https://alice:PASSWORD@logs.example.com/tailgate");
    const [option, url] = shown.replace("PASSWORD", "correct%20horse").split(" ");
    const words = ["tail", option!, url!.replace(HOST, `localhost:${proxy.port}`), "--replay", "0"];
    await using tail = startCli(words, { env: { NODE_EXTRA_CA_CERTS: proxy.certificate } });
    await vi.waitFor(async () => {
      await send("deploy.tail", "Hello to the terminal");
      expect(tail.stdout).toContain(" - deploy.tail - INFO - Hello to the terminal\n");
    }, 20_000);
    await proxy.status("/tailgate/nothing", { login: READER });
    expect(gateway.stderr).toContain("There is nothing at");
  });

  test("a process connects to it with LoggingManager.connect", async () => {
    const { gateway, proxy, token } = await publish(name, way);
    const program = `
const { LoggingManager } = await import(${JSON.stringify(import.meta.resolve("tailgate"))});
const connection = await LoggingManager.connect({ endpoint: process.env.ENDPOINT, headers: { Authorization: "Bearer " + process.env.TOKEN } });
connection.getLogger("deploy.connect").info("Hello from a process");
await connection.stop();
console.log(JSON.stringify(connection.status.sent));
`;
    const environment = {
      ENDPOINT: `https://localhost:${proxy.port}/tailgate`,
      TOKEN: token,
      NODE_EXTRA_CA_CERTS: proxy.certificate,
    };
    const args = ["--input-type=module", "--eval", program];
    const sent = await Program.run(process.execPath, args, { cwd: "/", env: environment });
    expect([sent.trim(), gateway.stderr.includes("deploy.connect")]).toEqual(["1", true]);
  });
});

function isRejection(answered: number): boolean {
  return answered >= 400;
}
