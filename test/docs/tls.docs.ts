/** Follows docs/deployment/tls.md with openssl and curl. */

import { mkdir } from "node:fs/promises";
import { connect, type DetailedPeerCertificate } from "node:tls";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  MAIN,
  Program,
  requireInstalled,
  requirePython,
  runCli,
  startCli,
} from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/deployment/tls.md");

const LISTENING = /listening on (https:\/\/127\.0\.0\.1:(\d+)) \(dashboard/;

const FLAGS = ["run", "--port", "0", "--otlp-port", "0", "--log-dir", "logs"];

const PYTHON_EXPORT = `
import logging
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
provider = LoggerProvider()
exporter = OTLPLogExporter()
provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
logging.getLogger().addHandler(LoggingHandler(logger_provider=provider))
logging.warning("from Python")
print("flushed", provider.force_flush())
`;

let workspace: Workspace;

beforeAll(async () => {
  workspace = await Workspace.create();
  await requireInstalled("openssl", "openssl");
  await run(page.example("tls-create"));
});

afterAll(() => workspace[Symbol.asyncDispose]());

function run(script: string): Promise<string> {
  const commands = `tailgate() { '${process.execPath}' '${MAIN}' "$@"; }\n${script}`;
  return Program.run("bash", ["-euc", commands], { cwd: workspace.directory });
}

/** Returns the serial number of the certificate that a new connection gets. */
async function serialNumber(port: number): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const { serialNumber: number } = socket.getPeerCertificate() as DetailedPeerCertificate;
  socket.destroy();
  return number;
}

test("a gateway with the certificate serves curl and tailgate tail, and renews it", async () => {
  await workspace.write("tailgate.yaml", page.example("tls-config"));
  await using gateway = startCli(FLAGS, { cwd: workspace.directory });
  const [, , port] = await gateway.untilStderr(LISTENING);
  const use = page.example("tls-use").replaceAll("8001", port!);
  const [health = "", tail = ""] = use.split("\n");
  expect(await run(health)).toBe('{"status":"ok"}');
  const [variable = "", ...words] = tail.split(" ");
  const [name = "", file = ""] = variable.split("=");
  const env = { [name]: workspace.path(file) };
  const args = words.slice(words.indexOf("tail"));
  await using tailing = startCli(args, { cwd: workspace.directory, env });
  const record = { body: { stringValue: "over TLS" } };
  const body = JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords: [record] }] }] });
  await run(`curl -s --cacert ca.pem --json '${body}' https://localhost:${port}/v1/logs`);
  await tailing.untilStdout(/over TLS/);

  const before = await serialNumber(Number(port));
  await run(page.example("tls-create"));
  gateway.process.kill("SIGHUP");
  await gateway.untilStderr(/The TLS files have changed/);
  expect(await serialNumber(Number(port))).not.toBe(before);
});

test("a client with a certificate sends, and may do nothing else", async () => {
  await run(page.example("tls-client-create"));
  const auth = page.example("tls-clients").replace("auth:", "auth:\n  tokens_file: tokens.json");
  await workspace.write("tailgate.yaml", auth);
  await using gateway = startCli(FLAGS, { cwd: workspace.directory });
  const [, url] = await gateway.untilStderr(LISTENING);
  const [, otlp] = await gateway.untilStderr(/listening on (\S+)\/v1\/logs/);
  const python = await requirePython();
  const environment = page
    .example("tls-client-environment")
    .replace("https://localhost:4318", otlp!.replace("127.0.0.1", "localhost"));
  const script = `${environment}\n'${python}' -c '${PYTHON_EXPORT}'`;
  expect(await run(script)).toBe("flushed True\n");
  await gateway.untilStderr(/from Python/);
  const client = "curl -s --cacert ca.pem --cert client.pem --key client.key";
  expect(await run(`${client} ${url}/api/logs`)).toContain("collector-a lacks the scope read");
  const token = "curl -s --cacert ca.pem";
  expect(await run(`${token} ${url}/api/logs`)).toContain("requires authentication");
});

test("the network needs authentication and TLS, or insecure", async () => {
  const validate = async (text: string): Promise<string> => {
    await workspace.write("network.yaml", text);
    const cli = await runCli(["validate", "--config", "network.yaml"], {
      cwd: workspace.directory,
    });
    return cli.stdout + cli.stderr;
  };
  const network = page.example("tls-network");
  expect(await validate(network)).toMatch(/^valid: /);
  expect(await validate("host: 0.0.0.0")).toContain("BIND_REFUSED");
  expect(await validate("host: 0.0.0.0\ninsecure: true")).toMatch(/^valid: /);
});

test("what insecure: true lacks is logged at the start as the table says", async () => {
  await workspace.write("tailgate.yaml", "insecure: true\nauth: {}");
  await using gateway = startCli([...FLAGS, "--host", "0.0.0.0"], {
    cwd: workspace.directory,
    env: { XDG_CONFIG_HOME: workspace.path("config") },
  });
  await gateway.untilStderr(
    /insecure: true: "0\.0\.0\.0" is not a loopback address\. Without TLS, tokens and logs cross the network in clear text\./,
  );
  expect(page.text).toContain("Tokens and logs cross the network in clear text.");
});

test("the socket serves curl", async () => {
  await mkdir(workspace.path("run"));
  const path = workspace.path("run/tailgate.sock");
  const here = (name: string): string =>
    page.example(name).replaceAll("/run/tailgate/tailgate.sock", path);
  await workspace.write("tailgate.yaml", here("tls-socket"));
  const flags = ["run", "--otlp-port", "0", "--log-dir", "logs"];
  await using gateway = startCli(flags, { cwd: workspace.directory });
  await gateway.untilStderr(/listening on unix:/);
  expect(await run(here("tls-socket-use"))).toBe('{"status":"ok"}');
});
