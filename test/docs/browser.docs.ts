/** Opens the page of docs/guides/browser.md in Chromium, behind the servers that the guide configures. */

import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser, Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { launchBrowser } from "../dashboard/launch.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { Program, skipTest } from "../harness/program.ts";
import { TestTokens } from "../harness/tokens.ts";
import type { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { installedExample } from "./example-packages.ts";
import { userDirectory } from "./user-directory.ts";

const guide = await Document.read("docs/guides/browser.md");

/** A name that browsers resolve to this machine, in place of the guide's. */
const HOST = "shop.localhost";

let gateway: GatewayProcess;
let otlp: string;
let browser: Browser | undefined;

beforeAll(async () => {
  const config = guide.example("config-browser").replace("shop.example.com", HOST);
  gateway = await GatewayProcess.start(
    `${config}receivers: { otlp: { port: 0 } }\nexporters: { websocket: {} }\n`,
  );
  otlp = await gateway.endpoint("OTLP/HTTP");
});

afterAll(async () => {
  await browser?.close();
  await gateway[Symbol.asyncDispose]();
});

/** Opens a page until the test ends. Skips the test if there is no Chromium. */
async function openPage(url: string): Promise<Page> {
  browser ??= await launchBrowser("chrome", skipTest);
  const context = await browser.createBrowserContext();
  onTestFinished(() => context.close());
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

/** A free port, for servers that cannot choose one themselves. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The example, forwarding to the test's gateway. */
async function pageWorkspace(): Promise<Workspace> {
  const workspace = await installedExample("browser");
  const config = await readFile(workspace.path("vite.config.js"), "utf8");
  await workspace.write("vite.config.js", config.replace("http://127.0.0.1:4318", otlp));
  return workspace;
}

/** Starts Vite as the guide says; returns the page's URL. */
async function startVite({ directory: cwd }: Workspace): Promise<string> {
  expect(guide.example("browser-run")).toBe("npx vite\n");
  const port = await freePort();
  const args = ["--host", "127.0.0.1", "--port", `${port}`, "--strictPort"];
  // Not through npx, which does not end what it started.
  const vite = new Program(join(cwd, "node_modules/.bin/vite"), args, { cwd });
  onTestFinished(() => vite[Symbol.asyncDispose]());
  await vite.untilStdout(/Local:/);
  return `http://127.0.0.1:${port}/`;
}

const EXPECTED = [
  {
    level: "WARNING",
    logger: "shop.web",
    message: "The cart is empty",
    path: "/",
    service: "shop-web",
  },
  {
    level: "ERROR",
    logger: "shop.web",
    message: "Uncaught Error: The payment form is missing",
    "exception.type": "Error",
    "exception.stacktrace": expect.stringContaining("HTMLButtonElement") as string,
    service: "shop-web",
  },
];

describe("a page sends its logs and errors", () => {
  test("through Vite", async () => {
    const url = await startVite(await pageWorkspace());
    const client = await gateway.client();
    const page = await openPage(url);
    await page.click("button");
    // Leaving the page sends what is queued.
    await page.goto("about:blank");
    const received = await client.receive(2);
    expect(received.map(({ data }) => data)).toMatchObject(EXPECTED);
  });

  test("through nginx, under the name in allowed_hosts", async () => {
    await promisify(execFile)("nginx", ["-v"]).catch((error: unknown) =>
      skipTest("nginx is missing: npm run setup:docs", error),
    );
    const workspace = await pageWorkspace();
    const { directory: cwd } = workspace;
    await Program.run("npx", guide.command("npx vite build").split(" ").slice(1), { cwd });
    const port = await freePort();
    const server = guide
      .example("browser-nginx")
      .replace("listen 80", `listen 127.0.0.1:${port}`)
      .replace("shop.example.com", HOST)
      .replace("/var/www/shop", workspace.path("dist"))
      .replace("http://127.0.0.1:4318", otlp);
    const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    const temporary = paths.map((name) => `${name}_temp_path ${cwd}/${name};`).join(" ");
    // As root, nginx would serve as a user who cannot read the workspace.
    const user = process.getuid?.() === 0 ? "user root;" : "";
    await workspace.write(
      "nginx.conf",
      `${user} daemon off; pid ${cwd}/nginx.pid; error_log stderr; events {}
      http { include /etc/nginx/mime.types; access_log off; ${temporary} ${server} }`,
    );
    const nginx = new Program("nginx", ["-p", cwd, "-c", "nginx.conf"], { cwd });
    onTestFinished(async () => void (await nginx.end()));
    const url = `http://127.0.0.1:${port}/`;
    await vi.waitFor(() => fetch(url), { timeout: 10_000 });
    const client = await gateway.client();
    const page = await openPage(url.replace("127.0.0.1", HOST));
    await page.click("button");
    await page.goto("about:blank");
    const received = await client.receive(2);
    const [warning, error] = EXPECTED;
    const built = { ...error!, "exception.stacktrace": expect.any(String) as string };
    expect(received.map(({ data }) => data)).toMatchObject([warning, built]);
    const tooLarge = await fetch(`${url}v1/logs`, { method: "POST", body: "x".repeat(70_000) });
    expect(tooLarge.status).toBe(413);
  });

  test("directly, as cors_origins permits", async () => {
    const workspace = await pageWorkspace();
    // Nothing forwards the path.
    await workspace.write("vite.config.js", "export default {};\n");
    const config = guide.example("config-browser-direct").replaceAll("localhost", "127.0.0.1");
    const port = config.replace("{ cors_origins", "{ port: 0, cors_origins");
    await using direct = await GatewayProcess.start(`${port}exporters: { websocket: {} }\n`);
    const address = await direct.endpoint("OTLP/HTTP");
    const source = await readFile(workspace.path("logging.js"), "utf8");
    const ofPath = /^ *new BatchLogRecordProcessor\(.*\),\n/m;
    const ofGateway = guide.example("browser-direct").replace("http://127.0.0.1:4318", address);
    expect(source).toMatch(ofPath);
    await workspace.write("logging.js", source.replace(ofPath, ofGateway));
    const url = await startVite(workspace);
    const client = await direct.client();
    const page = await openPage(url);
    await page.click("button");
    await page.goto("about:blank");
    const received = await client.receive(2);
    expect(received.map(({ data }) => data)).toMatchObject(EXPECTED);
    // The example with a token differs in the address and the headers.
    const withToken = guide
      .example("browser-token")
      .replace(/\n *headers.*\n/, "\n")
      .replace("https://logs.example.com:4318", "http://127.0.0.1:4318");
    const compact = (text: string): string => text.replaceAll(/\s/g, "").replaceAll(",}", "}");
    expect(compact(withToken)).toBe(compact(guide.example("browser-direct")));
  });

  test("and its unhandled rejections", async () => {
    const workspace = await pageWorkspace();
    await workspace.write(
      "main.js",
      'import "./logging.js";\nvoid Promise.reject(new TypeError("no answer"));\n',
    );
    const url = await startVite(workspace);
    const client = await gateway.client();
    await openPage(url);
    const [received] = await client.receive(1);
    expect(received!.data).toMatchObject({
      message: "TypeError: no answer",
      "exception.type": "TypeError",
    });
  });
});

/** Serves an empty page on a port of its own; returns its origin. */
async function emptyPage(): Promise<string> {
  const server = createServer((_, response) => {
    response.setHeader("Content-Type", "text/html").end("<!doctype html><title>Empty</title>");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("the gateway rejects", () => {
  test("a request to another origin than the page's", async () => {
    const page = await openPage(await emptyPage());
    const statuses: string[] = [];
    page.on("response", (response) => {
      if (!response.url().startsWith(otlp)) return;
      statuses.push(`${response.request().method()} ${response.status()}`);
    });
    const post = (type: string, mode: RequestMode): Promise<string> =>
      page.evaluate(
        async (url, contentType, requestMode) => {
          const headers = { "Content-Type": contentType };
          const options = { method: "POST", mode: requestMode, headers, body: "{}" };
          return fetch(url, options).then(() => "sent", String);
        },
        `${otlp}/v1/logs`,
        type,
        mode,
      );
    expect(await post("application/json", "cors")).toBe("TypeError: Failed to fetch");
    expect(await post("text/plain", "no-cors")).toBe("sent");
    expect(statuses).toEqual(["OPTIONS 403", "POST 403"]);
  });

  test.each([
    ["OPTIONS", 405, {}],
    ["POST", 415, { "Content-Type": "text/plain" }],
  ])(
    "from a trusted origin, %s with %i and without CORS headers",
    async (method, status, headers) => {
      const response = await fetch(`${otlp}/v1/logs`, {
        method,
        headers: { Origin: "http://localhost:3000", ...headers },
        ...(method === "POST" && { body: "{}" }),
      });
      expect(response.status).toBe(status);
      expect(response.headers.get("Access-Control-Allow-Origin")).toBe(null);
    },
  );

  test("a proxied request whose Host header was replaced", async () => {
    const workspace = await pageWorkspace();
    const config = await readFile(workspace.path("vite.config.js"), "utf8");
    await workspace.write("vite.config.js", config.replace("Origin: false", "Origin: true"));
    const url = await startVite(workspace);
    const page = await openPage("about:blank");
    const answer = page.waitForResponse((response) => response.url().endsWith("/v1/logs"));
    await page.goto(url);
    const response = await answer;
    expect(response.status()).toBe(403);
    expect(await response.text()).toContain("is not a page of this gateway");
  });

  test("a host name that is not in allowed_hosts", async () => {
    const url = (await startVite(await pageWorkspace())).replace("127.0.0.1", "other.localhost");
    const page = await openPage("about:blank");
    const answer = page.waitForResponse((response) => response.url().endsWith("/v1/logs"));
    await page.goto(url);
    const response = await answer;
    expect(response.status()).toBe(403);
    expect(await response.text()).toContain("does not name this gateway");
  });
});

test("a page of another origin shows records with tickets, until the token is revoked", async () => {
  const workspace = await userDirectory();
  await workspace.install("vite");
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const tokens = await TestTokens.create(workspace, {
    page: { scopes: ["read:system"] },
    sender: { scopes: ["ingest"] },
  });
  const config = guide
    .example("config-browser-ticket")
    .replace("http://localhost:5173", origin)
    .replace("{}", `{ tokens_file: ${tokens.path} }`);
  await using secured = await GatewayProcess.start(`${config}exporters: { websocket: {} }\n`);
  const body = JSON.stringify({
    resourceLogs: [{ scopeLogs: [{ logRecords: [{ body: { stringValue: "hello" } }] }] }],
  });
  const headers = { "Content-Type": "application/json", ...tokens.bearer("sender") };
  await fetch(`${secured.url}/v1/logs`, { method: "POST", headers, body });
  const here = (name: string): string =>
    guide.example(name).replaceAll("https://logs.example.com", secured.url);
  await workspace.write("index.html", guide.example("browser-ticket.html"));
  await workspace.write("page.js", here("browser-ticket"));
  await workspace.write("vite.config.js", here("browser-ticket-vite"));
  const args = ["--host", "127.0.0.1", "--port", `${port}`, "--strictPort"];
  const { directory: cwd } = workspace;
  const env = { TAILGATE_TOKEN: tokens.text("page") };
  const vite = new Program(repositoryPath("node_modules/.bin/vite"), args, { cwd, env });
  onTestFinished(() => vite[Symbol.asyncDispose]());
  await vite.untilStdout(/Local:/);
  const page = await openPage(origin);
  const shown = (): Promise<string> => page.$eval("body", (element) => element.innerText);
  await expect.poll(shown, { timeout: 20_000 }).toMatch(/^live\s+hello/);
  await tokens.revoke("page");
  await expect
    .poll(shown, { timeout: 20_000 })
    .toMatch(
      /^(waiting|connecting) The client failed: Error: The server responded with HTTP 401\./,
    );
  expect(await page.content()).not.toContain(tokens.text("page"));
  expect(secured.stderr).not.toContain(tokens.text("page"));
});

test.each([
  ["browser-logging", "logging.js"],
  ["browser-main", "main.js"],
  ["browser-page", "index.html"],
  ["browser-vite", "vite.config.js"],
])("%s is the example %s", async (name, file) => {
  const source = await readFile(repositoryPath(`examples/browser/${file}`), "utf8");
  expect(source).toBe(guide.example(name));
});

test("the guide installs the versions that are tested", async () => {
  const manifest = await readFile(repositoryPath("examples/browser/package.json"), "utf8");
  const { dependencies, devDependencies } = JSON.parse(manifest) as {
    dependencies: object;
    devDependencies: object;
  };
  const tested = Object.entries({ ...dependencies, ...devDependencies });
  const installed = guide.example("browser-install").match(/@?[\w/-]+@[\d.]+/g);
  expect(installed!.toSorted()).toEqual(tested.map((entry) => entry.join("@")).toSorted());
  const page = await Document.read("examples/browser/README.md");
  expect(page.example("examples-browser")).toBe(`npm install\n${guide.example("browser-run")}`);
});
