/** Holds docs/security.md to a real gateway: what it rejects, limits, writes and depends on. */

import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { maxHeaderSize } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import {
  PART_BYTES_MAX,
  PART_VALUES_MAX,
  REQUEST_RECORDS_MAX,
} from "../../src/otlp/request-limits.ts";
import { FILTER_CHARACTERS_MAX } from "../../src/wire/filter.ts";
import { DEPTH_MAX } from "../../src/envelope/json-writer.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { Program, runCli } from "../harness/program.ts";
import { postMessages } from "../harness/otlp.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { tableAfter } from "./table.ts";

const page = await Document.read("docs/security.md");

let workspace: Workspace;
let gateway: GatewayProcess;

beforeAll(async () => {
  workspace = await Workspace.create();
  const config = `
audit_key_file: ${workspace.path("keys/audit-key.pem")}
receivers: { otlp: { port: 0, grpc_port: null } }
`;
  gateway = await GatewayProcess.start(config, ["--log-dir", workspace.path("logs")]);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await workspace[Symbol.asyncDispose]();
});

test("requests that pages of other sites cause are rejected as shown", async () => {
  const otlpUrl = await gateway.endpoint("OTLP/HTTP");
  const script = page
    .example("security-probe")
    .replaceAll("http://127.0.0.1:8001", gateway.url)
    .replaceAll("http://127.0.0.1:4318", otlpUrl);
  const shown = await Program.run("bash", ["-c", script], { cwd: "/" });
  expect(page.listings).toContain(shown);
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  expect(metrics).toMatch(/^tailgate_http_requests_refused_total 5$/m);
});

test("whoami answers the holder of a token", async () => {
  const tokens = await TestTokens.create(workspace, { ci: { scopes: ["ingest"] } });
  const config = `auth: { tokens_file: ${tokens.path} }\nreceivers: {}\n`;
  await using secured = await GatewayProcess.start(config);
  const script = page.example("whoami").replaceAll("http://127.0.0.1:8001", secured.url);
  const shown = await Program.run("bash", ["-c", script], {
    cwd: "/",
    env: { TAILGATE_TOKEN: tokens.text("ci") },
  });
  expect(JSON.parse(shown)).toMatchObject({ principal: "token:ci" });
});

test("an accepted origin gets no CORS headers, and cannot send OTLP", async () => {
  const otlpUrl = await gateway.endpoint("OTLP/HTTP");
  const headers = { Origin: "http://localhost:3000", "Access-Control-Request-Method": "POST" };
  const preflight = await fetch(`${otlpUrl}/v1/logs`, { method: "OPTIONS", headers });
  const read = await fetch(`${gateway.url}/api/logs`, { headers });
  expect([preflight.status, read.status]).toEqual([405, 200]);
  for (const response of [preflight, read]) {
    const names = [...response.headers.keys()];
    expect(names.filter((name) => name.startsWith("access-control-"))).toEqual([]);
    expect(names).not.toContain("set-cookie");
  }
});

test("another address than loopback ends the start", async () => {
  const { process, stderr } = await runCli(["run", "--host", "0.0.0.0"], {
    cwd: workspace.directory,
  });
  expect([process.exitCode, stderr]).toEqual([78, expect.stringContaining("BIND_REFUSED")]);
});

const UNITS: Readonly<Record<string, number>> = { KiB: 1 << 10, MiB: 1 << 20, GiB: 1 << 30 };

test("limits have the defaults of the table", async () => {
  await workspace.write("empty/tailgate.yaml", "auth: { tokens_file: tokens.json }\n");
  const { stdout } = await runCli(["validate"], { cwd: workspace.path("empty") });
  const config = parse(stdout.slice(stdout.indexOf("\n"))) as Record<string, unknown>;
  const valueAt = (path: string): unknown =>
    path
      .split(".")
      .reduce<unknown>((found, name) => (found as Record<string, unknown>)[name], config);
  for (const [limit, keys, defaults] of tableAfter(page, "Limits")) {
    const paths = Array.from(keys!.matchAll(/`([^`]+)`/g), ([, path]) => path!);
    const shown = defaults!.split(", ").map((text) => {
      if (text === "none") return null;
      const [number, unit] = text.split(" ");
      return Number(number) * (unit === undefined ? 1 : UNITS[unit]!);
    });
    expect([limit, paths.map(valueAt)]).toEqual([limit, shown]);
  }
  const [, fixed = ""] = /^Fixed limits: (.*)$/m.exec(page.text)!;
  const numbers = [
    `${maxHeaderSize >> 10} KiB of headers`,
    `${FILTER_CHARACTERS_MAX.toLocaleString("en")} characters`,
    `${REQUEST_RECORDS_MAX.toLocaleString("en")} records`,
    `${PART_BYTES_MAX >> 20} MiB and ${PART_VALUES_MAX.toLocaleString("en")} values`,
    `${DEPTH_MAX} levels`,
  ];
  expect(numbers.filter((number) => !fixed.includes(number))).toEqual([]);
});

test("files and folders have the modes of the table", async () => {
  await postMessages(gateway.url, ["a"]);
  await postMessages(gateway.url, ["b"], { logger: "orchestrator.audit" });
  const root = workspace.path("logs");
  const names = await readdir(root, { recursive: true });
  expect(names).toEqual(expect.arrayContaining(["audit", "journal.db", "orchestrator.log"]));
  for (const path of [root, ...names.map((name) => join(root, name))]) {
    const stats = await stat(path);
    expect([path, modeOf(stats.mode)]).toEqual([path, stats.isDirectory() ? "0700" : "0600"]);
  }
  for (const name of await readdir(workspace.path("keys"))) {
    const { mode } = await stat(workspace.path(`keys/${name}`));
    expect([name, modeOf(mode)]).toEqual([name, name.endsWith(".pub.pem") ? "0644" : "0600"]);
  }
  const modes = tableAfter(page, "Files").map(([, mode]) => mode);
  expect(modes).toEqual(["0700", "0600", "0600", "0644"]);
});

function modeOf(mode: number): string {
  return `0${(mode & 0o777).toString(8)}`;
}

interface LockedPackage {
  readonly dev?: boolean;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
}

test("dependencies are pinned, have hashes, and run nothing when they are installed", async () => {
  const read = async (path: string): Promise<unknown> =>
    JSON.parse(await readFile(repositoryPath(path), "utf8"));
  const manifest = (await read("package.json")) as Record<string, Record<string, string>>;
  const versions = ["dependencies", "devDependencies"].flatMap((kind) =>
    Object.entries(manifest[kind]!),
  );
  expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  const scripts = ["preinstall", "install", "postinstall"];
  expect(scripts.filter((name) => name in manifest["scripts"]!)).toEqual([]);
  const { packages } = (await read("package-lock.json")) as {
    packages: Record<string, LockedPackage>;
  };
  const inProduction = Object.entries(packages).filter(([path, { dev }]) => path !== "" && !dev);
  expect(inProduction.length).toBeGreaterThan(20);
  const unsafe = inProduction.filter(
    ([, { integrity, hasInstallScript }]) => integrity === undefined || hasInstallScript === true,
  );
  expect(unsafe).toEqual([]);
});
