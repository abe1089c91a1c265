/** Pages of another origin that send with the OpenTelemetry SDK, in real browsers. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { Browser, Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { launchBrowser, type BrowserName } from "../../dashboard/launch.ts";
import type { Collected } from "../../harness/client.ts";
import { GatewayProcess } from "../../harness/gateway.ts";
import { skipTest } from "../../harness/program.ts";
import { TestTokens } from "../../harness/tokens.ts";
import { Workspace } from "../../harness/workspace.ts";

/** What the page offers to the test. */
declare global {
  interface Window {
    readonly setUp: (url: string, headers?: Record<string, string>) => void;
    readonly log: (message: string) => void;
    /** Resolves with what the SDK reports meanwhile. */
    readonly flush: () => Promise<string>;
  }
}

const SCRIPT = `
import { diag, DiagLogLevel, SeverityNumber } from "@opentelemetry/api";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

let provider;
const said = [];
const say = (...parts) => said.push(parts.join(" "));
const silent = () => {};
diag.setLogger({ error: say, warn: say, info: silent, debug: silent, verbose: silent }, DiagLogLevel.WARN);

window.setUp = (url, headers = {}) => {
  // Longer than the test: only a flush, or the end of the page, sends.
  const batches = { exporter: new OTLPLogExporter({ url, headers, timeoutMillis: 5000 }), scheduledDelayMillis: 600_000 };
  provider = new LoggerProvider({ processors: [new BatchLogRecordProcessor(batches)] });
};
window.log = (body) => provider.getLogger("shop.web").emit({ severityNumber: SeverityNumber.WARN, body });
window.flush = async () => {
  await provider.forceFlush().catch(say);
  return said.splice(0).join("; ");
};
`;

/** Servers of pages on two ports, which are two origins. The first may send. */
let allowed = "";
let other = "";
let gateway: GatewayProcess;
let secured: GatewayProcess;
let tokens: TestTokens;
const cleanUps: (() => unknown)[] = [];

beforeAll(async () => {
  const resolveDir = fileURLToPath(new URL(".", import.meta.url));
  const { outputFiles } = await build({
    stdin: { contents: SCRIPT, resolveDir },
    bundle: true,
    format: "esm",
    platform: "browser",
    write: false,
  });
  const script = outputFiles[0]!.text;
  allowed = await servePage(script);
  other = await servePage(script);
  const receiver = (given: string): string =>
    `receivers: { otlp: { port: 0, cors_origins: ["${allowed}"], ${given} } }\nexporters: { websocket: {} }\n`;
  gateway = await GatewayProcess.start(receiver("max_body_bytes: 100000"));
  cleanUps.push(() => gateway[Symbol.asyncDispose]());
  const workspace = await Workspace.create();
  cleanUps.push(() => workspace[Symbol.asyncDispose]());
  tokens = await TestTokens.create(workspace, {
    page: { scopes: ["ingest:system"] },
    reader: { scopes: ["read"] },
  });
  secured = await GatewayProcess.start(`auth: { tokens_file: ${tokens.path} }\n${receiver("")}`);
  cleanUps.push(() => secured[Symbol.asyncDispose]());
});

afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

