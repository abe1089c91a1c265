import { once } from "node:events";
import { chmod } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { issueCertificate } from "../harness/certificates.ts";
import { runCli, startCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";

/** Resolves with what the command prints and its exit code. */
async function check(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<[string, number | NodeJS.Signals]> {
  const cli = await runCli(["healthcheck", ...args], { env });
  return [cli.stdout + cli.stderr, await cli.ended];
}

async function portOf(server: Server): Promise<number> {
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

test("waits for the gateway of the configuration and the environment, with TLS or on a socket", async () => {
  const server = createServer();
  const port = await portOf(server);
  server.close();
  const { cert, key } = issueCertificate("logs.example.com", { names: ["DNS:logs.example.com"] });
  await using workspace = await Workspace.create({
    "tls.yaml": "tls: { certificate: tls.pem, key: tls.key }\nexporters: {}",
    "socket.yaml": "port: null\nlisten: unix:tailgate.sock\nexporters: {}",
    "tls.pem": cert,
    "tls.key": key,
  });
  await chmod(workspace.path("tls.key"), 0o600);
  const env = { ORCHESTRATOR_PORT: String(port) };
  const config = ["--config", workspace.path("tls.yaml")];
  const [refused, code] = await check(config, env);
  expect(refused).toMatch(
    new RegExp(String.raw`^tailgate: not ready: https://127\.0\.0\.1:${port}: .*ECONNREFUSED.*\n$`),
  );
  expect(code).toBe(1);

  const waiting = check([...config, "--wait", "30"], env);
  const args = ["--otlp-port", "0", "--log-dir", "logs", "--config"];
  const options = { cwd: workspace.directory };
  await using gateway = startCli([...args, "tls.yaml"], { ...options, env });
  expect(await waiting).toEqual([`ready: https://127.0.0.1:${port}\n`, 0]);
  expect(await gateway.end()).toBe(0);

  await using other = startCli([...args, "socket.yaml"], options);
  expect(await check(["--config", workspace.path("socket.yaml"), "--wait", "30"])).toEqual([
    `ready: unix:${workspace.path("tailgate.sock")}\n`,
    0,
  ]);
  expect(await other.end()).toBe(0);
});

test("says why a gateway is not ready, and asks under the path of a proxy", async () => {
  const answers: Record<string, [number, string]> = {
    "/readyz": [503, '{"status":"not_ready","reason":"JOURNAL_FULL: the disk is full"}'],
    "/tailgate/readyz": [200, "{}"],
    "/other/readyz": [404, "nothing here"],
  };
  const port = await portOf(
    createServer(({ url }, response) => {
      const [status, body] = answers[url!]!;
      response.writeHead(status).end(body);
    }),
  );
  const url = `http://127.0.0.1:${port}`;
  expect(await check(["--url", url])).toEqual([
    `tailgate: not ready: ${url}: JOURNAL_FULL: the disk is full\n`,
    1,
  ]);
  expect(await check(["--url", `${url}/tailgate/`])).toEqual([`ready: ${url}\n`, 0]);
  expect(await check(["--url", `${url}/other`])).toEqual([
    `tailgate: not ready: ${url}: HTTP status 404\n`,
    1,
  ]);
});

test("verifies certificates, except on loopback", async () => {
  const { key, cert } = issueCertificate("logs.example.com");
  const ready: RequestListener = (_, response) => void response.end("{}");
  const port = await portOf(createTlsServer({ key, cert }, ready));
  const loopback = `https://127.0.0.1:${port}`;
  expect(await check(["--url", loopback])).toEqual([`ready: ${loopback}\n`, 0]);
  // Linux connects 0.0.0.0 to loopback, but it is no loopback address.
  const [text, code] = await check(["--url", `https://0.0.0.0:${port}`]);
  expect(text).toMatch(/^tailgate: not ready: https:\/\/0\.0\.0\.0:\d+: .*self-signed certificate/);
  expect(code).toBe(1);
});

test.each([
  [["--url", "ftp://127.0.0.1"], {}, '"ftp://127.0.0.1" is not a gateway URL'],
  [["--wait", "soon"], {}, "Expected an integer from 0 to 86400."],
  [[], { ORCHESTRATOR_PORT: "0" }, "The configuration has port 0"],
])("%j with %j exits with 64", async (args, env, message) => {
  const [text, code] = await check(args, env);
  expect(text).toContain(message);
  expect(code).toBe(64);
});
