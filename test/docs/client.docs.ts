/** Runs the examples of the client page and the React page, and compares their tables with the types. */

import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { launch, type Page } from "puppeteer-core";
import { HistoryError, LogHistory } from "tailgate/client";
import { build, transformWithOxc } from "vite";
import { describe, expect, onTestFinished, test } from "vitest";
import { postMessages } from "../harness/otlp.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Program, skipTest } from "../harness/program.ts";
import type { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import type { Manifest } from "./example-packages.ts";
import { tableAfter } from "./table.ts";
import { startGateway, userDirectory } from "./user-directory.ts";

const page = await Document.read("docs/reference/client.md");
const react = await Document.read("docs/reference/react.md");

/** Starts an example on this gateway, until the scope of the result ends. */
async function start(workspace: Workspace, name: string, url: string): Promise<Program> {
  const source = page.example(name).replace("localhost:8001", new URL(url).host);
  await workspace.write("client.mjs", source);
  return new Program(process.execPath, ["client.mjs"], { cwd: workspace.directory });
}

async function postEvents(url: string, actions: readonly string[]): Promise<void> {
  const logRecords = actions.map((action) => ({
    attributes: [{ key: "event_type", value: { stringValue: action } }],
  }));
  const scope = { name: "orchestrator.audit" };
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs: [{ scope, logRecords }] }] }),
  });
  expect(await response.json()).toEqual({});
}

test("the stream shows history, new records and connection changes", async () => {
  const workspace = await userDirectory();
  const { program, url } = await startGateway(workspace);
  await postMessages(url, ["before"]);
  await using client = await start(workspace, "client", url);
  await client.untilStdout(/^before$[^]*^live $/m);
  await postMessages(url, ["after"]);
  await client.untilStdout(/^after$/m);
  expect(await program.end()).toBe(0);
  await client.untilStdout(/^waiting The gateway is stopping\.$/m);
  await client.untilStdout(new RegExp(`^waiting No gateway answers at ${url}\\.$`, "m"));
  await startGateway(workspace, new URL(url).port);
  await client.untilStdout(/^live $[^]*^live $/m);
  expect(client.stdout).not.toContain("gap");
  expect(client.stdout.match(/^before$/gm)).toHaveLength(1);
});

test("a stream resumes at the stored position", async () => {
  const workspace = await userDirectory();
  const { url } = await startGateway(workspace);
  await postMessages(url, ["one"]);
  {
    await using first = await start(workspace, "client-resume", url);
    await first.untilStdout(/^one$/m);
    await expect.poll(() => existsSync(workspace.path("position.json"))).toBe(true);
  }
  await postMessages(url, ["two"]);
  await using second = await start(workspace, "client-resume", url);
  await second.untilStdout(/^two$/m);
  expect(second.stdout).toBe("two\n");
});

test("a stream with backpressure stores the JSON as it was sent", async () => {
  const workspace = await userDirectory();
  await workspace.install("ws");
  const { url } = await startGateway(workspace);
  const messages = Array.from({ length: 3000 }, (_, index) => `message ${index}`);
  await postMessages(url, messages);
  await using client = await start(workspace, "client-backpressure", url);
  const read = (): Promise<string> =>
    readFile(workspace.path("records.jsonl"), "utf8").catch(() => client.stderr);
  await expect.poll(read, { timeout: 20_000 }).toContain('"message 2999"');
  const lines = (await read()).trimEnd().split("\n");
  expect(
    lines.map((line) => (JSON.parse(line) as { data: { message: string } }).data.message),
  ).toEqual(messages);
});

test("the history has all audit events, the newest first", async () => {
  const workspace = await userDirectory();
  const { url } = await startGateway(workspace);
  await postMessages(url, ["a system log"]);
  await postEvents(url, ["instance_spawn", "instance_terminate"]);
  await using client = await start(workspace, "history", url);
  expect(await client.ended).toBe(0);
  expect(client.stdout).toBe("3 instance_terminate\n2 instance_spawn\n");
});

test("a stream uses a token that was replaced, and stops when it is revoked", async () => {
  const workspace = await userDirectory();
  const tokens = await TestTokens.create(workspace, {
    first: { scopes: ["read"] },
    second: { scopes: ["read"] },
  });
  await workspace.write("tailgate.yaml", `auth: { tokens_file: ${tokens.path} }\n`);
  await workspace.write("token", `${tokens.text("first")}\n`);
  const { url } = await startGateway(workspace);
  await using client = await start(workspace, "client-token", url);
  await client.untilStdout(/^live$/m);
  await workspace.write("token", `${tokens.text("second")}\n`);
  await tokens.revoke("first");
  await client.untilStdout(/^live$[^]*^waiting$[^]*^live$/m);
  await tokens.revoke("second");
  await client.untilStdout(/^closed$/m);
  expect(client.stderr).toBe("UNAUTHENTICATED The token second was revoked.\n");
});