/** Serves an empty page with the script; returns its origin. */
async function servePage(script: string): Promise<string> {
  const server = createServer(({ url }, response) => {
    const isScript = url === "/page.js";
    response.setHeader("Content-Type", isScript ? "text/javascript" : "text/html");
    response.end(
      isScript ? script : '<!doctype html><script type="module" src="/page.js"></script>',
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUps.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The gateway's OTLP port and its main port. */
async function targets(): Promise<string[]> {
  return [await gateway.endpoint("OTLP/HTTP"), gateway.url].map((url) => `${url}/v1/logs`);
}

function messages(client: Collected, count: number): Promise<unknown[]> {
  return client.receive(count).then((records) => records.map(({ data }) => data.message));
}

/** Requests that a program sends after those of the page: when it arrives, nothing else will. */
async function sendMarker(url: string, body: string): Promise<void> {
  const scopeLogs = [{ logRecords: [{ body: { stringValue: body } }] }];
  const headers = { "Content-Type": "application/json" };
  const request = JSON.stringify({ resourceLogs: [{ scopeLogs }] });
  await fetch(url, { method: "POST", headers, body: request });
}

describe.each<BrowserName>(["chrome", "firefox"])("in %s", (name) => {
  let browser: Browser | undefined;

  afterAll(() => browser?.close());

  async function open(origin: string): Promise<Page> {
    browser ??= await launchBrowser(name, skipTest);
    const context = await browser.createBrowserContext();
    onTestFinished(() => context.close());
    const page = await context.newPage();
    await page.goto(origin);
    await page.waitForFunction("window.flush !== undefined");
    return page;
  }

  test("the SDK of an accepted page sends to both ports, with nothing to report", async () => {
    const client = await gateway.client();
    for (const url of await targets()) {
      const page = await open(allowed);
      const said = await page.evaluate(async (target) => {
        window.setUp(target);
        window.log("first");
        const found = await window.flush();
        window.log("second");
        return found + (await window.flush());
      }, url);
      expect(said).toBe("");
    }
    expect(await messages(client, 4)).toEqual(["first", "second", "first", "second"]);
  });

  test("a page of another origin is refused, and nothing is stored", async () => {
    const client = await gateway.client();
    const page = await open(other);
    const [target = ""] = await targets();
    const said = await page.evaluate(async (url) => {
      window.setUp(url);
      window.log("foreign");
      return window.flush();
    }, target);
    expect(said).toMatch(/network error|NetworkError|Failed to fetch/i);
    // Without a preflight request.
    const answer = await page.evaluate(async (url) => {
      const record = { body: { stringValue: "foreign" } };
      const body = JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords: [record] }] }] });
      const response = await fetch(url, { method: "POST", mode: "no-cors", body });
      navigator.sendBeacon(url, body);
      return response.type;
    }, target);
    expect(answer).toBe("opaque");
    await vi.waitFor(() => {
      const lines = gateway.stderr.split("\n").filter((line) => line.includes(other));
      expect(lines.join("\n")).toMatch(/OPTIONS \/v1\/logs/);
    });
    await sendMarker(target, "marker");
    expect(await messages(client, 1)).toEqual(["marker"]);
  });

  test("what is logged before the page is left arrives", async () => {
    const client = await gateway.client();
    const [target = ""] = await targets();
    const page = await open(allowed);
    await page.evaluate(async (url) => {
      window.setUp(url);
      window.log("earlier");
      await window.flush();
      window.log("last words");
    }, target);
    await page.goto("about:blank");
    expect(await messages(client, 2)).toEqual(["earlier", "last words"]);
  });

  // Firefox sends no preflight request for a page that is gone, and not always what a tab logs that is closed.
  test.runIf(name === "chrome")(
    "what is logged before the tab is closed arrives, even if the page has not sent before",
    async () => {
      const client = await gateway.client();
      const [target = ""] = await targets();
      const page = await open(allowed);
      await page.evaluate((url) => {
        window.setUp(url);
        window.log("only words");
      }, target);
      await page.close({ runBeforeUnload: true });
      expect(await messages(client, 1)).toEqual(["only words"]);
    },
  );

  test("beacons arrive, as text and as JSON", async () => {
    const client = await gateway.client();
    const page = await open(allowed);
    const [target = ""] = await targets();
    await page.evaluate((url) => {
      const request = (message: string): string => {
        const record = { body: { stringValue: message } };
        return JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords: [record] }] }] });
      };
      addEventListener("pagehide", () => {
        navigator.sendBeacon(url, request("text"));
        navigator.sendBeacon(url, new Blob([request("JSON")], { type: "application/json" }));
      });
    }, target);
    await page.goto("about:blank");
    expect(new Set(await messages(client, 2))).toEqual(new Set(["JSON", "text"]));
  });

  test("a page can read why its request is rejected", async () => {
    const page = await open(allowed);
    const post = (url: string, size: number) =>
      page.evaluate(
        async (target, bytes) => {
          const headers = { "Content-Type": "application/json" };
          const request = { method: "POST", headers, body: " ".repeat(bytes) };
          const response = await fetch(target, request);
          return `${response.status} ${await response.text()}`;
        },
        url,
        size,
      );
    const [target = ""] = await targets();
    expect(await post(target, 100_001)).toMatch(/^413 .*larger than 100000 bytes/);
    expect(await post(target, 1)).toMatch(/^400 /);
    expect(await post(`${await secured.endpoint("OTLP/HTTP")}/v1/logs`, 1)).toMatch(
      /^401 .*requires authentication/,
    );
  });

  test("a token in the page's headers is accepted, and a wrong one shows as 401", async () => {
    const url = `${await secured.endpoint("OTLP/HTTP")}/v1/logs`;
    const page = await open(allowed);
    const sendWith = (token: string, message: string) =>
      page.evaluate(
        (target, authorization, text) => {
          window.setUp(target, { Authorization: authorization });
          window.log(text);
          return window.flush();
        },
        url,
        `Bearer ${token}`,
        message,
      );
    expect(await sendWith("wrong", "with a wrong token")).toContain("401");
    expect(await sendWith(tokens.text("page"), "with the page's token")).toBe("");
    // What the SDK has reported as sent is durable.
    const answer = await fetch(`${secured.url}/api/logs`, { headers: tokens.bearer("reader") });
    const { records } = (await answer.json()) as { records: readonly unknown[] };
    expect(JSON.stringify(records)).toContain("with the page's token");
    expect(JSON.stringify(records)).not.toContain("with a wrong token");
  });
});
