/** Follows docs/deployment/reverse-proxy.md with the real nginx and the real Caddy. */

import { readFile } from "node:fs/promises";
import { Client, credentials, Metadata, status, type ServiceError } from "@grpc/grpc-js";
import { afterAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { launchBrowser } from "../dashboard/launch.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { PYTHON } from "../harness/otlp.ts";
import { Program, requirePython, skipTest, startCli } from "../harness/program.ts";
import { HOST, ReverseProxy, type RootProxyName } from "../harness/proxy-programs.ts";
import { METHOD } from "../plugins/otlp-receiver/raw-call.ts";
import { Document, repositoryPath } from "./document.ts";

const page = await Document.read("docs/deployment/reverse-proxy.md");

const BASE = "log_level: DEBUG\nreceivers: { otlp: { port: 0, grpc_port: 0 } }\n";

/** The steps of the page that create the logins, by proxy. */
const STEPS: Readonly<Record<RootProxyName, readonly [string, string, string]>> = {
  nginx: [page.example("nginx-reader"), page.example("nginx-sender"), page.example("nginx-files")],
  caddy: [page.example("caddy-reader"), page.example("caddy-sender"), page.example("caddy-files")],
};

const SITES: Readonly<Record<RootProxyName, string>> = {
  nginx: "examples/nginx/tailgate.conf",
  caddy: "examples/caddy/Caddyfile",
};

interface Published {
  readonly gateway: GatewayProcess;
  readonly proxy: ReverseProxy;
  /** `user:password` */
  readonly reader: string;
  readonly sender: string;
  /** Inserts the passwords into an example. */
  withPasswords(text: string): string;
  /** Runs the page's command that sends a record, for another logger and message. */
  send(logger: string, message: string): Promise<void>;
}

const stack = new AsyncDisposableStack();
const published = new Map<RootProxyName, Promise<Published>>();

afterAll(() => stack.disposeAsync());

/** Follows the page until the gateway is published, once for each proxy: Caddy takes seconds to hash passwords. */
function publish(name: RootProxyName): Promise<Published> {
  const running = published.get(name) ?? publishAnew(name);
  published.set(name, running);
  return running;
}

async function publishAnew(name: RootProxyName): Promise<Published> {
  const proxy = stack.use(await ReverseProxy.create(name));
  const gateway = stack.use(await GatewayProcess.start(BASE + page.example("config-proxy")));
  const [forReader, forSender, forFiles] = STEPS[name];
  await proxy.run(forReader, { lines: "correct horse\ncorrect horse" });
  const password = (await proxy.run(forSender)).trimEnd();
  await proxy.run(forFiles);
  await proxy.start(gateway, SITES[name]);
  const withPasswords = (text: string): string =>
    text
      .replaceAll("alice:PASSWORD", text.includes("wss:") ? READER_IN_URL : `'${READER}'`)
      .replaceAll("ci:PASSWORD", `ci:${password}`);
  const send = async (logger: string, message: string): Promise<void> => {
    const command = page
      .example("proxy-send")
      .replace("deploy.check", logger)
      .replace("Hello through the proxy", message);
    expect(await proxy.run(withPasswords(command))).toBe("{}");
  };
  return { gateway, proxy, reader: READER, sender: `ci:${password}`, withPasswords, send };
}

const READER = "alice:correct horse";
const READER_IN_URL = "alice:correct%20horse";

/** Exports the records of the Python SDK over gRPC; returns the status. */
async function exportOverGrpc(proxy: ReverseProxy, login?: string): Promise<number> {
  const secure = credentials.createSsl(await readFile(proxy.certificate));
  const client = new Client(`localhost:${proxy.port}`, secure, {
    "grpc.ssl_target_name_override": HOST,
    "grpc.default_authority": `${HOST}:${proxy.port}`,
  });
  onTestFinished(() => client.close());
  const metadata = new Metadata();
  if (login !== undefined) metadata.set("authorization", `Basic ${btoa(login)}`);
  const asIs = (bytes: Buffer): Buffer => bytes;
  const error = await new Promise<ServiceError | null>((resolve) => {
    client.makeUnaryRequest(METHOD, asIs, asIs, PYTHON, metadata, resolve);
  });
  return error?.code ?? status.OK;
}

test.each([
  ["nginx-server", "examples/nginx/tailgate.conf"],
  ["caddy-file", "examples/caddy/Caddyfile"],
])("%s is an excerpt of %s", async (example, path) => {
  expect(await readFile(repositoryPath(path), "utf8")).toContain(page.example(example));
});

describe.each(["nginx", "caddy"] as const)("behind %s", (name) => {
  test("readers and senders have different rights, and nobody has any without a login", async () => {
    const { proxy, reader, sender } = await publish(name);
    const rights = async (login: string): Promise<number[]> => {
      const reads = ["/", "/api/logs", "/ws/logs", "/metrics"];
      const answers = await Promise.all(reads.map((path) => proxy.status(path, { login })));
      const sends = await proxy.status("/v1/logs", { login, method: "POST" });
      return [...answers, sends, await exportOverGrpc(proxy, login || undefined)];
    };
    expect(await rights("")).toEqual([401, 401, 401, 401, 401, status.UNAUTHENTICATED]);
    expect(await proxy.status("/", { login: "alice:wrong" })).toBe(401);
    // 426: the WebSocket would be accepted. 415: an empty body has no content type.
    expect(await rights(reader)).toEqual([200, 200, 426, 200, 401, status.UNAUTHENTICATED]);
    expect(await rights(sender)).toEqual([401, 401, 401, 401, 415, status.OK]);
  });

  test("the commands of the page check it and send a record", async () => {
    const { proxy, withPasswords, send } = await publish(name);
    const checked = await proxy.run(withPasswords(page.example("proxy-check")));
    expect(checked).toMatch(/^401\n\{"status":"ready"/);
    await send("deploy.check", "Hello through the proxy");
  });

  test("the dashboard shows live records in a browser, over the WebSocket", async () => {
    const { gateway, proxy, reader, send } = await publish(name);
    const browser = await launchBrowser("chrome", skipTest, {
      args: [`--host-resolver-rules=MAP ${HOST} 127.0.0.1`],
      acceptInsecureCerts: true,
    });
    onTestFinished(() => browser.close());
    const dashboard = await browser.newPage();
    const [username, password] = reader.split(":") as [string, string];
    await dashboard.authenticate({ username, password });
    await dashboard.goto(proxy.url);
    const metric = /^tailgate_websocket_clients_subscribed(?:\{[^}]*\})? 2$/m;
    await vi.waitFor(
      async () => expect(await (await fetch(`${gateway.url}/metrics`)).text()).toMatch(metric),
      { timeout: 20_000, interval: 50 },
    );
    await send("deploy.browser", "Hello to the browser");
    await dashboard.locator("::-p-text(Hello to the browser)").wait();
  });

  test("`tailgate tail` follows it with the login in the URL", async () => {
    const { proxy, withPasswords, send } = await publish(name);
    const [, , ...words] = withPasswords(page.example("proxy-tail"))
      .replace(HOST, `localhost:${proxy.port}`)
      .trimEnd()
      .split(" ");
    await using tail = startCli(words, { env: { NODE_EXTRA_CA_CERTS: proxy.certificate } });
    await send("deploy.tail", "Hello to the terminal");
    await tail.untilStdout(/ - deploy\.tail - INFO - Hello to the terminal\n/);
  });

  test("gRPC, large requests and long polls pass", async () => {
    const { gateway, proxy, reader, sender, send } = await publish(name);
    const poll = proxy.run(
      `curl --user '${reader}' 'https://${HOST}/api/logs?order=asc&wait=30&logger=deploy.poll'`,
    );
    await vi.waitFor(
      async () =>
        expect(await (await fetch(`${gateway.url}/metrics`)).text()).toMatch(
          /^tailgate_http_waiting(?:\{[^}]*\})? 1$/m,
        ),
      { timeout: 20_000, interval: 50 },
    );
    expect(await exportOverGrpc(proxy, sender)).toBe(status.OK);
    // 10 MB in 5 records: more than nginx accepts by default.
    const record = '{ body: { stringValue: "x".repeat(2_000_000) } }';
    const scopeLogs = `[{ scope: { name: "deploy.large" }, logRecords: Array(5).fill(${record}) }]`;
    const large = `node -p 'JSON.stringify({ resourceLogs: [{ scopeLogs: ${scopeLogs} }] })'`;
    const post = `curl --fail --user ${sender} --header 'Content-Type: application/json' --data-binary @-`;
    expect(await proxy.run(`${large} | ${post} https://${HOST}/v1/logs`)).toBe("{}");
    await send("deploy.poll", "Hello to the poll");
    expect(await poll).toContain("Hello to the poll");
  });

  test("the SDK of Python takes the login from the environment", async () => {
    const python = await requirePython("opentelemetry.exporter.otlp.proto.http");
    const { gateway, proxy, withPasswords } = await publish(name);
    const environment = withPasswords(page.example("proxy-environment")).replaceAll(
      `https://${HOST}`,
      `https://localhost:${proxy.port}`,
    );
    const program = `
import logging
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry._logs import LogRecord
provider = LoggerProvider()
provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter()))
provider.get_logger("python.service").emit(LogRecord(body="Hello from Python"))
provider.shutdown()
`;
    await Program.run("bash", ["-ec", `${environment}\nexec ${python} -c "$0"`, program], {
      cwd: "/",
      env: { OTEL_EXPORTER_OTLP_CERTIFICATE: proxy.certificate },
    });
    const stored = await (await fetch(`${gateway.url}/api/logs?logger=python.service`)).text();
    expect(stored).toContain("Hello from Python");
  });
});

test("the gateway names a host that it does not allow", async () => {
  await using proxy = await ReverseProxy.create("nginx");
  await using gateway = await GatewayProcess.start(BASE);
  await proxy.run(page.example("nginx-reader"), { lines: "correct horse\ncorrect horse" });
  await proxy.run(page.example("nginx-sender"));
  await proxy.start(gateway, SITES.nginx);
  expect(await proxy.run(`curl --user '${READER}' https://${HOST}/`)).toMatch(
    /^The Host header "logs\.example\.com:\d+" does not name this gateway\. .* allowed_hosts /,
  );
});