test("failed requests have the codes that the page lists", async () => {
  const server = createServer((_request, response) => response.end("hello"));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const codeOf = (): Promise<string> =>
    new LogHistory({ url }).page().then(
      () => "none",
      (error: unknown) => (error as HistoryError).code,
    );
  const notUnderstood = await codeOf();
  server.close();
  await once(server, "close");
  expect(tableAfter(page, "Errors").map(([cell]) => cell!.replaceAll("`", ""))).toEqual([
    await codeOf(),
    notUnderstood,
  ]);
});

describe("the tables have all", () => {
  const source = (name: string): Promise<string> =>
    readFile(repositoryPath(`src/client/${name}.ts`), "utf8");

  /** Returns the names in the first cells, without arguments. */
  function firstCells(document: Document, heading: string): string[] {
    return tableAfter(document, heading).flatMap(([cell]) =>
      Array.from(cell!.matchAll(/`(\w+)/g), ([, name]) => name!),
    );
  }

  async function members(file: string, name: string): Promise<string[]> {
    const [, body] = new RegExp(`interface ${name}[^{]*\\{([^]*?)\\n\\}`).exec(await source(file))!;
    return Array.from(body!.matchAll(/^ {2}readonly (\w+)\??:/gm), ([, member]) => member!);
  }

  test("options and methods of a stream", async () => {
    expect(firstCells(page, "Options")).toEqual([
      ...(await members("gateway", "GatewayOptions")),
      ...(await members("log-stream", "LogStreamOptions")),
    ]);
    const text = await source("log-stream");
    const [, body] = /export class LogStream \{([^]*?)\n\}/.exec(text)!;
    const methods = Array.from(body!.matchAll(/^ {2}(?:get )?(\w+)\([^)]*\)(?:: [^{]+)? \{$/gm));
    const names = methods.map(([, name]) => name!).filter((name) => name !== "constructor");
    expect(firstCells(page, "Methods").toSorted()).toEqual(names.toSorted());
  });

  test("events, with their members", async () => {
    const text = await source("stream-events");
    const [, union] = /export type StreamEvent =([^]*?);\n\n/.exec(text)!;
    const events = union!.split(/^ {2}\| /m).slice(1);
    const expected = events.map((event) => {
      const [, type] = /readonly type: "(\w+)"/.exec(event)!;
      const names = Array.from(event.matchAll(/readonly (\w+):/g), ([, name]) => name!);
      return [type, names.filter((name) => name !== "type")];
    });
    const stated = tableAfter(page, "Events").map((cells) =>
      cells.slice(0, 2).map((cell) => Array.from(cell.matchAll(/`(\w+)`/g), ([, name]) => name!)),
    );
    expect(stated.map(([type, names]) => [type![0], names])).toEqual(expected);
  });

  test("states, members of a status, and reasons", async () => {
    const text = await source("stream-events");
    const union = (pattern: RegExp): string[] =>
      Array.from(pattern.exec(text)![1]!.matchAll(/"([\w-]+)"/g), ([, word]) => word!);
    const states = tableAfter(page, "Status").map(([cell]) => cell!.replaceAll("`", ""));
    expect(states.toSorted()).toEqual(union(/readonly state:([^;]+);/).toSorted());
    for (const member of await members("stream-events", "StreamStatus")) {
      expect(page.text).toMatch(new RegExp(`^\\|.*\`${member}\`.* \\|`, "m"));
    }
    expect(firstCells(page, "Gaps").toSorted()).toEqual(["hole", "unknown"]);
  });

  test("members of queries and pages", async () => {
    const query = await members("log-history", "HistoryQuery");
    expect(firstCells(page, "LogHistory").toSorted()).toEqual(query.toSorted());
    for (const member of await members("log-history", "HistoryPage")) {
      expect(page.text).toContain(`| \`${member}\` |`);
    }
  });

  test("exports", async () => {
    const text = await source("index");
    const exported = Array.from(text.matchAll(/export (?:type )?\{([^}]+)\}/g), ([, names]) =>
      names!.split(",").map((name) => name.trim()),
    );
    for (const name of exported.flat().filter((word) => word !== "")) {
      expect(page.inlineCode.join(" ")).toContain(name);
    }
  });

  test("what the hook takes and returns", async () => {
    const own = await members("react", "UseLogStreamOptions");
    expect(firstCells(react, "Options")).toEqual(own);
    const returned = [
      ...(await members("react", "BufferView")),
      ...(await members("react", "LogStreamView")),
    ];
    expect(firstCells(react, "What it returns").toSorted()).toEqual(returned.toSorted());
  });
});

const EXAMPLE = "examples/react";

test("the page shows the component of the example", async () => {
  const source = await readFile(repositoryPath(`${EXAMPLE}/log.jsx`), "utf8");
  expect(source).toBe(react.example("react"));
});

test("the component renders, also on a server", async () => {
  const workspace = await userDirectory();
  await workspace.install("react");
  await workspace.install("react-dom");
  const { code } = await transformWithOxc(react.example("react"), "log.jsx", {
    jsx: { runtime: "automatic", development: false },
  });
  await workspace.write("log.js", code);
  await workspace.write("server.js", SERVER_RENDERING);
  const { directory: cwd } = workspace;
  const env = { NODE_ENV: "production" };
  expect(await Program.run(process.execPath, ["server.js"], { cwd, env })).toBe(
    "<section><h2>connecting<!-- --> <!-- -->Connecting.</h2><button>Pause</button></section>\n",
  );
});

const SERVER_RENDERING = `
  import { createElement } from "react";
  import { renderToString } from "react-dom/server";
  import { Log } from "./log.js";
  console.log(renderToString(createElement(Log, { url: "/" })));
`;

const CHROMIUM = process.env["CHROMIUM"] || "/usr/bin/chromium";

test("the React example shows live records in a browser", async () => {
  if (!existsSync(CHROMIUM)) skipTest(`${CHROMIUM} is missing: npm run setup:browsers`);
  const readme = await Document.read(`${EXAMPLE}/README.md`);
  // The other lines install the packages.
  expect(readme.example("examples-react")).toContain("\nnpx vite --port 3000 --strictPort\n");
  const workspace = await userDirectory();
  await cp(repositoryPath(EXAMPLE), workspace.directory, { recursive: true });
  await workspace.install("react");
  await workspace.install("react-dom");
  const origin = await serveBuilt(workspace);
  await writeFile(workspace.path("tailgate.yaml"), `allowed_hosts: ["${origin}"]\n`);
  const { url } = await startGateway(workspace);
  await postMessages(url, ["before"]);
  const tab = await openPage(`${origin}/?gateway=${url}`);
  const shown = (): Promise<string> => tab.$eval("main", (element) => element.textContent ?? "");
  await expect.poll(shown, { timeout: 20_000 }).toBe("live Pausebefore");
  await tab.click("button");
  await postMessages(url, ["after"]);
  await expect.poll(shown, { timeout: 20_000 }).toBe("live Resume (1 new)before");
  await tab.click("button");
  await expect.poll(shown, { timeout: 20_000 }).toBe("live Pausebeforeafter");
});

test("a page with the client shows records if the gateway allows its origin", async () => {
  if (!existsSync(CHROMIUM)) skipTest(`${CHROMIUM} is missing: npm run setup:browsers`);
  const { devDependencies } = JSON.parse(
    await readFile(repositoryPath(`${EXAMPLE}/package.json`), "utf8"),
  ) as Manifest;
  expect(page.example("client-page-start")).toContain(`vite@${devDependencies!["vite"]}\n`);
  const workspace = await userDirectory();
  const { program, url } = await startGateway(workspace);
  await postMessages(url, ["before"]);
  await workspace.write("index.html", page.example("client-page.html"));
  const source = page.example("client-page").replace("localhost:8001", new URL(url).host);
  await workspace.write("page.js", source);
  const origin = await serveBuilt(workspace);
  const tab = await openPage(origin);
  const shown = (): Promise<string> => tab.$eval("body", (element) => element.innerText);
  await expect.poll(shown, { timeout: 20_000 }).toContain("this page cannot connect");
  expect(await program.end()).toBe(0);
  const config = page.example("config-own-page").replace("http://localhost:5173", origin);
  await writeFile(workspace.path("tailgate.yaml"), config);
  await startGateway(workspace, new URL(url).port);
  await tab.reload();
  await expect.poll(shown, { timeout: 20_000 }).toMatch(/^live\s+.*INFO before/s);
});

/** Serves the page of a directory as Vite builds it, until the running test ends; returns its origin. */
async function serveBuilt({ directory: root }: Workspace): Promise<string> {
  await build({ root, configFile: false, logLevel: "error", build: { outDir: "built" } });
  const pages = createServer(async (request, response) => {
    const path = new URL(request.url!, "http://localhost").pathname;
    const file = `${root}/built${path === "/" ? "/index.html" : path}`;
    response.setHeader("Content-Type", path === "/" ? "text/html" : "text/javascript");
    response.end(await readFile(file).catch(() => ""));
  });
  await once(pages.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => {
    pages.close();
    pages.closeAllConnections();
  });
  return `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
}

async function openPage(url: string): Promise<Page> {
  // Chromium's sandbox does not work for root; the page is ours.
  const browser = await launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  onTestFinished(() => browser.close());
  const tab = await browser.newPage();
  await tab.goto(url);
  return tab;
}
