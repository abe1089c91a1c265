import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { ServerOptions } from "node:https";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { ForwardProxy } from "./forward-proxy.ts";
import { Peer } from "./peer.ts";
import { Sending } from "./sending.ts";

const DIRECTORY = mkdtempSync(join(tmpdir(), "tailgate-tls-"));

const path = (name: string): string => join(DIRECTORY, name);

function openssl(...args: string[]): void {
  execFileSync("openssl", args, { cwd: DIRECTORY, stdio: "pipe" });
}

/** Creates a certificate authority. */
function makeAuthority(name: string): void {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"];
  const files = ["-keyout", `${name}.key`, "-out", `${name}.pem`];
  openssl("req", "-x509", "-days", "2", "-subj", `/CN=${name}`, ...key, ...files);
}

/** Creates a certificate for 127.0.0.1 signed by that authority. */
function makeCertificate(name: string, authority: string): void {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"];
  const by = ["-CA", `${authority}.pem`, "-CAkey", `${authority}.key`];
  const files = ["-keyout", `${name}.key`, "-out", `${name}.pem`];
  const use = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
  openssl("req", "-x509", "-days", "2", "-subj", `/CN=${name}`, ...use, ...key, ...by, ...files);
}

function serverOptions(): ServerOptions {
  return { cert: readFileSync(path("server.pem")), key: readFileSync(path("server.key")) };
}

beforeAll(() => {
  makeAuthority("authority");
  makeAuthority("stranger");
  makeCertificate("server", "authority");
  makeCertificate("client", "authority");
  makeCertificate("foreigner", "stranger");
});
afterAll(() => rmSync(DIRECTORY, { recursive: true, force: true }));

describe("over TLS", () => {
  test("a server of the configured authority is trusted", async () => {
    await using peer = await Peer.open({ tls: serverOptions() });
    await using sending = await Sending.open({
      endpoint: peer.url,
      certificate: path("authority.pem"),
    });
    await sending.send("a");
    expect(peer.messages).toEqual(["a"]);
  });

  test.each([{}, { certificate: path("stranger.pem") }])(
    "with %j nothing is sent to an untrusted server",
    async (options) => {
      await using peer = await Peer.open({ tls: serverOptions() });
      await using sending = await Sending.open({ endpoint: peer.url, ...options });
      await sending.log({ body: "a" });
      expect(await sending.lastError()).toMatch(/did not respond: .*certificate/);
      expect(peer.received).toEqual([]);
    },
  );
});

describe("over mutual TLS", () => {
  async function openPeer(): Promise<Peer> {
    const ca = readFileSync(path("authority.pem"));
    return Peer.open({ tls: { ...serverOptions(), ca, requestCert: true } });
  }

  test("sends the client certificate", async () => {
    await using peer = await openPeer();
    await using sending = await Sending.open({
      endpoint: peer.url,
      certificate: path("authority.pem"),
      client_certificate: path("client.pem"),
      client_key: path("client.key"),
    });
    await sending.send("a");
    expect(peer.messages).toEqual(["a"]);
  });

  test("reads all of it from the environment, too", async () => {
    await using peer = await openPeer();
    vi.stubEnv("OTEL_EXPORTER_OTLP_CERTIFICATE", path("authority.pem"));
    vi.stubEnv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", path("nowhere.pem"));
    vi.stubEnv("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", path("client.pem"));
    vi.stubEnv("OTEL_EXPORTER_OTLP_CLIENT_KEY", path("client.key"));
    await using sending = await Sending.open({ endpoint: peer.url });
    vi.unstubAllEnvs();
    await sending.send("a");
    expect(peer.messages).toEqual(["a"]);
  });

  test("without a certificate that the server accepts, the records wait", async () => {
    await using peer = await openPeer();
    await using sending = await Sending.open({
      endpoint: peer.url,
      certificate: path("authority.pem"),
      client_certificate: path("foreigner.pem"),
      client_key: path("foreigner.key"),
    });
    await sending.log({ body: "a" });
    expect(await sending.lastError()).toContain("did not respond");
    expect(peer.received).toEqual([]);
  });

  test("a key that does not match the certificate fails the start", async () => {
    const options = {
      endpoint: "https://127.0.0.1:1",
      client_certificate: path("client.pem"),
      client_key: path("foreigner.key"),
    };
    await expect(Sending.open(options)).rejects.toThrow(/key values mismatch/);
  });
});

describe("over TLS through a proxy", () => {
  beforeEach(() => vi.stubEnv("NO_PROXY", undefined));
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test("records go through a tunnel in which both sides are verified", async () => {
    const ca = readFileSync(path("authority.pem"));
    await using peer = await Peer.open({ tls: { ...serverOptions(), ca, requestCert: true } });
    await using proxy = await ForwardProxy.open();
    vi.stubEnv("HTTPS_PROXY", proxy.url.replace("//", "//me:secret@"));
    await using sending = await Sending.open({
      endpoint: peer.url,
      certificate: path("authority.pem"),
      client_certificate: path("client.pem"),
      client_key: path("client.key"),
    });
    await sending.send("a");
    await sending.send("b");
    expect(peer.messages).toEqual(["a", "b"]);
    expect(proxy.targets).toEqual([`CONNECT 127.0.0.1:${peer.port}`]);
    expect(proxy.authorizations).toEqual([`Basic ${Buffer.from("me:secret").toString("base64")}`]);
    await using unsure = await Sending.open({ endpoint: peer.url });
    await unsure.log({ body: "c" });
    expect(await unsure.lastError()).toMatch(/did not respond: .*certificate/);
  });

  test.each([
    ["a proxy", ""],
    ["a server behind a proxy", "HTTP/1.1 200 Connection established\r\n\r\n"],
  ])("%s that does not answer: the request is given up, and comes again", async (_, said) => {
    const sockets = new Set<Socket>();
    let isOver = 0;
    const proxy = createServer((socket) => {
      sockets.add(socket.on("error", () => {}).on("close", () => isOver++));
      socket.once("data", () => socket.write(said));
    });
    await once(proxy.listen(0, "127.0.0.1"), "listening");
    const { port } = proxy.address() as AddressInfo;
    vi.stubEnv("HTTPS_PROXY", `http://127.0.0.1:${port}`);
    await using sending = await Sending.open(
      { endpoint: "https://collector.invalid:4318" },
      { timeoutMs: 100 },
    );
    await sending.log({ body: "a" });
    await vi.waitFor(() => expect(isOver).toBeGreaterThan(1), 10_000);
    expect(sending.delivery.lastError).toContain("A write did not complete within 100 ms");
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });

  test("a proxy that rejects the tunnel is named without its password", async () => {
    await using proxy = await ForwardProxy.open();
    proxy.refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
    vi.stubEnv("HTTPS_PROXY", proxy.url.replace("//", "//me:secret@"));
    await using sending = await Sending.open({ endpoint: "https://collector.invalid:4318" });
    await sending.log({ body: "a" });
    expect(await sending.lastError()).toMatch(/did not respond: .*407/);
    expect(sending.host.lines.join()).not.toContain("secret");
  });
});
