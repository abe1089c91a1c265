import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { stringify } from "yaml";
import { resolveConfig } from "tailgate";
import { preflight } from "../src/gateway/preflight.ts";
import { startTailgate } from "tailgate";
import { issueCertificate } from "./harness/certificates.ts";
import { Workspace } from "./harness/workspace.ts";

beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (/^OTEL_|_proxy$/i.test(name)) vi.stubEnv(name, undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

async function freePort(): Promise<number> {
  await using server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

/** Creates what the configurations refer to: keys, and a file and a link in place of directories. */
async function workspaceWithFiles(): Promise<Workspace> {
  const workspace = await Workspace.create({ file: "", "real/a": "" });
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" });
  await mkdir(workspace.path("keys"), { mode: 0o700 });
  await writeFile(workspace.path("keys/good.pem"), pem, { mode: 0o600 });
  await writeFile(workspace.path("keys/open.pem"), pem, { mode: 0o644 });
  await writeFile(workspace.path("keys/bad.pem"), "no key", { mode: 0o600 });
  const { cert, key } = issueCertificate("tailgate");
  await writeFile(workspace.path("tls.pem"), cert);
  await writeFile(workspace.path("keys/tls.pem"), key, { mode: 0o600 });
  const secret = { cipher: "aes-256-cbc", passphrase: "secret" };
  const encrypted = createPrivateKey(key).export({ type: "pkcs8", format: "pem", ...secret });
  await writeFile(workspace.path("keys/encrypted.pem"), encrypted, { mode: 0o600 });
  await symlink("real", workspace.path("link"));
  return workspace;
}

/** Returns the error's code and text, or undefined on success. */
async function failureOf(work: () => Promise<unknown>): Promise<string | undefined> {
  return work().then(
    () => undefined,
    (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
  );
}

interface Verdicts {
  readonly validated: string | undefined;
  readonly started: string | undefined;
}

async function verdictsOf(document: object, workspace: Workspace): Promise<Verdicts> {
  const cwd = workspace.directory;
  const resolved = () => resolveConfig({ text: stringify(document), env: {}, flags: {}, cwd });
  const validated = await failureOf(async () => preflight(await resolved()));
  const started = await failureOf(async () => {
    const running = await startTailgate(await resolved(), { write: () => {} });
    await running.stop();
  });
  return { validated, started };
}

const MINIMAL = { port: 0, log_dir: "logs", receivers: {}, exporters: {} };

describe("checks the configuration before startup", () => {
  test.each<[string, object, string]>([
    [
      "the main port again",
      { port: 4000, receivers: { otlp: { port: 4000 } } },
      "receivers.otlp.port: 4000 is the port of port; choose another, or 0 for a free port",
    ],
    [
      "one port for HTTP and gRPC",
      { receivers: { otlp: { port: 4000, grpc_port: 4000 } } },
      "receivers.otlp.grpc_port: 4000 is the port of receivers.otlp.port",
    ],
    [
      "the default port for gRPC",
      { port: 4317, receivers: { otlp: {} } },
      "receivers.otlp.grpc_port: 4317 is the port of port",
    ],
    [
      "two OTLP receivers",
      { receivers: { otlp: { port: 0 }, "otlp/two": { port: 0 } } },
      "receivers.otlp/two: it would serve /v1/logs on the main port, as receivers.otlp does",
    ],
    [
      "two WebSockets on one path",
      { exporters: { websocket: {}, "websocket/two": {} } },
      "exporters.websocket/two: it would serve /ws/logs on the main port, as exporters.websocket does",
    ],
    [
      "a WebSocket in the place of the API",
      { exporters: { websocket: { path: "/api/logs" } } },
      "exporters.websocket: it would serve /api/logs on the main port, as the gateway itself does",
    ],
    [
      "a WebSocket in the place of the dashboard",
      { exporters: { websocket: { path: "/" } } },
      "as the gateway itself does",
    ],
    [
      "otlp without an endpoint",
      { exporters: { otlp: {} } },
      "exporters.otlp: endpoint is missing: set it, or OTEL_EXPORTER_OTLP_ENDPOINT",
    ],
    [
      "spans without an endpoint",
      { exporters: { spans: null } },
      "exporters.spans: endpoint is missing",
    ],
    [
      "otlp to its own gateway",
      { port: 4000, exporters: { otlp: { endpoint: "http://localhost:4000" } } },
      "SENDS_TO_ITSELF: exporters.otlp sends to http://localhost:4000, where this gateway itself",
    ],
    [
      "traces forwarded to its own gateway",
      { receivers: { otlp: { port: 4000, pass_on_to: "http://127.0.0.1:4000" } } },
      "SENDS_TO_ITSELF: receivers.otlp sends to http://127.0.0.1:4000",
    ],
    [
      "a missing certificate",
      { exporters: { otlp: { endpoint: "https://a.invalid", certificate: "nowhere.pem" } } },
      "exporters.otlp: the file of certificate cannot be read (ENOENT)",
    ],
    [
      "an entry of allowed_hosts that is none",
      { allowed_hosts: ["a:b"] },
      'CONFIG_INVALID: allowed_hosts: "a:b" is neither a host',
    ],
    [
      "the key in the log directory",
      { audit_key_file: "logs/key.pem" },
      "AUDIT_KEY_UNUSABLE: The audit key",
    ],
    [
      "the key in a missing directory below it",
      { audit_key_file: "logs/deep/down/key.pem" },
      "is inside the log directory",
    ],
    [
      "a key readable by others",
      { audit_key_file: "keys/open.pem" },
      "is accessible to other users",
    ],
    ["an invalid key", { audit_key_file: "keys/bad.pem" }, "is not an Ed25519 private key"],
    ["a key below a file", { audit_key_file: "file/key.pem" }, "AUDIT_KEY_NOT_CREATED: "],
    [
      "a certificate with the key of another one",
      { tls: { certificate: "tls.pem", key: "keys/good.pem" } },
      "does not belong to the certificate",
    ],
    [
      "a TLS key for all users",
      { tls: { certificate: "tls.pem", key: "keys/open.pem" } },
      "TLS_UNUSABLE: tls.key: ",
    ],
    [
      "an encrypted TLS key",
      { tls: { certificate: "tls.pem", key: "keys/encrypted.pem" } },
      "is encrypted; it must be stored without a passphrase",
    ],
    [
      "a directory in place of a certificate",
      { tls: { certificate: "keys", key: "keys/tls.pem" } },
      "is not a file",
    ],
    [
      "authorities that are none",
      { tls: { certificate: "tls.pem", key: "keys/tls.pem", client_ca: "file" } },
      "tls.client_ca: ",
    ],
    [
      "a file in place of the socket",
      { listen: "unix:file" },
      "the file exists and is not a socket",
    ],
    [
      "a socket in a missing directory",
      { listen: "unix:nowhere/a.sock" },
      "its directory does not exist",
    ],
    ["a log directory that is a file", { log_dir: "file" }, "LOG_DIR_UNUSABLE: "],
    ["a log directory below a file", { log_dir: "file/logs" }, "LOG_DIR_UNUSABLE: "],
    ["a log directory that is a link", { log_dir: "link" }, "is a symbolic link"],
    [
      "a log directory with a name that is too long",
      { log_dir: "x".repeat(300) },
      "cannot be created",
    ],
  ])("%s", async (_, given, why) => {
    await using workspace = await workspaceWithFiles();
    const { validated, started } = await verdictsOf({ ...MINIMAL, ...given }, workspace);
    expect(validated).toContain(why);
    expect(started).toBe(validated);
  });

  test("creates nothing", async () => {
    await using workspace = await Workspace.create();
    const given = { ...MINIMAL, audit_key_file: "keys/deep/key.pem", log_dir: "a/b" };
    const cwd = workspace.directory;
    const config = await resolveConfig({ text: stringify(given), env: {}, flags: {}, cwd });
    expect(await preflight(config)).toMatchObject({
      auditKey: { file: workspace.path("keys/deep/key.pem"), isThere: false, obstacle: undefined },
    });
    expect(await readdir(cwd)).toEqual([]);
  });

  test("does not check the signing key if the journal is in memory", async () => {
    await using workspace = await workspaceWithFiles();
    const given = { ...MINIMAL, audit_key_file: "logs/key.pem", journal: { engine: "memory" } };
    const { validated, started } = await verdictsOf(given, workspace);
    expect([validated, started]).toEqual([undefined, undefined]);
  });

  test("warns if the default key cannot be created", async () => {
    await using workspace = await workspaceWithFiles();
    vi.stubEnv("XDG_CONFIG_HOME", workspace.path("file"));
    const { validated, started } = await verdictsOf(MINIMAL, workspace);
    expect([validated, started]).toEqual([undefined, undefined]);
  });

  test("agrees with startup: accepted configurations start, rejected ones fail alike", async () => {
    await using workspace = await workspaceWithFiles();
    const [one, two] = [await freePort(), await freePort()];
    const mostly = <T>(good: readonly T[], bad: readonly T[]) =>
      fc.oneof(
        { weight: 8, arbitrary: fc.constantFrom(...good) },
        { weight: 1, arbitrary: fc.constantFrom(...bad) },
      );
    const otlp = fc.record({
      port: mostly<number | null>([0, two, null], [one]),
      grpc_port: mostly<number | null>([0, null], [one, two]),
    });
    const endpoint = mostly(["http://127.0.0.1:1"], [`http://localhost:${one}`, "https:///"]);
    const exporters = fc.record(
      {
        websocket: fc.record({ path: mostly(["/ws/logs"], ["/", "/v1/logs"]) }),
        "websocket/two": fc.record({ path: mostly(["/other"], ["/ws/logs", "/healthz"]) }),
        file: fc.record({ path: mostly(["a.log"], ["..", "journal.db"]) }),
        "file/two": fc.record({ path: mostly(["b.log"], ["a.log", "a.log.1"]) }),
        otlp: fc.record({ endpoint }, { requiredKeys: [] }),
      },
      { requiredKeys: [] },
    );
    const documents = fc.record(
      {
        port: fc.constantFrom(0, one),
        log_dir: mostly(["logs", "deep/logs"], ["file", "link"]),
        receivers: fc.record({ otlp }, { requiredKeys: [] }),
        exporters,
        journal: fc.constantFrom({}, { engine: "memory" }),
        audit_key_file: mostly(["keys/good.pem", "keys/new/key.pem"], ["keys/open.pem", "logs/k"]),
        allowed_hosts: mostly([["a.example"], ["http://a:3000"]], [["a:b"]]),
        listen: mostly(["unix:a.sock"], ["unix:file"]),
        tls: fc.record({
          certificate: mostly(["tls.pem"], ["file"]),
          key: mostly(["keys/tls.pem"], ["keys/open.pem"]),
        }),
      },
      { requiredKeys: ["port", "log_dir", "receivers", "exporters"] },
    );
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(documents, async (document) => {
        const { validated, started } = await verdictsOf(document, workspace);
        expect(started).toBe(validated);
        if (started === undefined) accepted++;
      }),
      { numRuns: 12 },
    );
    expect(accepted).toBeGreaterThan(0);
  });
});
