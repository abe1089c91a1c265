/** The token that the exporters send to a gateway with authentication. */

import { readdir, writeFile } from "node:fs/promises";
import { LoggingManager } from "tailgate";
import type { ExporterDefinition, Plan } from "tailgate/plugin";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import otlp from "../../../plugins/otlp.ts";
import spans from "../../../plugins/spans.ts";
import { ask } from "../../harness/http-server.ts";
import { TestTokens } from "../../harness/tokens.ts";
import { Workspace } from "../../harness/workspace.ts";
import { answer, Peer } from "./peer.ts";
import { Sending } from "./sending.ts";

beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (/^OTEL_|_proxy$|^TAILGATE_TOKEN$/i.test(name)) vi.stubEnv(name, undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

async function createWorkspace(): Promise<Workspace> {
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  return workspace;
}

async function planned(options: object, definition: ExporterDefinition = otlp): Promise<Plan> {
  return definition.plan!(definition.options.parse(options));
}

describe("the header Authorization", () => {
  const others = { headers: { authorization: "Bearer other" } };

  test.each<[string, object, string | undefined, string | undefined]>([
    ["has the option token", { token: "mine" }, undefined, "Bearer mine"],
    ["has the option rather than the headers", { ...others, token: "mine" }, "env", "Bearer mine"],
    ["has TAILGATE_TOKEN", {}, " env\n", "Bearer env"],
    ["has the headers rather than TAILGATE_TOKEN", others, "env", "Bearer other"],
    ["is absent with null", { token: null }, "env", undefined],
  ])("%s", async (_name, options, variable, expected) => {
    await using peer = await Peer.open();
    vi.stubEnv("TAILGATE_TOKEN", variable);
    await using sending = await Sending.open({ endpoint: peer.url, ...options });
    await sending.send("x");
    expect(peer.received[0]!.headers.authorization).toBe(expected);
  });

  test("has the password of the endpoint rather than TAILGATE_TOKEN", async () => {
    await using peer = await Peer.open();
    vi.stubEnv("TAILGATE_TOKEN", "env");
    const endpoint = peer.url.replace("//", "//me:pass@");
    await using sending = await Sending.open({ endpoint });
    await sending.send("x");
    expect(peer.received[0]!.headers.authorization).toBe(`Basic ${btoa("me:pass")}`);
  });
});

const endpoint = "http://127.0.0.1:1";

test("a plan names the source, and a store of traces does not get TAILGATE_TOKEN", async () => {
  vi.stubEnv("TAILGATE_TOKEN", "env");
  const { effective } = await planned({ endpoint });
  expect(effective!["token"]).toEqual({ value: "env", source: "TAILGATE_TOKEN" });
  expect((await planned({ endpoint }, spans)).effective!["token"]).toBe(undefined);
  const own = await planned({ endpoint, token: "mine" }, spans);
  expect(own.effective!["token"]).toEqual({ value: "mine", source: "option token" });
});

test.each([
  [{ token: "se cret" }, "option token has characters that are not allowed in headers"],
  [{ token: "secret", token_file: "x" }, "token and token_file cannot be combined"],
  [
    { token_file: "/nowhere/secret" },
    "the file of token_file cannot be read (ENOENT); expected the path of a file with a token",
  ],
])("%o fails the start without showing it", async (options, text) => {
  const error: unknown = await planned({ endpoint, ...options }).catch((reason: unknown) => reason);
  expect(String(error)).toBe(`Error: ${text}`);
});

test("records are retained while the token is rejected, and sent once its file is replaced", async () => {
  await using peer = await Peer.open();
  const workspace = await createWorkspace();
  const file = workspace.path("token");
  await writeFile(file, "old\n");
  peer.behaviour = (response, received) => {
    if (received.headers.authorization === "Bearer new") {
      response.writeHead(200).end();
      return true;
    }
    return answer(401, {}, "The token ci was revoked.")(response, received);
  };
  await using sending = await Sending.open({ endpoint: peer.url, token_file: file });
  await sending.log({ body: "a" }, { body: "b" });
  expect(await sending.lastError()).toMatch(/401 Unauthorized: The token ci was revoked\.$/);
  await writeFile(file, "");
  await vi.waitFor(
    () => expect(sending.delivery.lastError).toMatch(/the token is empty or has characters/),
    { timeout: 20_000 },
  );
  await writeFile(file, "new\n");
  await sending.delivery.drain(new AbortController().signal);
  expect(peer.messages).toEqual(["a", "b"]);
  expect(sending.dropped).toEqual({});
  expect(await readdir(sending.host.logDir)).not.toContain("quarantine");
});

test("a gateway sends to another gateway with a token", async () => {
  const workspace = await createWorkspace();
  const tokens = await TestTokens.create(workspace, {
    edge: { scopes: ["ingest"] },
    reader: { scopes: ["read"] },
  });
  await workspace.write("tailgate.yaml", `auth: { tokens_file: ${tokens.path} }\n`);
  const manager = await LoggingManager.start({
    config: workspace.path("tailgate.yaml"),
    port: 0,
    logDir: workspace.path("logs"),
    receivers: { otlp: { port: null } },
    exporters: {},
    registerGlobally: false,
    write: () => {},
  });
  onTestFinished(() => manager.stop());
  await using sending = await Sending.open({ endpoint: manager.url, token: tokens.text("edge") });
  await sending.send("hello");
  const { body } = await ask(`${manager.url}/api/logs`, { headers: tokens.bearer("reader") });
  expect(body).toContain('"message":"hello"');
});
